#pragma once

// The text encoders: CLIP ViT-L, OpenCLIP ViT-H and ViT-bigG (transformers' CLIPTextModel,
// CLIPTextModelWithProjection).
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "layer/attention.h"
#include "layer/context.h"
#include "layer/layer_group.h"
#include "layer/layer_scope.h"
#include "layer/linear.h"
#include "layer/norm.h"
#include "weights/model_config.h"

namespace dreamlab {

struct TextStates {
  Tensor last_hidden_state;  // [N, 77, C]: after all blocks and the final norm
  Tensor hidden_state;       // [N, 77, C]: after all but the last `skipped_blocks`, without the final norm
  Tensor pooled;             // [N, C]: last_hidden_state at each window's first end token (id 49407)
  Tensor text_embeds;        // [N, projection_dim]: pooled times text_projection; undefined where there is none
};

// One transformer block: causal self-attention and a two-layer perceptron, each behind a layer norm, with residuals.
class ClipTextBlock {
 public:
  ClipTextBlock(const LayerScope& scope, const TextEncoderConfig& config);
  // x [N, T, C]
  Tensor forward(const Context& context, const Tensor& x) const;

 private:
  Activation activation_;
  LayerNorm layer_norm1_;
  SelfAttention attention_;
  LayerNorm layer_norm2_;
  Linear fc1_, fc2_;
};

class ClipTextEncoder {
 public:
  // name: "text_encoder" for a model's first, "text_encoder_2" for its second; the names that adapters use.
  ClipTextEncoder(Device& device, const TextEncoderConfig& config, const WeightSource& weights,
                  const std::string& name = "text_encoder");

  // ids: N windows of max_positions (77) token ids each, [start, tokens, end, padding]. skipped_blocks: 1 gives the
  // penultimate hidden state, in 0..layers. Throws Error(invalid_argument) for another number of ids, an id outside of
  // the vocabulary, or skipped_blocks out of range. Taps: "hidden_states.0" (embeddings) to "hidden_states.<layers>".
  TextStates forward(const Context& context, std::span<const int32_t> ids, int64_t skipped_blocks = 1) const;

  // The final norm alone: what SD 1.x applies to hidden_state when blocks are skipped.
  Tensor final_norm(const Context& context, const Tensor& hidden_state) const;

  const TextEncoderConfig& config() const { return config_; }

 private:
  // Blocks [begin, end).
  Tensor run_blocks(const Context& context, const Tensor& x, int64_t begin, int64_t end) const;
  void check_ids(std::span<const int32_t> ids, int64_t skipped_blocks) const;
  Tensor pool(const Context& context, std::span<const int32_t> ids, const Tensor& states) const;

  uint64_t id_;  // the device's name for this network
  LayerGroup group_;
  TextEncoderConfig config_;
  Tensor token_table_, position_table_;
  std::vector<ClipTextBlock> blocks_;
  LayerNorm final_layer_norm_;
  std::optional<Linear> text_projection_;
};

}  // namespace dreamlab
