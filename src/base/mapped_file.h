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

  // An owner of [data, data + bytes), a part of what `owner` keeps alive. When its last copy goes, and `owner` is a
  // mapped file, the part's pages leave this process' memory (the system's file cache keeps them; a later access brings
  // them back): a checkpoint that is read once and packed should not count twice. Other owners come back as they are.
  static std::shared_ptr<const void> dropping_pages(const std::shared_ptr<const void>& owner, const std::byte* data,
                                                    size_t bytes);

 private:
  struct Close {
    void operator()(const MappedFile* file) const { delete file; }
  };
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* data_;
  size_t size_;
};

}  // namespace dreamlab
