#pragma once

// The parts that UNet and ControlNet share (diffusers' unet_2d_blocks).
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "layer/conv2d.h"
#include "layer/resnet.h"
#include "layer/timestep_embedding.h"
#include "layer/transformer.h"
#include "weights/model_config.h"

namespace dreamlab {

// Projected text: keys and values [N, tokens, 2 * C] of every cross-attention, in the order of execution.
struct TextContext {
  int64_t images = 0;
  std::vector<Tensor> keys_values;
};

// SDXL's conditions besides the text states.
struct AddedConditions {
  Tensor pooled;                // [N, pooled text width]; undefined for families without
  std::vector<float> time_ids;  // N * 6: original height, width, crop top, left, target height, width;
                                // refiner: N * 5: original height, width, crop top, left, aesthetic score
};

// From timestep, size conditions and guidance embedding to silu(embedding), which all resnet blocks read.
class ConditionEmbedding {
 public:
  ConditionEmbedding(const LayerScope& scope, const UNetConfig& config);
  // timesteps: N; guidance_embedding: N * time_cond_proj_dim or empty. Result [N, 4 * block_out_channels[0]].
  Tensor forward(const Context& context, std::span<const float> timesteps, const AddedConditions& added,
                 std::span<const float> guidance_embedding) const;

 private:
  Tensor embed_added(const Context& context, int64_t images, const AddedConditions& added) const;

  UNetConfig config_;
  TimestepEmbedding time_embedding_;
  std::optional<TimestepEmbedding> add_embedding_;
};

// Resnet blocks, each followed by a transformer where the level has attention, then a halving of the size.
class DownBlock {
 public:
  DownBlock(const LayerScope& scope, const UNetConfig& config, int64_t level);
  void project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const;
  // Appends what the up path will need to `skips`; the last of them is the result.
  Tensor forward(const Context& context, Tensor x, const Tensor& time, std::span<const Tensor>& keys_values,
                 std::vector<Tensor>& skips) const;

 private:
  std::string path_;
  std::vector<ResnetBlock> resnets_;
  std::vector<Transformer2D> attentions_;
  std::optional<Downsample> downsampler_;
};

class MidBlock {
 public:
  MidBlock(const LayerScope& scope, const UNetConfig& config);
  void project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const;
  Tensor forward(const Context& context, Tensor x, const Tensor& time, std::span<const Tensor>& keys_values) const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::optional<Transformer2D> attention_;
};

class UpBlock {
 public:
  // index: 0 for the lowest resolution. skip_channels: channels of all skip connections of the down path; the block
  // takes its own from the back.
  UpBlock(const LayerScope& scope, const UNetConfig& config, int64_t index, std::vector<int64_t>& skip_channels);
  void project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const;
  // Takes its skip connections from the back of `skips`, and enlarges to the size of the next one.
  Tensor forward(const Context& context, Tensor x, const Tensor& time, std::span<const Tensor>& keys_values,
                 std::vector<Tensor>& skips) const;

 private:
  std::vector<ResnetBlock> resnets_;
  std::vector<Transformer2D> attentions_;
  std::optional<Upsample> upsampler_;
};

// The half of a UNet that ControlNets have too: time embedding, conv_in, down blocks, middle block.
class UNetEncoder {
 public:
  UNetEncoder(const LayerScope& scope, const UNetConfig& config);

  void project_text(const Context& context, const Tensor& text, std::vector<Tensor>& keys_values) const;

  struct State {
    Tensor x;                   // after the middle block
    Tensor time;                // silu(embedding)
    std::vector<Tensor> skips;  // conv_in's result first
  };
  struct Input {
    const Tensor& sample;
    std::span<const float> timesteps;
    const AddedConditions& added;
    std::span<const float> guidance_embedding;
  };
  // silu(embedding) of timesteps and conditions, [N, 4 * block_out_channels[0]].
  Tensor embed(const Context& context, const Input& input) const;
  // time: what embed() made. addend: added to conv_in's result (a ControlNet's embedded picture), or null. Takes its
  // keys and values from the front of `keys_values`.
  State forward(const Context& context, const Tensor& sample, const Tensor& time, const Tensor* addend,
                std::span<const Tensor>& keys_values) const;

  // Channels of the skip connections, in the order of State::skips.
  static std::vector<int64_t> skip_channels(const UNetConfig& config);

 private:
  UNetConfig config_;
  ConditionEmbedding embedding_;
  Conv2d conv_in_;
  std::vector<DownBlock> down_blocks_;
  MidBlock mid_block_;
};

// Throws Error(invalid_argument) where an input's shape does not fit the network or the other inputs.
void check_unet_inputs(const UNetConfig& config, const UNetEncoder::Input& input, const TextContext* text);

}  // namespace dreamlab
