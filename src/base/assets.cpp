#include "base/assets.h"

#include <system_error>

namespace dreamlab {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLevels = 5;  // from build/release/apps/dreamlab to the root of the source tree

}  // namespace

std::optional<fs::path> find_beside_program(std::initializer_list<std::string_view> places, const fs::path& name) {
  std::error_code error;
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int level = 0; level < kMostLevels && !folder.empty(); ++level, folder = folder.parent_path()) {
    for (const std::string_view place : places) {
      if (fs::path path = folder / place / name; fs::exists(path, error)) return path;
    }
    if (folder == folder.root_path()) break;
  }
  return std::nullopt;
}

std::optional<fs::path> find_asset(const fs::path& name) {
  return find_beside_program({"assets", "share/dreamlab"}, name);
}

}  // namespace dreamlab
