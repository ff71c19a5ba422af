#pragma once

// The way to the CUDA device, which lives in a library of its own: libdreamlab_cuda.so, opened when it is first asked
// for, and only where there is a driver. It lies beside the program or in lib/ or lib/dreamlab/ of one of the
// directories above it.
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/device.h"

namespace dreamlab {

// Which weights leave the GPU for the host's memory while they are not used.
enum class Offload {
  none,
  model,   // text encoders and autoencoder
  stream,  // these, and the UNet's blocks, which come one by one at every step
};

struct CudaOptions {
  int device = 0;            // as CUDA counts them (CUDA_VISIBLE_DEVICES applies)
  DType dtype = DType::f16;  // f16, bf16 or f32
  size_t memory_limit = 0;   // bytes of the device's memory that may be held; 0: what is there
  Offload offload = Offload::none;
  bool recordings = true;        // repeat passes from CUDA graphs; never where blocks come and go
  bool flash_attention = true;   // by cuDNN's fused kernel; else by products
  bool slice_attention = false;  // by products of small slices: slow, but with little memory
};

// "cuda:0" or several, "cuda:0,cuda:1", to their numbers; "cuda" is the first. Throws Error(invalid_argument).
std::vector<int> parse_cuda_devices(const std::string& names);

// Why libdreamlab_cuda.so cannot be opened; nullopt: it can, be there a GPU or not.
std::optional<std::string> why_no_cuda_library();
// Why no CUDA device can be used here, in a line that begins with "no CUDA device"; nullopt: there is one.
std::optional<std::string> why_no_cuda_device();
// Throws Error(unavailable) with that line, or where there is no device of that number.
std::unique_ptr<Device> make_cuda_device(const CudaOptions& options);

// Bytes of a GPU's memory that nobody holds; 0 where it cannot be asked.
uint64_t free_cuda_memory(int device);

// --- between the program and the library ---
// What the library's one function, dreamlab_cuda_library, returns. Exceptions stay on their side of it.
struct CudaLibrary {
  const char* version;  // of the project; another one has another Device
  // Writes why there is none to `why` and returns false.
  bool (*has_device)(std::string& why);
  uint64_t (*free_memory)(int device);
  // nullptr: kind and why tell the error.
  Device* (*make_device)(const CudaOptions& options, ErrorKind& kind, std::string& why);
};
inline constexpr const char* kCudaLibraryEntry = "dreamlab_cuda_library";
using CudaLibraryEntry = const CudaLibrary* (*)();

}  // namespace dreamlab
