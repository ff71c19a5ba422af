#include "service/resident_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace dreamlab {

namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

// A number alone in a file; kUnknown where there is none ("max" is a control group's word for no limit).
uint64_t number_in(const char* path) {
  uint64_t value = 0;
  return std::ifstream(path) >> value ? value : kUnknown;
}

// The number after a name in a file of "name number" lines; kUnknown where it is not there.
uint64_t number_after(const char* path, const std::string& wanted) {
  std::ifstream file(path);
  std::string name, rest;
  for (uint64_t value = 0; file >> name >> value; std::getline(file, rest)) {
    if (name == wanted) return value;
  }
  return kUnknown;
}

uint64_t available_in_system() {
  const uint64_t kib = number_after("/proc/meminfo", "MemAvailable:");
  return kib == kUnknown ? kUnknown : kib << 10;
}

// Pages of files that nobody has used lately are counted as the group's, but are given up first.
uint64_t available_in_control_group() {
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current");
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  const uint64_t of_files = number_after("/sys/fs/cgroup/memory.stat", "inactive_file");
  const uint64_t needed = of_files == kUnknown || of_files > used ? used : used - of_files;
  return limit > needed ? limit - needed : 0;
}

}  // namespace

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  if (!(file >> total >> resident)) return 0;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t available_bytes() {
  return std::min(available_in_system(), available_in_control_group());
}

uint64_t bytes_on_disk(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return std::filesystem::file_size(path, error);
  uint64_t sum = 0;
  std::filesystem::recursive_directory_iterator file(path, error), end;
  for (; !error && file != end; file.increment(error)) {
    std::error_code unreadable;
    if (file->is_regular_file(unreadable)) sum += file->file_size(unreadable);
  }
  return sum;
}

}  // namespace dreamlab
