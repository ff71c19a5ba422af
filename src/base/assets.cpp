#include "base/assets.h"

#include <initializer_list>
#include <system_error>

namespace dreamlab {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLevels = 5;  // from build/release/apps/dreamlab to the root of the source tree

}  // namespace

std::optional<fs::path> find_asset(const fs::path& name) {
  std::error_code error;
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int level = 0; level < kMostLevels && !folder.empty(); ++level, folder = folder.parent_path()) {
    for (const char* place : {"assets", "share/dreamlab"}) {
      if (fs::path path = folder / place / name; fs::exists(path, error)) return path;
    }
    if (folder == folder.root_path()) break;
  }
  return std::nullopt;
}

}  // namespace dreamlab
