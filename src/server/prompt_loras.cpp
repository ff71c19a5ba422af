#include "server/prompt_loras.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/schema.h"

namespace dreamlab {

namespace {

constexpr std::string_view kOpening = "<lora:";

[[noreturn]] void refuse(const std::string& message) {
  throw RequestError(422, "prompt", "prompt: " + message);
}

int nearest_level(const StyleInfo& style, double strength) {
  const auto nearest = std::min_element(style.levels.begin(), style.levels.end(), [&](double a, double b) {
    return std::abs(a - strength) < std::abs(b - strength);
  });
  return static_cast<int>(nearest - style.levels.begin()) + 1;
}

double parse_strength(std::string_view text) {
  double strength = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), strength);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || !std::isfinite(strength))
    refuse(fmt::format("the strength \"{}\" of a LoRA is no number", text));
  return strength;
}

// "id" or "id:strength".
StyleChoice choose(std::string_view content, const WorkerInfo& worker) {
  const size_t colon = content.find(':');
  const std::string_view id = content.substr(0, colon);
  const double strength = colon == std::string_view::npos ? 1.0 : parse_strength(content.substr(colon + 1));
  std::string ids;
  for (const StyleInfo& style : worker.styles) {
    if (style.id == id) return {style.id, strength == 0 ? 0 : nearest_level(style, strength)};
    ids += (ids.empty() ? "" : ", ") + style.id;
  }
  refuse(fmt::format("there is no LoRA \"{}\"; allowed: {}", id, ids.empty() ? "none" : ids));
}

}  // namespace

void take_prompt_loras(JobRequest& request, const WorkerInfo& worker) {
  std::string& prompt = request.prompt;
  for (size_t start = 0; (start = prompt.find(kOpening, start)) != std::string::npos;) {
    const size_t end = prompt.find('>', start);
    if (end == std::string::npos) return;  // plain text
    if (request.style) refuse("more than one LoRA; one is allowed");
    const size_t content = start + kOpening.size();
    request.style = choose(std::string_view(prompt).substr(content, end - content), worker);
    prompt.erase(start, end + 1 - start);
  }
}

}  // namespace dreamlab
