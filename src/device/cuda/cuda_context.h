#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/cuda/stream_memory.h"
#include "device/cuda_backend.h"
#include "device/memory_pool.h"

namespace dreamlab::cuda {

// Pieces of the GPU's memory that are cut from larger ones begin at multiples of 512 bytes, as cudaMalloc's do.
constexpr size_t aligned(size_t bytes) {
  return (bytes + 511) / 512 * 512;
}

// A GPU as one user of it sees it: one stream, on which everything happens in order, memory, and the libraries'
// handles. Devices of several dtypes may share it.
class CudaContext {
 public:
  // Throws Error(unavailable).
  CudaContext(int device, size_t memory_limit);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  // Makes this GPU the calling thread's.
  void make_current() const;
  void synchronize() const;

  cudaStream_t stream() const { return stream_; }
  cublasLtHandle_t cublas() const { return cublas_; }
  cudnnHandle_t cudnn() const { return cudnn_; }
  const cudaDeviceProp& properties() const { return properties_; }
  // "NVIDIA H100 80GB HBM3"
  std::string name() const { return properties_.name; }

  // Memory for activations. While a recording is made it comes from a pool that no other work uses: what a recording
  // overwrites when it is repeated must belong to nobody else.
  std::shared_ptr<void> allocate(size_t bytes) {
    return recording_ ? recorded_.allocate(bytes) : activations_->allocate(bytes);
  }
  // Memory for weights, cut from slabs.
  std::shared_ptr<void> allocate_weights(size_t bytes);
  // Scratch memory, good until the next call. Large enough for what the libraries ask for; grows where it must.
  void* workspace(size_t bytes);
  // Page-locked host memory, good until the next call.
  void* pinned(size_t bytes);
  // Zeros that kernels count with and leave zero.
  unsigned* counters(int64_t count);

  void begin_recording();
  // Gives back what the passes before a recording needed, too.
  cudaGraphExec_t end_recording();
  // Ends a recording that failed.
  void drop_recording();
  bool recording() const { return recording_; }

  size_t peak_activation_bytes() const { return activations_->peak() + recorded_.peak(); }
  void reset_peak();
  void reserve_activations(size_t bytes) { activations_->reserve(bytes); }
  // May be called from any thread.
  DeviceMemory memory() const;
  // Gives unused memory back to the GPU. No recording may be used after it.
  void trim();

 private:
  std::shared_ptr<void> allocate_alone(size_t bytes);

  int device_;
  size_t memory_limit_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t cublas_ = nullptr;
  cudnnHandle_t cudnn_ = nullptr;
  std::shared_ptr<HeldMemory> held_ = std::make_shared<HeldMemory>();
  std::shared_ptr<std::atomic<size_t>> weights_held_ = std::make_shared<std::atomic<size_t>>(0);
  std::optional<StreamMemory> activations_;
  MemoryPool recorded_;
  bool recording_ = false;
  std::shared_ptr<void> slab_, workspace_, counters_, pinned_;
  std::vector<std::shared_ptr<void>> old_workspaces_;  // recordings may still use them
  size_t slab_size_ = 0, slab_used_ = 0, workspace_size_ = 0, counters_size_ = 0, pinned_size_ = 0;
};

}  // namespace dreamlab::cuda
