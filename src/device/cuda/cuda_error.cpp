#include "device/cuda/cuda_error.h"

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

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next launch is blamed for it
  fail(kind_of(status), "CUDA, {}: {}", what, cudaGetErrorString(status));
}

void check(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory : ErrorKind::internal, "cuBLASLt, {}: {}", what,
       cublasLtGetStatusString(status));
}

void check_launch(std::string_view kernel) {
  check(cudaGetLastError(), kernel);
}

}  // namespace dreamlab::cuda
