#include "device/cuda_backend.h"

#include <dlfcn.h>

#include <filesystem>

#include "base/assets.h"
#include "base/version.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "libdreamlab_cuda.so";

struct Opened {
  const CudaLibrary* library = nullptr;
  std::string why;  // not opened
};

Opened open_library() {
  const std::optional<fs::path> path = find_beside_program({"", "lib", "lib/dreamlab"}, kFileName);
  if (!path) return {nullptr, "this program was built without CUDA, or " + std::string(kFileName) + " is missing"};
  // Never closed: its devices and the CUDA runtime in it live as long as the program.
  void* const handle = dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return {nullptr, dlerror()};
  const auto entry = reinterpret_cast<CudaLibraryEntry>(dlsym(handle, kCudaLibraryEntry));
  if (entry == nullptr) return {nullptr, dlerror()};
  const CudaLibrary* const library = entry();
  if (library->version != version())
    return {nullptr, path->string() + " is of version " + library->version + ", the program of " + std::string(version())};
  return {library, {}};
}

const Opened& opened() {
  static const Opened result = open_library();
  return result;
}

}  // namespace

std::optional<std::string> why_no_cuda_device() {
  const Opened& cuda = opened();
  std::string why = cuda.why;
  if (cuda.library != nullptr && cuda.library->has_device(why)) return std::nullopt;
  return "no CUDA device: " + why;
}

std::unique_ptr<Device> make_cuda_device(const CudaOptions& options) {
  if (const auto why = why_no_cuda_device()) throw Error(ErrorKind::unavailable, *why);
  ErrorKind kind = ErrorKind::internal;
  std::string why;
  std::unique_ptr<Device> device(opened().library->make_device(options, kind, why));
  if (device == nullptr) throw Error(kind, why);
  return device;
}

}  // namespace dreamlab
