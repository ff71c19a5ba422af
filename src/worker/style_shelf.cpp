#include "worker/style_shelf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "weights/lora_file.h"

namespace dreamlab {

namespace {

// Why a style cannot be used with a model; nullopt where it can.
std::optional<std::string> reason_to_skip(const StyleEntry& style, const ModelConfig& model) {
  const int64_t width = model.unet.cross_attention_dim;
  if (style.cross_attention_dim.value_or(width) != width)
    return fmt::format("it is for a cross-attention width of {}, this model's ({}) is {}", *style.cross_attention_dim,
                       name_of(model.family), width);
  try {
    LoraFile::open(style.path, &model);
  } catch (const Error& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace

StyleShelf::StyleShelf(const Pipeline& pipeline, const std::vector<StyleEntry>& styles, uint64_t kept_bytes)
    : pipeline_(pipeline), kept_bytes_(kept_bytes) {
  for (const StyleEntry& style : styles) {
    const auto reason = reason_to_skip(style, pipeline.config());
    if (!reason) {
      styles_.push_back(style);
      continue;
    }
    log::info("style {} is skipped: {}", style.id, *reason);
    skipped_.emplace(style.id, *reason);
  }
}

std::vector<StyleInfo> StyleShelf::infos() const {
  std::vector<StyleInfo> infos;
  for (const StyleEntry& style : styles_) infos.push_back({style.id, style.title, style.levels});
  return infos;
}

const StyleEntry& StyleShelf::find(const StyleChoice& choice) const {
  if (choice.level < 0)
    fail(ErrorKind::invalid_argument, "style {}: level {} is out of range; 0 (off) and up is allowed", choice.style,
         choice.level);
  const auto found =
      std::find_if(styles_.begin(), styles_.end(), [&](const StyleEntry& style) { return style.id == choice.style; });
  if (found != styles_.end()) return *found;
  if (const auto skipped = skipped_.find(choice.style); skipped != skipped_.end())
    fail(ErrorKind::invalid_argument, "style {} cannot be used with this model: {}", choice.style, skipped->second);
  std::vector<std::string> ids;
  for (const StyleEntry& style : styles_) ids.push_back(style.id);
  fail(ErrorKind::invalid_argument, "there is no style \"{}\"; {}", choice.style,
       ids.empty() ? "this model has none" : fmt::format("there are {}", fmt::join(ids, ", ")));
}

void StyleShelf::check(const std::optional<StyleChoice>& choice) const {
  if (choice) find(*choice);
}

std::vector<LoraUse> StyleShelf::uses(const std::optional<StyleChoice>& choice) {
  if (!choice) return {};
  const StyleEntry& style = find(*choice);
  if (choice->level == 0) return {};
  const size_t rung = std::min(static_cast<size_t>(choice->level), style.levels.size()) - 1;
  return {{adapter_of(style), static_cast<float>(style.levels[rung])}};
}

std::shared_ptr<const LoraAdapter> StyleShelf::adapter_of(const StyleEntry& style) {
  const auto found = std::find_if(adapters_.begin(), adapters_.end(),
                                  [&](const Adapter& adapter) { return adapter.path == style.path; });
  if (found != adapters_.end()) {
    adapters_.splice(adapters_.begin(), adapters_, found);
    return adapters_.front().adapter;
  }
  try {
    std::error_code error;
    const uint64_t bytes = std::filesystem::file_size(style.path, error);
    adapters_.push_front({style.path, error ? 0 : bytes, pipeline_.load_lora(style.path)});
  } catch (const Error& error) {
    // It was whole when the model was loaded.
    fail(ErrorKind::invalid_argument, "style {} cannot be used: {}", style.id, error.what());
  }
  uint64_t bytes = 0;
  for (auto adapter = adapters_.begin(); adapter != adapters_.end();) {
    bytes += adapter->bytes;
    const bool keep = adapter == adapters_.begin() || bytes <= kept_bytes_;
    adapter = keep ? std::next(adapter) : adapters_.erase(adapter);
  }
  return adapters_.front().adapter;
}

}  // namespace dreamlab
