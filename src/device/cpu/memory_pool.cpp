#include "device/cpu/memory_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

namespace dreamlab::cpu {
namespace {

constexpr size_t kSlack = 8;  // unused blocks may take an eighth of the peak
constexpr size_t kHugePage = size_t{2} << 20;

// Sizes are rounded so that shapes that differ a little share blocks: to 1/8 of the power of two below.
size_t block_size(size_t bytes) {
  size_t power = 4096;
  while (power * 2 <= bytes) power *= 2;
  const size_t step = std::max<size_t>(power / 8, 512);
  return std::max<size_t>((bytes + step - 1) / step * step, 512);
}

}  // namespace

void* allocate_block(size_t size) {
  const bool large = size >= kHugePage;
  void* block =
      std::aligned_alloc(large ? kHugePage : kAlignment, large ? (size + kHugePage - 1) / kHugePage * kHugePage : size);
  if (block == nullptr) fail(ErrorKind::out_of_memory, "out of memory: {} MiB more were needed", (size >> 20) + 1);
#ifdef MADV_HUGEPAGE
  if (large) madvise(block, size, MADV_HUGEPAGE);  // large strides walk these; ignoring the advice costs only speed
#endif
  return block;
}

MemoryPool::State::~State() {
  for (auto& [size, blocks] : free)
    for (void* block : blocks) std::free(block);
}

// Frees unused blocks, largest first, until what is held stays within the slack over the most that was ever in use at
// once: another stage of the work (the VAE after the denoiser) needs blocks of other sizes, and should not find the
// earlier ones in its way.
void MemoryPool::State::make_room(size_t size) {
  const size_t needed = in_use + size;
  const size_t allowed = std::max(peak, needed) + std::max(peak, needed) / kSlack;
  for (auto entry = free.rbegin(); entry != free.rend() && needed + cached > allowed; ++entry) {
    std::vector<void*>& blocks = entry->second;
    while (!blocks.empty() && needed + cached > allowed) {
      std::free(blocks.back());
      blocks.pop_back();
      cached -= entry->first;
    }
  }
}

std::shared_ptr<void> MemoryPool::allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  void* block = nullptr;
  {
    std::lock_guard lock(state_->mutex);
    std::vector<void*>& blocks = state_->free[size];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
      state_->cached -= size;
    } else {
      state_->make_room(size);
    }
    state_->in_use += size;
    state_->peak = std::max(state_->peak, state_->in_use);
  }
  if (block == nullptr) block = allocate_block(size);
  return {block, [state = state_, size](void* p) {
            std::lock_guard lock(state->mutex);
            state->free[size].push_back(p);
            state->in_use -= size;
            state->cached += size;
          }};
}

size_t MemoryPool::peak() const {
  std::lock_guard lock(state_->mutex);
  return state_->peak;
}

void MemoryPool::reset_peak() {
  std::lock_guard lock(state_->mutex);
  state_->peak = state_->in_use;
}

}  // namespace dreamlab::cpu
