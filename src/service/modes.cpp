#include "service/modes.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "scheduler/sampler.h"
#include "worker/yaml_entry.h"

namespace dreamlab {

namespace {

constexpr std::array<std::string_view, 2> kFileKeys{"default", "modes"};
constexpr std::array<std::string_view, 6> kModeKeys{"model", "loras", "size", "steps", "guidance", "scheduler"};
constexpr std::array<std::string_view, 5> kLoraKeys{"style", "path", "title", "levels", "cross_attention_dim"};
constexpr int64_t kMaxSteps = 50;
constexpr double kMaxGuidance = 20;

// What `read` returns; its errors about a value as errors of the entry.
template <typename Read>
auto value_of(const YamlEntry& entry, const Read& read) {
  try {
    return read(entry.text());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_argument) throw;
    entry.fail(error.what());
  }
}

std::vector<StyleEntry> read_loras(const YamlEntry& list, const std::filesystem::path& lora_root) {
  std::vector<StyleEntry> styles;
  for (const YamlEntry& entry : list.list()) {
    const auto id = entry.find("style", kLoraKeys);
    if (!id) entry.fail("a lora without a style, the name that requests call it by");
    styles.push_back(read_style(id->text(), entry, lora_root, kLoraKeys));
    const auto same = [&](const StyleEntry& style) { return style.id == styles.back().id; };
    if (std::count_if(styles.begin(), styles.end(), same) > 1) id->fail(fmt::format("{} is here twice", id->text()));
  }
  return styles;
}

int read_steps(const YamlEntry& entry) {
  const int64_t steps = entry.integer();
  if (steps < 1 || steps > kMaxSteps) {
    entry.fail(fmt::format("steps {} are out of range; 1..{} is allowed", steps, kMaxSteps));
  }
  return static_cast<int>(steps);
}

double read_guidance(const YamlEntry& entry) {
  const double guidance = entry.number();
  if (guidance < 0 || guidance > kMaxGuidance) {
    entry.fail(fmt::format("guidance {} is out of range; 0..{} is allowed", guidance, kMaxGuidance));
  }
  return guidance;
}

Mode read_mode(const std::string& name, const YamlEntry& entry, const std::filesystem::path& model_root,
               const std::filesystem::path& lora_root) {
  Mode mode;
  mode.name = name;
  if (name.empty()) entry.fail("a mode without a name");
  const auto model = entry.find("model", kModeKeys);
  if (!model || model->text().empty()) entry.fail(fmt::format("mode {} has no model", name));
  mode.model = model_root / model->text();
  if (const auto loras = entry.find("loras", kModeKeys)) mode.styles = read_loras(*loras, lora_root);
  if (const auto size = entry.find("size", kModeKeys)) mode.size = value_of(*size, parse_size);
  if (const auto steps = entry.find("steps", kModeKeys)) mode.steps = read_steps(*steps);
  if (const auto guidance = entry.find("guidance", kModeKeys)) mode.guidance = read_guidance(*guidance);
  if (const auto scheduler = entry.find("scheduler", kModeKeys)) {
    mode.scheduler = value_of(*scheduler, [](const std::string& text) { return std::string(find_sampler(text).name); });
  }
  return mode;
}

struct ModesFile {
  std::vector<Mode> modes;
  std::string default_mode;
};

ModesFile read_modes(const std::filesystem::path& path, const std::filesystem::path& model_root,
                     const std::filesystem::path& lora_root) {
  const YamlEntry file = YamlEntry::read(path);
  ModesFile read;
  std::vector<std::string> names;
  // An empty file has no line to point at.
  if (file.empty()) fail(ErrorKind::invalid_file, "{}:1: there are no modes; \"modes\" is needed", path.string());
  const auto modes = file.find("modes", kFileKeys);
  if (!modes) file.fail("there are no modes; \"modes\" is needed");
  if (modes->empty()) modes->fail("there are no modes; at least one is needed");
  for (const auto& item : modes->map()) {
    read.modes.push_back(read_mode(item.first, item.second, model_root, lora_root));
    names.push_back(item.first);
  }
  if (names.empty()) modes->fail("there are no modes; at least one is needed");
  read.default_mode = names[0];
  if (const auto chosen = file.find("default", kFileKeys)) {
    read.default_mode = chosen->text();
    if (std::find(names.begin(), names.end(), read.default_mode) == names.end()) {
      chosen->fail(
          fmt::format("the default mode {} is not there; allowed are {}", read.default_mode, fmt::join(names, ", ")));
    }
  }
  return read;
}

}  // namespace

std::shared_ptr<ModeRegistry> ModeRegistry::from_file(const std::filesystem::path& path,
                                                      const std::filesystem::path& model_root,
                                                      const std::filesystem::path& lora_root) {
  std::shared_ptr<ModeRegistry> registry(new ModeRegistry);
  registry->path_ = path;
  registry->model_root_ = model_root;
  registry->lora_root_ = lora_root;
  registry->reload();
  return registry;
}

std::shared_ptr<ModeRegistry> ModeRegistry::single(Mode mode) {
  std::shared_ptr<ModeRegistry> registry(new ModeRegistry);
  registry->default_mode_ = mode.name;
  registry->modes_.push_back(std::move(mode));
  return registry;
}

bool ModeRegistry::named() const {
  return !path_.empty();
}

std::vector<Mode> ModeRegistry::modes() const {
  const std::lock_guard lock(mutex_);
  return modes_;
}

std::string ModeRegistry::default_mode() const {
  const std::lock_guard lock(mutex_);
  return default_mode_;
}

std::optional<Mode> ModeRegistry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(modes_.begin(), modes_.end(), [&](const Mode& mode) { return mode.name == name; });
  return found == modes_.end() ? std::nullopt : std::optional(*found);
}

void ModeRegistry::reload() {
  if (!named()) return;
  ModesFile read = read_modes(path_, model_root_, lora_root_);
  const std::lock_guard lock(mutex_);
  modes_ = std::move(read.modes);
  default_mode_ = std::move(read.default_mode);
}

}  // namespace dreamlab
