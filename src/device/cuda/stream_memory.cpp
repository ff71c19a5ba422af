#include "device/cuda/stream_memory.h"

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "base/error.h"
#include "device/block_arena.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {

namespace {

constexpr size_t kSmall = size_t{1} << 20;
// Segments are multiples of these: CUDA's own steps.
constexpr size_t kSegment = size_t{32} << 20, kSmallSegment = size_t{4} << 20;

}  // namespace

struct StreamMemory::State {
  int device = 0;
  size_t limit = 0;
  std::shared_ptr<HeldMemory> held;
  cudaMemPool_t pool = nullptr;

  std::mutex mutex;
  cudaStream_t stream = nullptr;  // null once it is gone
  bool recording = false;
  BlockArena large, small;  // small blocks would cut the large ones' places
  size_t in_use = 0, peak = 0, reserved = 0;

  ~State() {
    for (const BlockArena* arena : {&large, &small})
      for (const auto& [base, size] : arena->segments()) cudaFree(base);
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
    for (BlockArena* arena : {&large, &small})
      for (const auto& [base, size] : arena->remove_unused()) check(cudaFreeAsync(base, stream), "giving memory back");
    check(cudaStreamSynchronize(stream), "waiting for the device");
    check(cudaMemPoolTrimTo(pool, 0), "giving memory back");
    count();
  }
  // False where there is no more.
  bool grow(BlockArena& arena, size_t bytes) {
    void* base = nullptr;
    const cudaError_t status = cudaMallocFromPoolAsync(&base, bytes, pool, stream);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return false;
    }
    check(status, "allocating");
    count();
    if (limit != 0 && held->bytes > limit) {
      cudaFreeAsync(base, stream);
      return false;
    }
    arena.add(base, bytes);
    return true;
  }
  // nullptr where there is no more.
  void* take(size_t bytes) {
    BlockArena& arena = arena_of(bytes);
    if (void* const block = arena.take(bytes)) return block;
    const size_t segment = bytes > kSmall ? kSegment : kSmallSegment;
    if (!grow(arena, (bytes + segment - 1) / segment * segment)) return nullptr;
    return arena.take(bytes);
  }
  BlockArena& arena_of(size_t bytes) { return bytes > kSmall ? large : small; }
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
  if (block == nullptr && !state_->recording) {
    state_->trim();
    block = state_->take(bytes);
  }
  if (block == nullptr) fail(ErrorKind::out_of_memory, "out of GPU memory: {} MiB more were needed", (bytes >> 20) + 1);
  state_->in_use += bytes;
  state_->peak = std::max(state_->peak, state_->in_use);
  return {block, [state = state_, bytes](void* p) {
            std::lock_guard give_back(state->mutex);
            state->arena_of(bytes).give(p);
            state->in_use -= bytes;
          }};
}

void StreamMemory::reserve(size_t bytes) {
  std::lock_guard lock(state_->mutex);
  if (state_->recording || state_->reserved >= bytes) return;
  check(cudaSetDevice(state_->device), "choosing the device");
  if (state_->reserved > 0) state_->trim();
  state_->grow(state_->large, (bytes + kSegment - 1) / kSegment * kSegment);
}

void StreamMemory::trim() {
  std::lock_guard lock(state_->mutex);
  check(cudaSetDevice(state_->device), "choosing the device");
  if (!state_->recording) state_->trim();
}

void StreamMemory::begin_recording() {
  std::lock_guard lock(state_->mutex);
  state_->recording = true;
}

void StreamMemory::end_recording() {
  std::lock_guard lock(state_->mutex);
  state_->recording = false;
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
