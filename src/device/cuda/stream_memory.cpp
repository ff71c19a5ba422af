#include "device/cuda/stream_memory.h"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {

struct StreamMemory::State {
  int device = 0;
  size_t limit = 0;
  std::shared_ptr<HeldMemory> held;
  cudaMemPool_t pool = nullptr;

  std::mutex mutex;
  cudaStream_t stream = nullptr;  // null once it is gone
  bool recording = false;
  std::vector<void*> given_up;  // while recording
  size_t in_use = 0, peak = 0, reserved = 0;

  ~State() {
    if (pool != nullptr) cudaMemPoolDestroy(pool);
    held->bytes -= reserved;
  }

  // What the pool has of the GPU's memory now.
  void count() {
    uint64_t now = 0;
    check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &now), "asking for memory in use");
    const size_t all = held->bytes += now - reserved;
    reserved = now;
    if (all > held->peak) held->peak = all;
  }
  void trim() {
    if (stream != nullptr && !recording) check(cudaStreamSynchronize(stream), "waiting for the device");
    check(cudaMemPoolTrimTo(pool, 0), "giving memory back");
    count();
  }
  // nullptr where there is no more.
  void* take(size_t bytes) {
    void* block = nullptr;
    const cudaError_t status = cudaMallocFromPoolAsync(&block, bytes, pool, stream);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(status, "allocating");
    count();
    if (limit != 0 && held->bytes > limit) {
      give(block);
      return nullptr;
    }
    return block;
  }
  void give(void* block) {
    if (stream == nullptr)
      cudaFree(block);
    else if (recording)
      given_up.push_back(block);
    else
      cudaFreeAsync(block, stream);
  }
};

StreamMemory::StreamMemory(int device, cudaStream_t stream, size_t limit, std::shared_ptr<HeldMemory> held)
    : state_(std::make_shared<State>()) {
  state_->device = device;
  state_->stream = stream;
  state_->limit = limit;
  state_->held = std::move(held);
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  check(cudaMemPoolCreate(&state_->pool, &properties), "making a memory pool");
  uint64_t keep = UINT64_MAX;
  check(cudaMemPoolSetAttribute(state_->pool, cudaMemPoolAttrReleaseThreshold, &keep), "setting up a memory pool");
}

StreamMemory::~StreamMemory() {
  std::lock_guard lock(state_->mutex);
  cudaSetDevice(state_->device);
  cudaStreamSynchronize(state_->stream);
  state_->stream = nullptr;
}

std::shared_ptr<void> StreamMemory::allocate(size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  std::lock_guard lock(state_->mutex);
  check(cudaSetDevice(state_->device), "choosing the device");
  void* block = state_->take(bytes);
  if (block == nullptr) {
    state_->trim();
    block = state_->take(bytes);
  }
  if (block == nullptr) fail(ErrorKind::out_of_memory, "out of GPU memory: {} MiB more were needed", (bytes >> 20) + 1);
  state_->in_use += bytes;
  state_->peak = std::max(state_->peak, state_->in_use);
  return {block, [state = state_, bytes](void* p) {
            std::lock_guard give_back(state->mutex);
            cudaSetDevice(state->device);
            state->give(p);
            state->in_use -= bytes;
          }};
}

void StreamMemory::trim() {
  std::lock_guard lock(state_->mutex);
  check(cudaSetDevice(state_->device), "choosing the device");
  state_->trim();
}

void StreamMemory::begin_recording() {
  std::lock_guard lock(state_->mutex);
  state_->recording = true;
}

void StreamMemory::end_recording() {
  std::lock_guard lock(state_->mutex);
  state_->recording = false;
  for (void* block : state_->given_up) state_->give(block);
  state_->given_up.clear();
}

size_t StreamMemory::peak() const {
  std::lock_guard lock(state_->mutex);
  return state_->peak;
}

void StreamMemory::reset_peak() {
  std::lock_guard lock(state_->mutex);
  state_->peak = state_->in_use;
}

size_t StreamMemory::reserved() const {
  std::lock_guard lock(state_->mutex);
  return state_->reserved;
}

}  // namespace dreamlab::cuda
