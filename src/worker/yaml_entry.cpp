#include "worker/yaml_entry.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace dreamlab {

namespace {

constexpr int64_t kMaxFileBytes = int64_t{4} << 20;

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

YamlEntry::YamlEntry(std::shared_ptr<const std::filesystem::path> path, const YAML::Node& node)
    : path_(std::move(path)), node_(std::make_shared<YAML::Node>(node)) {}

YamlEntry YamlEntry::read(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path.string(), kMaxFileBytes);
  try {
    return {std::make_shared<std::filesystem::path>(path), YAML::Load(std::string(bytes.begin(), bytes.end()))};
  } catch (const YAML::Exception& error) {
    dreamlab::fail(ErrorKind::invalid_file, "{}:{}: this is no YAML: {}", path.string(), error.mark.line + 1,
                   one_line(error.msg));
  }
}

bool YamlEntry::empty() const {
  return !node_->IsDefined() || node_->IsNull();
}

std::string YamlEntry::text() const {
  if (!node_->IsScalar()) fail("a text is needed here");
  return node_->Scalar();
}

double YamlEntry::number() const {
  double value = 0;
  if (!node_->IsScalar() || !YAML::convert<double>::decode(*node_, value) || !std::isfinite(value))
    fail("a number is needed here");
  return value;
}

int64_t YamlEntry::integer() const {
  int64_t value = 0;
  if (!node_->IsScalar() || !YAML::convert<int64_t>::decode(*node_, value)) fail("a whole number is needed here");
  return value;
}

std::vector<YamlEntry> YamlEntry::list() const {
  if (!node_->IsSequence()) fail("a list is needed here");
  std::vector<YamlEntry> entries;
  for (const auto& node : *node_) entries.push_back(YamlEntry(path_, node));
  return entries;
}

std::vector<std::pair<std::string, YamlEntry>> YamlEntry::map() const {
  if (!node_->IsMap()) fail("a map (name: value) is needed here");
  std::vector<std::pair<std::string, YamlEntry>> entries;
  std::set<std::string> names;
  for (const auto& item : *node_) {
    const YamlEntry key(path_, item.first);
    const std::string name = key.text();
    if (!names.insert(name).second) key.fail(fmt::format("{} is here twice", name));
    entries.emplace_back(name, YamlEntry(path_, item.second));
  }
  return entries;
}

std::optional<YamlEntry> YamlEntry::find(std::string_view key, std::span<const std::string_view> allowed) const {
  std::optional<YamlEntry> found;
  for (auto& [name, entry] : map()) {
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
      entry.fail(fmt::format("\"{}\" is not known here; allowed are {}", name, fmt::join(allowed, ", ")));
    if (name == key) found = std::move(entry);
  }
  return found;
}

void YamlEntry::fail(std::string_view message) const {
  dreamlab::fail(ErrorKind::invalid_file, "{}:{}: {}", path_->string(), node_->Mark().line + 1,
                 one_line(std::string(message)));
}

}  // namespace dreamlab
