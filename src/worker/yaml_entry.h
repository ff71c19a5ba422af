#pragma once

// Reads YAML files so that every error names the file, the line and what is allowed.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace YAML {
class Node;
}

namespace dreamlab {

// A value of a YAML file. All throw Error(invalid_file) for a value of another kind.
class YamlEntry {
 public:
  // The whole file. Throws Error: unavailable where it cannot be read, invalid_file where it is no YAML.
  static YamlEntry read(const std::filesystem::path& path);

  bool empty() const;  // null, or a file without anything in it
  std::string text() const;
  double number() const;
  int64_t integer() const;
  std::vector<YamlEntry> list() const;
  // In the file's order; a key that comes twice is refused.
  std::vector<std::pair<std::string, YamlEntry>> map() const;
  // The value of a key, of a map that may have the `allowed` keys and no others.
  std::optional<YamlEntry> find(std::string_view key, std::span<const std::string_view> allowed) const;

  // Throws Error(invalid_file): "styles.yaml:3: MESSAGE".
  [[noreturn]] void fail(std::string_view message) const;

 private:
  YamlEntry(std::shared_ptr<const std::filesystem::path> path, const YAML::Node& node);

  std::shared_ptr<const std::filesystem::path> path_;
  std::shared_ptr<YAML::Node> node_;
};

}  // namespace dreamlab
