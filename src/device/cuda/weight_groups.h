#pragma once

// Packed weights, and how groups of them leave for page-locked memory of the host and come back. A second stream copies
// the block that is likely to be needed next while the GPU works on the one before it.
#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "device/cuda/cuda_context.h"
#include "device/device.h"

namespace dreamlab::cuda {

class CudaWeightGroup;

// Where a packed tensor lies: for good, or with its group.
struct PackedBytes {
  std::shared_ptr<void> memory;            // null once it belongs to a group that has left
  const CudaWeightGroup* group = nullptr;  // which outlives it
  size_t offset = 0, bytes = 0;

  // Throws Error(internal) where the group has not been entered.
  void* get() const;
};

class CudaWeightGroup final : public WeightGroup {
 public:
  explicit CudaWeightGroup(WeightGroupKind of_kind) : kind(of_kind) {}
  ~CudaWeightGroup() override;

  WeightGroupKind kind;
  size_t bytes = 0;
  std::shared_ptr<void> host, resident;  // page-locked; on the GPU, null while away
  cudaEvent_t copied = nullptr;          // that `resident` is complete
  CudaWeightGroup* next = nullptr;       // what was entered after it the last time
  int users = 0;
};

class WeightGroups {
 public:
  WeightGroups(CudaContext& context, Offload offload) : context_(context), offload_(offload) {}
  ~WeightGroups();
  WeightGroups(const WeightGroups&) = delete;
  WeightGroups& operator=(const WeightGroups&) = delete;

  // Memory for a packed tensor, on the GPU until its group ends.
  std::shared_ptr<PackedBytes> allocate(size_t bytes);

  // As in Device.
  std::shared_ptr<WeightGroup> begin(WeightGroupKind kind);
  void end();
  void drop() noexcept;
  void enter(CudaWeightGroup& group);
  void leave(CudaWeightGroup& group) noexcept;
  // Whether weights that come and go are in use: where they are now they will not be again.
  bool any_in_use() const { return in_use_ > 0; }

 private:
  void fetch(CudaWeightGroup& group);
  // Frees its memory on the GPU, once a copy into it has ended.
  void send_away(CudaWeightGroup& group) noexcept;

  CudaContext& context_;
  Offload offload_;
  cudaStream_t copies_ = nullptr;
  cudaEvent_t done_so_far_ = nullptr;
  int in_use_ = 0;  // groups entered, each as often as it is
  std::shared_ptr<CudaWeightGroup> open_;
  std::vector<std::shared_ptr<PackedBytes>> pieces_;  // of the open one
  CudaWeightGroup* last_ = nullptr;                   // block entered
  CudaWeightGroup* ahead_ = nullptr;                  // fetched before it was entered
};

}  // namespace dreamlab::cuda
