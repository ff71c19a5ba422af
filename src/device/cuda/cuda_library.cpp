// The one function that the program looks for in libdreamlab_cuda.so.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "device/cuda/cuda_device.h"
#include "device/cuda_backend.h"

#ifndef DREAMLAB_VERSION
#error "DREAMLAB_VERSION: the version of the project"
#endif

namespace dreamlab {
namespace {

bool has_device(std::string& why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status == cudaSuccess && count > 0) return true;
  why = status == cudaSuccess ? "none is there" : cudaGetErrorString(status);
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver / 1000 < CUDART_VERSION / 1000)
    why = fmt::format("the driver knows CUDA {}.{} at most; {} is needed", driver / 1000, driver % 1000 / 10,
                      CUDART_VERSION / 1000);
  return false;
}

uint64_t free_memory(int device) {
  size_t free = 0, total = 0;
  const bool known = cudaSetDevice(device) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess;
  cudaGetLastError();
  return known ? free : 0;
}

Device* make_device(const CudaOptions& options, ErrorKind& kind, std::string& why) {
  try {
    return cuda::make_device(options).release();
  } catch (const Error& error) {
    kind = error.kind();
    why = error.what();
  } catch (const std::exception& error) {
    kind = ErrorKind::internal;
    why = error.what();
  }
  return nullptr;
}

constexpr CudaLibrary kLibrary{DREAMLAB_VERSION, has_device, free_memory, make_device};

}  // namespace
}  // namespace dreamlab

extern "C" __attribute__((visibility("default"))) const dreamlab::CudaLibrary* dreamlab_cuda_library() {
  return &dreamlab::kLibrary;
}
