#pragma once

// The one configuration reader: every environment variable of the program is a row of the table in config.cpp.
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/picture_size.h"

namespace dreamlab {

enum class SettingType { text, integer, number, boolean, choice, size };

struct Setting {
  std::string_view name;
  SettingType type;
  std::string_view fallback;  // "": unset unless the environment sets it
  std::string_view help;
  std::span<const std::string_view> choices = {};  // of a choice
  double smallest = 0, largest = 0;                // of an integer or number
};

// All rows, in the order to show them.
std::span<const Setting> settings();
// "1..50", "lcm, euler", "0/1, true/false, yes/no, on/off": what a row takes, for messages and help.
std::string allowed_values(const Setting& setting);

class Config {
 public:
  using Lookup = std::function<std::optional<std::string>(std::string_view name)>;

  // Reads and checks every row. An empty value counts as not set. Throws Error(invalid_argument) with one line that
  // names the variable, the value and what is allowed.
  explicit Config(const Lookup& lookup = from_environment);
  static std::optional<std::string> from_environment(std::string_view name);

  // Whether the environment sets it (its fallback does not count).
  bool is_set(std::string_view name) const;
  // Each returns nullopt for a row that is neither set nor has a fallback; the name must be a row of that type.
  std::optional<std::string> text(std::string_view name) const;  // text or choice
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<double> number(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;
  std::optional<PictureSize> size(std::string_view name) const;

 private:
  const std::string* find(std::string_view name, std::initializer_list<SettingType> types) const;

  std::map<std::string, std::string, std::less<>> values_;
  std::map<std::string, bool, std::less<>> set_;
};

}  // namespace dreamlab
