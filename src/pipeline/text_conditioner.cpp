#include "pipeline/text_conditioner.h"

#include <algorithm>

#include "base/error.h"
#include "text/emphasis.h"

namespace dreamlab {

namespace {

// Everything that the states depend on besides the model, as bytes.
std::string cache_key(std::span<const TokenWindows> tokens, const TextRequest& request) {
  std::string key;
  const auto append = [&](const auto* data, size_t count) {
    key.append(reinterpret_cast<const char*>(data), count * sizeof(*data));
  };
  append(&request.clip_skip, 1);
  for (const LoraUse& use : request.loras) {
    const uint64_t adapter = use.adapter->id();
    append(&adapter, 1);
    append(&use.strength, 1);
  }
  for (const TokenWindows& windows : tokens) {
    append(&windows.windows, 1);
    append(windows.ids.data(), windows.ids.size());
    append(windows.weights.data(), windows.weights.size());
  }
  return key;
}

bool is_weighted(const TokenWindows& tokens) {
  return std::any_of(tokens.weights.begin(), tokens.weights.end(), [](float weight) { return weight != 1.0f; });
}

}  // namespace

TextConditioner::TextConditioner(Device& device, const Checkpoint& checkpoint)
    : device_(device), config_(checkpoint.config()) {
  constexpr const char* kNames[] = {"text_encoder", "text_encoder_2"};
  if (config_.text_encoders.size() > std::size(kNames) || config_.text_encoders.empty()) {
    fail(ErrorKind::internal, "a model with {} text encoders", config_.text_encoders.size());
  }
  for (size_t i = 0; i < config_.text_encoders.size(); ++i) {
    encoders_.emplace_back(device, config_.text_encoders[i], checkpoint.text_encoder(i), kNames[i]);
  }
}

TextPair TextConditioner::encode(const TextRequest& request, const CancelToken* cancel) {
  check_clip_skip(request.clip_skip);
  Tokens positive = tokenize(request.prompt, request.emphasis);
  if (!request.negative_prompt) return {encode_cached(positive, request, cancel), std::nullopt};

  if (request.negative_prompt->empty() && config_.force_zeros_for_empty_prompt) {
    TextConditioning conditioning = encode_cached(positive, request, cancel);
    TextConditioning zeros = zeros_like(conditioning);
    return {std::move(conditioning), std::move(zeros)};
  }
  Tokens negative = tokenize(*request.negative_prompt, request.emphasis);
  for (size_t i = 0; i < positive.size(); ++i) pair_windows(positive[i], negative[i]);
  TextConditioning conditioning = encode_cached(positive, request, cancel);
  return {std::move(conditioning), encode_cached(negative, request, cancel)};
}

TextConditioner::Tokens TextConditioner::tokenize(std::string_view prompt, bool emphasis) const {
  Tokens tokens;
  for (const TextEncoderConfig& config : config_.text_encoders) {
    PromptOptions options;
    options.emphasis = emphasis;
    options.pad_id = config.pad_id;
    tokens.push_back(tokenize_prompt(prompt, options));
  }
  return tokens;
}

TextConditioning TextConditioner::encode_cached(const Tokens& tokens, const TextRequest& request,
                                                const CancelToken* cancel) {
  std::string key = cache_key(tokens, request);
  if (const auto found = cache_.find(key); found != cache_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return recent_.front().value;
  }
  LoraSet loras;
  for (const LoraUse& use : request.loras) loras.add(use.adapter, use.strength);
  const Context context{device_, &loras, cancel, {}};
  TextConditioning conditioning = encode_windows(context, tokens, request.clip_skip);
  recent_.push_front({key, conditioning});
  cache_.emplace(std::move(key), recent_.begin());
  if (cache_.size() > kCachedPrompts) {
    cache_.erase(recent_.back().key);
    recent_.pop_back();
  }
  return conditioning;
}

TextConditioning TextConditioner::encode_windows(const Context& context, const Tokens& tokens, int clip_skip) const {
  TextConditioning conditioning;
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const ClipTextEncoder& encoder = encoders_[i];
    const int64_t windows = tokens[i].windows;
    // SDXL starts one block earlier than the end.
    const int64_t skipped_blocks = config_.is_sdxl() ? clip_skip : clip_skip - 1;
    const TextStates states = encoder.forward(context, tokens[i].ids, skipped_blocks);
    Tensor hidden = config_.is_sdxl() ? states.hidden_state
                    : clip_skip == 1  ? states.last_hidden_state
                                      : encoder.final_norm(context, states.hidden_state);
    hidden = weighted(hidden, tokens[i]).reshape({1, windows * kWindowTokens, hidden.channels()});
    conditioning.states = i == 0 ? hidden : device_.concat_channels(conditioning.states, hidden);
    // The last encoder's, of the first window, which tells what the prompt begins with.
    if (config_.is_sdxl() && i + 1 == encoders_.size()) conditioning.pooled = states.text_embeds.images(0, 1);
  }
  return conditioning;
}

Tensor TextConditioner::weighted(const Tensor& states, const TokenWindows& tokens) const {
  if (!is_weighted(tokens)) return states;
  std::vector<float> values = device_.download(states);
  apply_emphasis(values, tokens.weights, states.channels());
  return device_.upload(values, states.shape(), states.dtype());
}

TextConditioning TextConditioner::zeros_like(const TextConditioning& conditioning) const {
  const auto zeros = [&](const Tensor& tensor) {
    return device_.upload(std::vector<float>(static_cast<size_t>(tensor.elements())), tensor.shape(), tensor.dtype());
  };
  return {zeros(conditioning.states), conditioning.pooled.defined() ? zeros(conditioning.pooled) : Tensor()};
}

void TextConditioner::check_clip_skip(int clip_skip) const {
  int64_t blocks = kMaxClipSkip;
  for (const TextEncoderConfig& config : config_.text_encoders) blocks = std::min(blocks, config.layers);
  if (clip_skip < 1 || clip_skip > blocks) {
    fail(ErrorKind::invalid_argument, "clip skip {} is out of range; 1..{} is allowed for this model", clip_skip,
         blocks);
  }
}

}  // namespace dreamlab
