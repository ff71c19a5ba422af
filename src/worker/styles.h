#pragma once

// The registry of styles: LoRA files under a name, each with a ladder of strengths. Read from styles.yaml:
//
//   styles:
//     papercut: {title: Papercut, path: papercut.safetensors, levels: [0.5, 0.8, 1.0], cross_attention_dim: 2048}
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

struct StyleEntry {
  std::string id, title;
  std::filesystem::path path;                  // whole
  std::vector<double> levels{1.0};             // strength of level 1, 2, ...
  std::optional<int64_t> cross_attention_dim;  // unset: read from the file
  bool operator==(const StyleEntry&) const = default;
};

class YamlEntry;

// The style under an entry {title, path, levels, cross_attention_dim}, of which only path must be there. allowed_keys:
// those and what else the entry may have.
StyleEntry read_style(const std::string& id, const YamlEntry& entry, const std::filesystem::path& lora_root,
                      std::span<const std::string_view> allowed_keys);

// Paths in the file are relative to lora_root. Throws Error(invalid_file) with file, line and what is allowed.
std::vector<StyleEntry> read_styles(const std::filesystem::path& path, const std::filesystem::path& lora_root);

// Those of the model in the box; none where it is not there.
std::vector<StyleEntry> shipped_styles();
std::optional<StyleEntry> shipped_style(std::string_view id);

}  // namespace dreamlab
