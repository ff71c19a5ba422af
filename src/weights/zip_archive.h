#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace dreamlab {

// The members of a zip archive whose members are stored, not compressed, which is how PyTorch writes them: every member
// is a view of the archive's bytes. Zip64 is understood; encryption, compression and archives in several files are
// refused.
class ZipArchive {
 public:
  // file: for messages. Throws Error(invalid_file) on a damaged archive, Error(unsupported) on a compressed or
  // encrypted member.
  ZipArchive(std::span<const std::byte> bytes, std::string file);

  using Members = std::map<std::string, std::span<const std::byte>, std::less<>>;
  const Members& members() const { return members_; }

 private:
  struct Directory {
    uint64_t entries = 0, bytes = 0, offset = 0;
  };
  struct Entry;

  Directory find_directory() const;
  Directory read_zip64_directory(uint64_t locator) const;
  Entry read_entry(uint64_t& position, uint64_t end) const;
  std::span<const std::byte> member_bytes(const Entry& entry) const;

  uint64_t number(uint64_t position, int bytes) const;
  [[noreturn]] void damaged(std::string_view what) const;

  std::span<const std::byte> bytes_;
  std::string file_;
  Members members_;
};

}  // namespace dreamlab
