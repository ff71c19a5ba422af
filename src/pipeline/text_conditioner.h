#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "layer/context.h"
#include "model/clip_text.h"
#include "pipeline/request.h"
#include "text/prompt.h"
#include "weights/checkpoint.h"

namespace dreamlab {

// What the denoiser knows of one prompt.
struct TextConditioning {
  Tensor states;  // [1, 77 * windows, cross_attention_dim]
  Tensor pooled;  // SDXL: [1, width of the pooled text]; undefined for the others
};

// A prompt and, where guidance needs one, its negative, with as many windows.
struct TextPair {
  TextConditioning positive;
  std::optional<TextConditioning> negative;
};

// What of a request decides its text conditioning.
struct TextRequest {
  std::string_view prompt;
  std::optional<std::string_view> negative_prompt;  // unset: no guidance
  bool emphasis = true;
  int clip_skip = 1;
  std::span<const LoraUse> loras;
};

// The text encoders of a model and how its family uses them:
//   SD 1.x, 2.x    the last hidden state (with clip skip: an earlier one, through the final norm)
//   SDXL           both encoders' penultimate states side by side, without the final norm; pooled text of the second
//   SDXL refiner   the same of its one encoder
// Emphasis weighs the states of each encoder. Prompts repeat, so that the last ones are kept.
class TextConditioner {
 public:
  // Throws Error(unavailable) when the checkpoint lacks a text encoder.
  TextConditioner(Device& device, const Checkpoint& checkpoint);

  // An empty negative prompt counts as none where the model wants zeros for it (SDXL base).
  // Throws Error(invalid_argument) for a clip_skip beyond the encoders' blocks.
  TextPair encode(const TextRequest& request, const CancelToken* cancel = nullptr);

  // Throws Error(invalid_argument) beyond the encoders' blocks.
  void check_clip_skip(int clip_skip) const;

  // Prompts that are kept, at most kCachedPrompts.
  size_t cached_prompts() const { return cache_.size(); }
  static constexpr size_t kCachedPrompts = 64;

 private:
  // One prompt for every encoder.
  using Tokens = std::vector<TokenWindows>;

  Tokens tokenize(std::string_view prompt, bool emphasis) const;
  TextConditioning encode_cached(const Tokens& tokens, const TextRequest& request, const CancelToken* cancel);
  TextConditioning encode_windows(const Context& context, const Tokens& tokens, int clip_skip) const;
  Tensor weighted(const Tensor& states, const TokenWindows& tokens) const;
  TextConditioning zeros_like(const TextConditioning& conditioning) const;

  Device& device_;
  ModelConfig config_;
  std::vector<ClipTextEncoder> encoders_;

  struct CacheEntry {
    std::string key;
    TextConditioning value;
  };
  std::list<CacheEntry> recent_;  // last used first
  std::unordered_map<std::string, std::list<CacheEntry>::iterator> cache_;
};

}  // namespace dreamlab
