#include "layer/transformer.h"

#include "base/error.h"
#include "layer/lora.h"

namespace dreamlab {
namespace {

constexpr int64_t kFeedForwardFactor = 4;
constexpr double kTransformerNormEps = 1e-6;  // Transformer2DModel's group norm; the resnets around it have 1e-5

}  // namespace

Geglu::Geglu(const LayerScope& scope, int64_t channels, int64_t inner) : name_((scope / "proj").name()) {
  const WeightScope proj = scope.weights / "proj";
  const HostTensor weight = proj.get("weight", {2 * inner, channels});
  const HostTensor bias = proj.get("bias", {2 * inner});
  weights_ = scope.device.pack_geglu(weight, &bias);
}

Tensor Geglu::forward(const Context& context, const Tensor& x) const {
  const Tensor addend = addend_with_adapters(context, name_, x, {});
  return context.device.linear_geglu(x, *weights_, addend.defined() ? &addend : nullptr);
}

FeedForward::FeedForward(const LayerScope& scope, int64_t channels)
    : geglu_(scope / "net.0", channels, kFeedForwardFactor * channels),
      out_(scope / "net.2", kFeedForwardFactor * channels, channels) {}

Tensor FeedForward::forward(const Context& context, const Tensor& x, const Tensor* residual) const {
  Epilogue epilogue;
  epilogue.residual = residual;
  return out_.forward(context, geglu_.forward(context, x), epilogue);
}

BasicTransformerBlock::BasicTransformerBlock(const LayerScope& scope, int64_t channels, int64_t text_channels,
                                             int64_t heads)
    : group_(scope.device, WeightGroupKind::block),
      norm1_(scope / "norm1", channels),
      attn1_(scope / "attn1", channels, heads),
      norm2_(scope / "norm2", channels),
      attn2_(scope / "attn2", channels, text_channels, heads),
      norm3_(scope / "norm3", channels),
      ff_(scope / "ff", channels) {
  group_.packed();
}

Tensor BasicTransformerBlock::project_text(const Context& context, const Tensor& text) const {
  const LayerGroup::Use use = group_.use();
  return attn2_.project_text(context, text);
}

Tensor BasicTransformerBlock::forward(const Context& context, Tensor x, const Tensor& keys_values) const {
  const LayerGroup::Use use = group_.use();
  x = attn1_.forward(context, norm1_.forward(context, x), &x);
  x = attn2_.forward(context, norm2_.forward(context, x), keys_values, &x);
  return ff_.forward(context, norm3_.forward(context, x), &x);
}

Transformer2D::Transformer2D(const LayerScope& scope, int64_t channels, int64_t text_channels, int64_t heads,
                             int64_t depth, int64_t groups)
    : norm_(scope / "norm", channels, groups, kTransformerNormEps),
      proj_in_(scope / "proj_in", channels, channels),
      proj_out_(scope / "proj_out", channels, channels) {
  for (int64_t i = 0; i < depth; ++i)
    blocks_.emplace_back(scope / "transformer_blocks" / i, channels, text_channels, heads);
}

void Transformer2D::project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const {
  for (const BasicTransformerBlock& block : blocks_) keys_values.push_back(block.project_text(context, text));
}

Tensor Transformer2D::forward(const Context& context, const Tensor& x, std::span<const Tensor>& keys_values) const {
  if (keys_values.size() < blocks_.size())
    fail(ErrorKind::internal, "text projected for another network: {} more cross-attentions need keys and values",
         blocks_.size() - keys_values.size());
  const Tensor tokens = x.reshape({x.dim(0), x.dim(1) * x.dim(2), x.dim(3)});
  Tensor hidden = proj_in_.forward(context, norm_.forward(context, tokens));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    context.check_cancelled();
    hidden = blocks_[i].forward(context, std::move(hidden), keys_values[i]);
  }
  keys_values = keys_values.subspan(blocks_.size());
  Epilogue epilogue;
  epilogue.residual = &tokens;
  return proj_out_.forward(context, hidden, epilogue).reshape(x.shape());
}

}  // namespace dreamlab
