#include "device/cuda/cuda_error.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace dreamlab::cuda {
namespace {

ErrorKind kind_of(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return ErrorKind::out_of_memory;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInitializationError:
    case cudaErrorInvalidDevice:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorDevicesUnavailable:
      return ErrorKind::unavailable;
    default:
      return ErrorKind::internal;
  }
}

}  // namespace

void fail_on_gpu(ErrorKind kind, std::string message) {
  // After some errors (a bad address, damaged memory) every call fails until the process ends.
  if (kind == ErrorKind::internal && cudaFree(nullptr) != cudaSuccess) {
    kind = ErrorKind::unavailable;
    message += "; the GPU is lost to this program, which has to be started again";
  }
  throw Error(kind, message);
}

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next launch is blamed for it
  fail_on_gpu(kind_of(status), fmt::format("CUDA, {}: {}", what, cudaGetErrorString(status)));
}

void check(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail_on_gpu(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory : ErrorKind::internal,
              fmt::format("cuBLASLt, {}: {}", what, cublasLtGetStatusString(status)));
}

void check_launch(std::string_view kernel) {
  check(cudaGetLastError(), kernel);
}

}  // namespace dreamlab::cuda
