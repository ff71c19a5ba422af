#pragma once

#include <cstdlib>
#include <filesystem>

// The folder of golden records: $DREAMLAB_GOLDEN when set, else the copy in the source tree.
inline std::filesystem::path golden_dir() {
  const char* set = std::getenv("DREAMLAB_GOLDEN");
  return set && *set ? std::filesystem::path(set) : std::filesystem::path(DREAMLAB_GOLDEN_DIR);
}
