#include "base/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/error.h"

namespace dreamlab {

namespace {

constexpr std::string_view kCpuDtypes[] = {"auto", "bf16", "fp32"};
constexpr std::string_view kRngs[] = {"cuda", "cpu"};
constexpr std::string_view kTilings[] = {"auto", "on", "off"};

constexpr Setting kSettings[] = {
    {"MODEL_ROOT", SettingType::text, "", "directory that MODEL lies in"},
    {"MODEL", SettingType::text, "", "checkpoint file or diffusers directory"},
    {"SDXL_MODEL_ROOT", SettingType::text, "", "directory that SDXL_MODEL lies in; MODEL_ROOT where it is not set"},
    {"SDXL_MODEL", SettingType::text, "", "SDXL checkpoint, used when USE_SDXL is on; MODEL where it is not set"},
    {"USE_SDXL", SettingType::boolean, "", "on: the model must be SDXL; off: it must not; not set: as detected"},
    {"CPU_DTYPE", SettingType::choice, "auto", "precision on the CPU; auto: bf16 where the processor has it",
     kCpuDtypes},
    {"SCHEDULER", SettingType::text, "lcm", "sampler"},
    {"RNG", SettingType::choice, "cuda", "whose random numbers: PyTorch's CUDA or CPU generator", kRngs},
    {"VAE_TILING", SettingType::choice, "auto", "decode in tiles; auto: where the picture is large", kTilings},
    {"DEFAULT_SIZE", SettingType::size, "", "picture size; the model's native size where it is not set"},
    {"DEFAULT_STEPS", SettingType::integer, "4", "denoising steps", {}, 1, 50},
    {"DEFAULT_GUIDANCE", SettingType::number, "1.0", "guidance scale", {}, 0, 20},
};

struct BooleanWord {
  std::string_view word;
  bool value;
};
constexpr BooleanWord kBooleans[] = {{"1", true},  {"true", true},   {"yes", true}, {"on", true},
                                     {"0", false}, {"false", false}, {"no", false}, {"off", false}};

std::string to_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::optional<bool> parse_boolean(const std::string& text) {
  const std::string lower = to_lower(text);
  for (const BooleanWord& row : kBooleans) {
    if (lower == row.word) return row.value;
  }
  return std::nullopt;
}

template <typename Number>
std::optional<Number> parse_number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_in_range(const Setting& setting, double value) {
  return value >= setting.smallest && value <= setting.largest;
}

bool is_allowed(const Setting& setting, const std::string& value) {
  switch (setting.type) {
    case SettingType::text:
      return true;
    case SettingType::choice:
      return std::find(setting.choices.begin(), setting.choices.end(), value) != setting.choices.end();
    case SettingType::boolean:
      return parse_boolean(value).has_value();
    case SettingType::integer: {
      const auto number = parse_number<int64_t>(value);
      return number && is_in_range(setting, static_cast<double>(*number));
    }
    case SettingType::number: {
      const auto number = parse_number<double>(value);
      return number && is_in_range(setting, *number);
    }
    case SettingType::size:
      try {
        parse_size(value);
        return true;
      } catch (const Error&) {
        return false;
      }
  }
  return false;
}

}  // namespace

std::span<const Setting> settings() {
  return kSettings;
}

std::string allowed_values(const Setting& setting) {
  switch (setting.type) {
    case SettingType::text:
      return "any text";
    case SettingType::choice:
      return fmt::format("{}", fmt::join(setting.choices, ", "));
    case SettingType::boolean:
      return "1/0, true/false, yes/no, on/off";
    case SettingType::integer:
    case SettingType::number:
      return fmt::format("{}..{}", setting.smallest, setting.largest);
    case SettingType::size:
      return fmt::format("WIDTHxHEIGHT, multiples of {} up to {}", kSizeStep, kMaxPictureSide);
  }
  return "";
}

Config::Config(const Lookup& lookup) {
  for (const Setting& setting : kSettings) {
    std::string value = lookup(setting.name).value_or("");
    if (setting.type == SettingType::choice) value = to_lower(value);
    set_[std::string(setting.name)] = !value.empty();
    if (value.empty()) value = setting.fallback;
    if (value.empty()) continue;
    if (!is_allowed(setting, value)) {
      fail(ErrorKind::invalid_argument, "{}={}: not allowed; {} is", setting.name, value, allowed_values(setting));
    }
    values_[std::string(setting.name)] = value;
  }
}

std::optional<std::string> Config::from_environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

bool Config::is_set(std::string_view name) const {
  const auto entry = set_.find(name);
  if (entry == set_.end()) fail(ErrorKind::internal, "{} is no setting", name);
  return entry->second;
}

const std::string* Config::find(std::string_view name, std::initializer_list<SettingType> types) const {
  const auto* row =
      std::find_if(std::begin(kSettings), std::end(kSettings), [&](const Setting& s) { return s.name == name; });
  if (row == std::end(kSettings) || std::find(types.begin(), types.end(), row->type) == types.end()) {
    fail(ErrorKind::internal, "{} is no setting of that type", name);
  }
  const auto entry = values_.find(name);
  return entry == values_.end() ? nullptr : &entry->second;
}

std::optional<std::string> Config::text(std::string_view name) const {
  const std::string* value = find(name, {SettingType::text, SettingType::choice});
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<int64_t> Config::integer(std::string_view name) const {
  const std::string* value = find(name, {SettingType::integer});
  return value == nullptr ? std::nullopt : parse_number<int64_t>(*value);
}

std::optional<double> Config::number(std::string_view name) const {
  const std::string* value = find(name, {SettingType::number});
  return value == nullptr ? std::nullopt : parse_number<double>(*value);
}

std::optional<bool> Config::boolean(std::string_view name) const {
  const std::string* value = find(name, {SettingType::boolean});
  return value == nullptr ? std::nullopt : parse_boolean(*value);
}

std::optional<PictureSize> Config::size(std::string_view name) const {
  const std::string* value = find(name, {SettingType::size});
  return value == nullptr ? std::nullopt : std::optional(parse_size(*value));
}

}  // namespace dreamlab
