#include "device/memory_pool.h"

#include <algorithm>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr size_t kSlack = 8;          // unused blocks may take an eighth of the peak
constexpr size_t kLargestMisfit = 2;  // a kept block serves for half of its size, too

// Sizes are rounded so that shapes that differ a little share blocks: to 1/8 of the power of two below.
size_t block_size(size_t bytes) {
  size_t power = 4096;
  while (power * 2 <= bytes) power *= 2;
  const size_t step = std::max<size_t>(power / 8, 512);
  return std::max<size_t>((bytes + step - 1) / step * step, 512);
}

}  // namespace

void MemoryPool::State::release_unused() {
  for (auto& [size, blocks] : free) {
    for (void* block : blocks) source.release(block, size);
    blocks.clear();
  }
  cached = 0;
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
      source.release(blocks.back(), entry->first);
      blocks.pop_back();
      cached -= entry->first;
    }
  }
}

std::pair<void*, size_t> MemoryPool::State::take_unused(size_t size) {
  const size_t largest = unused == Unused::kept ? kLargestMisfit * size : size;
  for (auto entry = free.lower_bound(size); entry != free.end() && entry->first <= largest; ++entry) {
    std::vector<void*>& blocks = entry->second;
    if (blocks.empty()) continue;
    void* const block = blocks.back();
    blocks.pop_back();
    cached -= entry->first;
    return {block, entry->first};
  }
  return {nullptr, size};
}

std::shared_ptr<void> MemoryPool::allocate(size_t bytes) {
  std::lock_guard lock(state_->mutex);
  auto [block, size] = state_->take_unused(block_size(bytes));
  if (block == nullptr) {
    if (state_->unused == Unused::given_back) state_->make_room(size);
    block = state_->source.allocate(size);
    if (block == nullptr && state_->unused == Unused::given_back) {
      state_->release_unused();
      block = state_->source.allocate(size);
    }
    if (block == nullptr) fail(ErrorKind::out_of_memory, "out of memory: {} MiB more were needed", (size >> 20) + 1);
  }
  state_->in_use += size;
  state_->peak = std::max(state_->peak, state_->in_use);
  return {block, [state = state_, size = size](void* p) {
            std::lock_guard give_back(state->mutex);
            state->free[size].push_back(p);
            state->in_use -= size;
            state->cached += size;
          }};
}

void MemoryPool::trim() {
  std::lock_guard lock(state_->mutex);
  state_->release_unused();
}

size_t MemoryPool::peak() const {
  std::lock_guard lock(state_->mutex);
  return state_->peak;
}

void MemoryPool::reset_peak() {
  std::lock_guard lock(state_->mutex);
  state_->peak = state_->in_use;
}

size_t MemoryPool::held() const {
  std::lock_guard lock(state_->mutex);
  return state_->in_use + state_->cached;
}

}  // namespace dreamlab
