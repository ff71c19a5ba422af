#include "device/cpu/weight_arena.h"

#include <cstdlib>

#include "device/cpu/host_memory.h"

namespace dreamlab::cpu {
namespace {

constexpr size_t kSlab = size_t{128} << 20;

}  // namespace

std::shared_ptr<void> WeightArena::allocate(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (bytes > kSlab / 4) return {allocate_block(bytes), &std::free};
  std::lock_guard lock(mutex_);
  if (slab_ == nullptr || used_ + bytes > size_) {
    slab_ = {static_cast<std::byte*>(allocate_block(kSlab)), &std::free};
    size_ = kSlab;
    used_ = 0;
  }
  std::shared_ptr<void> piece(slab_, slab_.get() + used_);
  used_ += bytes;
  return piece;
}

}  // namespace dreamlab::cpu
