#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;

class FileDescriptor {
 public:
  explicit FileDescriptor(int value) : value_(value) {}
  ~FileDescriptor() {
    if (value_ >= 0) ::close(value_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return value_; }

 private:
  int value_;
};

[[noreturn]] void fail_to(const char* action, const std::string& path, int error) {
  fail(ErrorKind::unavailable, "{}: cannot be {} ({})", path, action, std::strerror(error));
}

void write_all(int file, std::span<const uint8_t> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_to("written", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

// A pipe or a device (/dev/stdout) cannot be replaced, only written to.
bool is_stream(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

void write_stream(const std::string& path, std::span<const uint8_t> bytes) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) fail_to("written", path, errno);
  write_all(file.get(), bytes, path);
}

std::string name_beside(const std::string& target) {
  static std::atomic<int> counter{0};
  const fs::path path(target);
  return (path.parent_path() / fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), counter++)).string();
}

}  // namespace

std::vector<uint8_t> read_file(const std::string& path, int64_t max_bytes) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_to("read", path, errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail_to("read", path, errno);
  if (S_ISDIR(status.st_mode)) fail_to("read", path, EISDIR);
  if (status.st_size > max_bytes) {
    fail(ErrorKind::invalid_file, "{}: {} bytes are more than the {} allowed", path, status.st_size, max_bytes);
  }
  // A pipe has no size: read until the end whatever the status says.
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size) + 1);
  size_t used = 0;
  while (true) {
    const ssize_t count = ::read(file.get(), bytes.data() + used, bytes.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_to("read", path, errno);
    if (count == 0) break;
    used += static_cast<size_t>(count);
    if (static_cast<int64_t>(used) > max_bytes) {
      fail(ErrorKind::invalid_file, "{}: more than the {} bytes allowed", path, max_bytes);
    }
    if (used == bytes.size()) bytes.resize(2 * bytes.size());
  }
  bytes.resize(used);
  return bytes;
}

FileReplacement::FileReplacement(const std::string& path) : target_(path), path_(name_beside(path)), file_(create()) {}

FileReplacement::~FileReplacement() {
  if (moved_) return;
  ::close(file_);
  ::unlink(path_.c_str());
}

void FileReplacement::write(std::span<const uint8_t> bytes) {
  write_all(file_, bytes, target_);
}

void FileReplacement::move_into_place() {
  if (::fsync(file_) != 0) fail_to("written", target_, errno);
  if (::rename(path_.c_str(), target_.c_str()) != 0) fail_to("written", target_, errno);
  moved_ = true;
  if (::close(file_) != 0) fail_to("written", target_, errno);
}

int FileReplacement::create() const {
  if (fs::path(target_).filename().empty()) fail_to("written", target_, EISDIR);
  struct stat status;
  if (::stat(target_.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) fail_to("written", target_, EISDIR);
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) fail_to("written", target_, errno);
  return file;
}

void write_file(const std::string& path, std::span<const uint8_t> bytes) {
  if (is_stream(path)) return write_stream(path, bytes);
  FileReplacement file(path);
  file.write(bytes);
  file.move_into_place();
}

void check_writable(const std::string& path) {
  FileReplacement file(path);
}

}  // namespace dreamlab
