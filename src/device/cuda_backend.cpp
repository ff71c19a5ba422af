#include "device/cuda_backend.h"

#include <dlfcn.h>

#include <charconv>
#include <filesystem>

#include "base/assets.h"
#include "base/split_list.h"
#include "base/version.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "libdreamlab_cuda.so";
constexpr const char* kDriver = "libcuda.so.1";

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
    return {nullptr,
            path->string() + " is of version " + library->version + ", the program of " + std::string(version())};
  return {library, {}};
}

const Opened& opened() {
  static const Opened result = open_library();
  return result;
}

}  // namespace

std::vector<int> parse_cuda_devices(const std::string& names) {
  std::vector<int> devices;
  for (const std::string& name : split_list(names)) {
    int number = 0;
    if (name != "cuda") {
      const char* const end = name.data() + name.size();
      const bool named = name.starts_with("cuda:");
      const auto [stop, code] = named ? std::from_chars(name.data() + 5, end, number) : std::from_chars_result{};
      if (!named || code != std::errc() || stop != end || number < 0)
        fail(ErrorKind::invalid_argument, "{}: cuda:N is needed, or several of them with commas", name);
    }
    devices.push_back(number);
  }
  if (devices.empty()) fail(ErrorKind::invalid_argument, "no device is named; cuda:N is needed");
  return devices;
}

std::optional<std::string> why_no_cuda_library() {
  return opened().library == nullptr ? std::optional(opened().why) : std::nullopt;
}

std::optional<std::string> why_no_cuda_device() {
  static const bool has_driver = dlopen(kDriver, RTLD_LAZY | RTLD_LOCAL) != nullptr;
  if (!has_driver) return "no CUDA device: no NVIDIA driver is installed";
  const Opened& cuda = opened();
  std::string why = cuda.why;
  if (cuda.library != nullptr && cuda.library->has_device(why)) return std::nullopt;
  return "no CUDA device: " + why;
}

uint64_t free_cuda_memory(int device) {
  return why_no_cuda_device() ? 0 : opened().library->free_memory(device);
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
