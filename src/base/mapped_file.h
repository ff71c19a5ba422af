#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace dreamlab {

// A whole file mapped read-only. The bytes stay valid as long as the object lives; a file that another process cuts
// short meanwhile raises SIGBUS on access, as with any memory map.
class MappedFile {
 public:
  // Throws Error(unavailable) when the file is missing or unreadable, Error(invalid_file) when it is no regular file.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* data_;
  size_t size_;
};

}  // namespace dreamlab
