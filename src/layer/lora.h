#pragma once

// Low-rank adapters as side branches: y += strength * (alpha / rank) * B(A x). The base weights stay as they are, so
// adapters come and go per request and may differ inside a batch ("LoRA: Low-Rank Adaptation of Large Language Models",
// Hu et al. 2021, section 4.1; for convolutions A has the module's kernel and B is 1x1, as LoCon has it).
// A LoHa's product of products is of low rank too, or becomes one dense branch where that is less work.
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layer/context.h"
#include "weights/lora_file.h"

namespace dreamlab {

// One adapter file, packed for a device; shared by all requests that use it.
class LoraAdapter {
 public:
  struct Branch {
    std::unique_ptr<LinearWeights> down_linear;  // of a linear layer or a 1x1 convolution
    std::unique_ptr<ConvWeights> down_conv;      // else
    std::unique_ptr<LinearWeights> up;           // null: the down product is the whole change
    float scale = 1.0f;                          // alpha / rank
  };

  LoraAdapter(Device& device, std::span<const LoraLayer> layers);

  // The device's name for this adapter.
  uint64_t id() const { return id_; }
  // The branch of a module ("unet.mid_block.attentions.0.proj_in"); nullptr where the adapter has none.
  const Branch* find(std::string_view module) const;

 private:
  uint64_t id_;
  std::map<std::string, Branch, std::less<>> branches_;
};

// The adapters in effect during one forward pass.
class LoraSet {
 public:
  // The adapter changes images [begin, end) of the batch. Strength 0 leaves every result byte for byte as it was.
  void add(std::shared_ptr<const LoraAdapter> adapter, float strength, int64_t begin = 0,
           int64_t end = std::numeric_limits<int64_t>::max());

  bool empty() const { return entries_.empty(); }
  // Different for sets that change a result differently.
  std::string key() const;

  // What the adapters add to the result of `module` on x [N, .., in]: a tensor of the result's shape, or an undefined
  // one where no adapter changes this module. upsample_to: as in Device::conv2d.
  Tensor addend(Device& device, std::string_view module, const Tensor& x, float scale = 1.0f,
                std::optional<Size> upsample_to = std::nullopt) const;

  // The same for a fused layer whose result is the results of several modules side by side, each `width` channels wide.
  Tensor addend_fused(Device& device, std::span<const std::string> modules, int64_t width, const Tensor& x) const;

 private:
  struct Entry {
    std::shared_ptr<const LoraAdapter> adapter;
    float strength;
    int64_t begin, end;
  };

  std::vector<Entry> entries_;
};

// The addend for the epilogue of a module's product: what the caller's epilogue has already and what the context's
// adapters add. Undefined where there are no such adapters.
Tensor addend_with_adapters(const Context& context, std::string_view module, const Tensor& x, const Epilogue& epilogue,
                            std::optional<Size> upsample_to = std::nullopt);

}  // namespace dreamlab
