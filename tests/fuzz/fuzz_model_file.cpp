// Any bytes, as a model file of whatever kind: telling what it is, reading its configuration off the shapes and mapping
// its names may only succeed or throw Error. The file lies in memory, under a path of its own.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "weights/inspect.h"
#include "weights/lora_file.h"

namespace {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (fd_ < 0 || ::write(fd_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamlab;
  const MemoryFile file(data, size);
  try {
    const FileReport report = inspect_file(file.path());
    if (report.kind == FileKind::lora) {
      const ModelConfig target = published_config(Family::sd1);
      LoraFile::open(file.path(), &target);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) std::abort();
  }
  return 0;
}
