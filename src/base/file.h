#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dreamlab {

// The whole file. Throws Error(unavailable) when it cannot be read and Error(invalid_file) when it is over `max_bytes`;
// both name the path.
std::vector<uint8_t> read_file(const std::string& path, int64_t max_bytes = int64_t{1} << 30);

// Replaces the file in one move: the bytes go to a temporary file beside it, to the disk, and only then to the name, so
// that nobody ever sees half a file. Throws Error(unavailable) that names the path and the reason.
void write_file(const std::string& path, std::span<const uint8_t> bytes);

// The same for a file that comes piece by piece. What was not moved into place leaves no trace. Throws as write_file
// does.
class FileReplacement {
 public:
  explicit FileReplacement(const std::string& path);
  ~FileReplacement();
  FileReplacement(const FileReplacement&) = delete;
  FileReplacement& operator=(const FileReplacement&) = delete;

  void write(std::span<const uint8_t> bytes);
  void move_into_place();

 private:
  int create() const;

  std::string target_, path_;
  int file_;
  bool moved_ = false;
};

// Throws as write_file would for a directory that is missing or not writable, or a path that is a directory; leaves no
// trace.
void check_writable(const std::string& path);

}  // namespace dreamlab
