#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace dreamlab {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const FileDescriptor file(path);
  if (file.get() < 0) fail(ErrorKind::unavailable, "{}: cannot open: {}", path.string(), std::strerror(errno));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    fail(ErrorKind::unavailable, "{}: cannot read its size: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    fail(ErrorKind::invalid_file, "{}: {}; a file is expected", path.string(),
         S_ISDIR(status.st_mode) ? "is a directory" : "is not a regular file");
  const auto size = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (size > 0) {  // an empty mapping is an error of mmap, an empty file is none of ours
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) fail(ErrorKind::unavailable, "{}: cannot map: {}", path.string(), std::strerror(errno));
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<const std::byte*>(data), size), Close());
}

std::shared_ptr<const void> MappedFile::dropping_pages(const std::shared_ptr<const void>& owner, const std::byte* data,
                                                       size_t bytes) {
  // The deleter tells a mapped file from memory of another kind, where dropping pages would lose their contents.
  if (std::get_deleter<Close>(owner) == nullptr) return owner;
  return {data, [owner, bytes](const std::byte* part) {
            const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
            const auto begin = (reinterpret_cast<uintptr_t>(part) + page - 1) / page * page;
            const auto end = (reinterpret_cast<uintptr_t>(part) + bytes) / page * page;
            if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
          }};
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace dreamlab
