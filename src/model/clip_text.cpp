#include "model/clip_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "layer/batch.h"
#include "layer/lora.h"

namespace dreamlab {
namespace {

// CLIP's names inside an attention layer.
const AttentionNames& clip_attention() {
  static const AttentionNames names{{"q_proj", "k_proj", "v_proj"}, "out_proj", Bias::present};
  return names;
}

LayerScope text_model(Device& device, const WeightSource& weights, const std::string& name) {
  return LayerScope{device, WeightScope(weights), name} / "text_model";
}

// An embedding table in the dtype it is stored in: rows are gathered, never multiplied.
Tensor load_table(const LayerScope& scope, int64_t rows, int64_t channels) {
  const HostTensor table = scope.weights.get("weight", {rows, channels});
  return scope.device.upload(table, table.dtype == DType::f64 ? DType::f32 : table.dtype);
}

}  // namespace

ClipTextBlock::ClipTextBlock(const LayerScope& scope, const TextEncoderConfig& config)
    : activation_(config.activation == TextActivation::gelu ? Activation::gelu : Activation::quick_gelu),
      layer_norm1_(scope / "layer_norm1", config.hidden_size, config.layer_norm_eps),
      attention_(scope / "self_attn", config.hidden_size, config.heads, clip_attention()),
      layer_norm2_(scope / "layer_norm2", config.hidden_size, config.layer_norm_eps),
      fc1_(scope / "mlp.fc1", config.hidden_size, config.intermediate_size),
      fc2_(scope / "mlp.fc2", config.intermediate_size, config.hidden_size) {}

Tensor ClipTextBlock::forward(const Context& context, const Tensor& x) const {
  const Tensor attended = attention_.forward_causal(context, layer_norm1_.forward(context, x), &x);
  Epilogue first, second;
  first.activation = activation_;
  second.residual = &attended;
  return fc2_.forward(context, fc1_.forward(context, layer_norm2_.forward(context, attended), first), second);
}

ClipTextEncoder::ClipTextEncoder(Device& device, const TextEncoderConfig& config, const WeightSource& weights,
                                 const std::string& name)
    : id_(device.new_id()),
      group_(device, WeightGroupKind::network),
      config_(config),
      final_layer_norm_(text_model(device, weights, name) / "final_layer_norm", config.hidden_size,
                        config.layer_norm_eps) {
  const LayerScope scope = text_model(device, weights, name);
  token_table_ = load_table(scope / "embeddings.token_embedding", config.vocab_size, config.hidden_size);
  position_table_ = load_table(scope / "embeddings.position_embedding", config.max_positions, config.hidden_size);
  for (int64_t i = 0; i < config.layers; ++i) blocks_.emplace_back(scope / "encoder.layers" / i, config);
  if (config.projection_dim > 0)
    text_projection_.emplace(LayerScope{device, WeightScope(weights), name} / "text_projection", config.hidden_size,
                             config.projection_dim, Bias::none);
  group_.packed();
}

TextStates ClipTextEncoder::forward(const Context& context, std::span<const int32_t> ids,
                                    int64_t skipped_blocks) const {
  check_ids(ids, skipped_blocks);
  const LayerGroup::Use use = group_.use();
  const int64_t windows = static_cast<int64_t>(ids.size()) / config_.max_positions;
  Tensor x = context.device.cast(context.device.embed_tokens(ids, windows, token_table_, position_table_),
                                 context.device.compute_dtype());
  TextStates states;
  const int64_t kept = config_.layers - skipped_blocks;
  states.hidden_state = run_blocks(context, x, 0, kept);
  x = run_blocks(context, states.hidden_state, kept, config_.layers);
  if (context.tap) context.tap(fmt::format("hidden_states.{}", config_.layers), x);
  states.last_hidden_state = final_norm(context, x);
  states.pooled = pool(context, ids, states.last_hidden_state);
  if (text_projection_) states.text_embeds = text_projection_->forward(context, states.pooled);
  return states;
}

Tensor ClipTextEncoder::run_blocks(const Context& context, const Tensor& x, int64_t begin, int64_t end) const {
  if (begin == end) return x;
  const Device::Work work = [&](std::span<const Tensor> inputs) {
    Tensor hidden = inputs[0];
    for (int64_t i = begin; i < end; ++i) {
      if (context.tap) context.tap(fmt::format("hidden_states.{}", i), hidden);
      context.check_cancelled();
      hidden = blocks_[static_cast<size_t>(i)].forward(context, hidden);
    }
    return hidden;
  };
  if (context.tap) return work(std::span(&x, 1));
  const std::string key =
      fmt::format("text {} {} {} {}", id_, begin, end, context.loras == nullptr ? "" : context.loras->key());
  return context.device.repeat(key, std::span(&x, 1), work);
}

Tensor ClipTextEncoder::final_norm(const Context& context, const Tensor& hidden_state) const {
  return final_layer_norm_.forward(context, hidden_state);
}

void ClipTextEncoder::check_ids(std::span<const int32_t> ids, int64_t skipped_blocks) const {
  if (ids.empty() || static_cast<int64_t>(ids.size()) % config_.max_positions != 0)
    fail(ErrorKind::invalid_argument, "{} token ids; the text encoder takes windows of {}", ids.size(),
         config_.max_positions);
  for (const int32_t id : ids)
    if (id < 0 || id >= config_.vocab_size)
      fail(ErrorKind::invalid_argument, "token id {}; the text encoder knows 0 to {}", id, config_.vocab_size - 1);
  if (skipped_blocks < 0 || skipped_blocks > config_.layers)
    fail(ErrorKind::invalid_argument, "{} skipped blocks; the text encoder has {}", skipped_blocks, config_.layers);
}

// The end token is the vocabulary's highest id, which is how CLIP finds it; its first occurrence counts, since CLIP-L
// pads with it.
Tensor ClipTextEncoder::pool(const Context& context, std::span<const int32_t> ids, const Tensor& states) const {
  const int64_t length = config_.max_positions;
  std::vector<Tensor> rows;
  for (int64_t window = 0; window < states.dim(0); ++window) {
    const auto first = ids.begin() + window * length;
    const int64_t end = std::max_element(first, first + length) - first;
    const Tensor tokens = states.images(window, window + 1).reshape({length, config_.hidden_size});
    rows.push_back(tokens.images(end, end + 1));
  }
  return join_images(context.device, rows);
}

}  // namespace dreamlab
