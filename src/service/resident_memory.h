#pragma once

#include <cstdint>
#include <filesystem>

namespace dreamlab {

// Bytes of this process that are in memory; 0 where the system does not say.
uint64_t resident_bytes();
// Bytes that this process may still take before something must be given up: the system's word or the control group's,
// whichever is less.
uint64_t available_bytes();
// Bytes of a model's files: a file or all files in a folder. 0 where there is nothing.
uint64_t bytes_on_disk(const std::filesystem::path& path);

}  // namespace dreamlab
