#include "layer/attention.h"

namespace dreamlab {
namespace {

Epilogue with_residual(const Tensor* residual) {
  Epilogue epilogue;
  epilogue.residual = residual;
  return epilogue;
}

Tensor as_tokens(const Tensor& x) {
  return x.reshape({x.dim(0), x.dim(1) * x.dim(2), x.dim(3)});
}

}  // namespace

SelfAttention::SelfAttention(const LayerScope& scope, int64_t channels, int64_t heads, const AttentionNames& names)
    : channels_(channels),
      heads_(heads),
      qkv_(scope, names.qkv, channels, channels, names.qkv_bias),
      out_(scope / names.out, channels, channels) {}

Tensor SelfAttention::forward(const Context& context, const Tensor& x, const Tensor* residual) const {
  return attend(context, x, false, residual);
}

Tensor SelfAttention::forward_causal(const Context& context, const Tensor& x, const Tensor* residual) const {
  return attend(context, x, true, residual);
}

Tensor SelfAttention::attend(const Context& context, const Tensor& x, bool causal, const Tensor* residual) const {
  Tensor qkv = qkv_.forward(context, x);
  const Tensor mixed = context.device.attention(qkv.columns(0, channels_), qkv.columns(channels_, 2 * channels_),
                                                qkv.columns(2 * channels_, 3 * channels_), heads_, causal);
  qkv = {};
  return out_.forward(context, mixed, with_residual(residual));
}

CrossAttention::CrossAttention(const LayerScope& scope, int64_t channels, int64_t text_channels, int64_t heads)
    : channels_(channels),
      heads_(heads),
      q_(scope / "to_q", channels, channels, Bias::none),
      kv_(scope, {"to_k", "to_v"}, text_channels, channels, Bias::none),
      out_(scope / "to_out.0", channels, channels) {}

Tensor CrossAttention::project_text(const Context& context, const Tensor& text) const {
  return kv_.forward(context, text);
}

Tensor CrossAttention::forward(const Context& context, const Tensor& x, const Tensor& keys_values,
                               const Tensor* residual) const {
  Tensor q = q_.forward(context, x);
  const Tensor mixed = context.device.attention(q, keys_values.columns(0, channels_),
                                                keys_values.columns(channels_, 2 * channels_), heads_);
  q = {};
  return out_.forward(context, mixed, with_residual(residual));
}

VaeAttention::VaeAttention(const LayerScope& scope, int64_t channels, int64_t groups, double eps)
    : norm_(scope / "group_norm", channels, groups, eps),
      attention_(scope, channels, 1, {{"to_q", "to_k", "to_v"}, "to_out.0", Bias::present}) {}

Tensor VaeAttention::forward(const Context& context, const Tensor& x) const {
  const Tensor tokens = as_tokens(x);
  return attention_.forward(context, norm_.forward(context, tokens), &tokens).reshape(x.shape());
}

}  // namespace dreamlab
