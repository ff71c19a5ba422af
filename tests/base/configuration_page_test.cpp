// docs/CONFIGURATION.md against the table of settings.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/config.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

std::filesystem::path page_path() {
  return (std::filesystem::path(DREAMLAB_TEST_DATA_DIR) / "../../../docs/CONFIGURATION.md").lexically_normal();
}

struct PageRow {
  std::string fallback, takes;
};

// By variable, of the tables that have them.
std::map<std::string, PageRow> rows_of_page() {
  std::ifstream page(page_path());
  EXPECT_TRUE(page) << page_path();
  std::map<std::string, PageRow> rows;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("| `")) continue;
    std::istringstream cells(line);
    std::string before, name, what, fallback, takes;
    std::getline(cells, before, '|');
    std::getline(cells, name, '|');
    std::getline(cells, what, '|');
    if (!std::getline(cells, fallback, '|') || !std::getline(cells, takes, '|')) continue;
    name = name.substr(2, name.size() - 4);
    EXPECT_TRUE(rows.emplace(name, PageRow{fallback, takes}).second) << name << ": twice";
  }
  return rows;
}

TEST(ConfigurationPage, TellsOfEverySettingAndOfNoOther) {
  std::map<std::string, PageRow> rows = rows_of_page();
  for (const Setting& setting : settings()) {
    const auto row = rows.find(std::string(setting.name));
    if (row == rows.end()) {
      ADD_FAILURE() << setting.name << " has no row in docs/CONFIGURATION.md";
      continue;
    }
    if (!setting.fallback.empty()) {
      EXPECT_THAT(row->second.fallback, HasSubstr(fmt::format("`{}`", setting.fallback))) << setting.name;
    }
    const bool is_number = setting.type == SettingType::integer || setting.type == SettingType::number;
    if (is_number) {
      EXPECT_EQ(row->second.takes, fmt::format(" {} ", allowed_values(setting))) << setting.name;
    }
    for (const std::string_view choice : setting.choices) {
      EXPECT_THAT(row->second.takes, HasSubstr(std::string(choice))) << setting.name;
    }
    rows.erase(row);
  }
  for (const auto& [name, row] : rows) ADD_FAILURE() << name << " in docs/CONFIGURATION.md is no setting";
}

}  // namespace
}  // namespace dreamlab
