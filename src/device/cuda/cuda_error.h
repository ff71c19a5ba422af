#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

namespace dreamlab {
enum class ErrorKind;
}

namespace dreamlab::cuda {

// Throws Error; of internal ones unavailable, which it says, where the GPU does nothing for this process any more.
[[noreturn]] void fail_on_gpu(ErrorKind kind, std::string message);
// Throws Error with CUDA's words: out_of_memory, unavailable where there is no device or driver, else internal.
void check(cudaError_t status, std::string_view what);
void check(cublasStatus_t status, std::string_view what);
// What the last kernel launch of this thread came to.
void check_launch(std::string_view kernel);

}  // namespace dreamlab::cuda
