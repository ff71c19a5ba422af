#include "worker/styles.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/assets.h"
#include "worker/yaml_entry.h"

namespace dreamlab {

namespace {

constexpr std::array<std::string_view, 1> kFileKeys{"styles"};
constexpr std::array<std::string_view, 4> kStyleKeys{"title", "path", "levels", "cross_attention_dim"};
constexpr size_t kMaxLevels = 8;
constexpr double kLargestStrength = 100;

std::vector<double> read_levels(const YamlEntry& entry) {
  std::vector<double> levels;
  for (const YamlEntry& level : entry.list()) {
    levels.push_back(level.number());
    if (std::abs(levels.back()) > kLargestStrength)
      level.fail(fmt::format("strength {} is out of range; -{}..{} is allowed", levels.back(), kLargestStrength,
                             kLargestStrength));
  }
  if (levels.empty() || levels.size() > kMaxLevels)
    entry.fail(fmt::format("{} levels; 1..{} are allowed", levels.size(), kMaxLevels));
  return levels;
}

}  // namespace

StyleEntry read_style(const std::string& id, const YamlEntry& entry, const std::filesystem::path& lora_root,
                      std::span<const std::string_view> allowed_keys) {
  StyleEntry style;
  style.id = style.title = id;
  if (id.empty()) entry.fail("a style without a name");
  const auto path = entry.find("path", allowed_keys);
  if (!path || path->text().empty()) entry.fail(fmt::format("style {} has no path", id));
  style.path = lora_root / path->text();
  if (const auto title = entry.find("title", allowed_keys)) style.title = title->text();
  if (const auto levels = entry.find("levels", allowed_keys)) style.levels = read_levels(*levels);
  if (const auto dim = entry.find("cross_attention_dim", allowed_keys)) {
    style.cross_attention_dim = dim->integer();
    if (*style.cross_attention_dim < 1) dim->fail("a width of 1 or more is needed here");
  }
  return style;
}

std::vector<StyleEntry> read_styles(const std::filesystem::path& path, const std::filesystem::path& lora_root) {
  const YamlEntry file = YamlEntry::read(path);
  std::vector<StyleEntry> styles;
  if (file.empty()) return styles;
  const auto entries = file.find("styles", kFileKeys);
  if (!entries || entries->empty()) return styles;
  for (const auto& [id, entry] : entries->map()) styles.push_back(read_style(id, entry, lora_root, kStyleKeys));
  return styles;
}

std::vector<StyleEntry> shipped_styles() {
  const auto folder = find_asset("models/styles");
  return folder ? read_styles(*folder / "styles.yaml", *folder) : std::vector<StyleEntry>();
}

std::optional<StyleEntry> shipped_style(std::string_view id) {
  for (const StyleEntry& style : shipped_styles()) {
    if (style.id == id) return style;
  }
  return std::nullopt;
}

}  // namespace dreamlab
