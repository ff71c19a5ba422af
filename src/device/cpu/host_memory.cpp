#include "device/cpu/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace dreamlab::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

void* try_allocate(size_t size) {
  const bool large = size >= kHugePage;
  void* block =
      std::aligned_alloc(large ? kHugePage : kAlignment, large ? (size + kHugePage - 1) / kHugePage * kHugePage : size);
#ifdef MADV_HUGEPAGE
  if (large && block != nullptr)
    madvise(block, size, MADV_HUGEPAGE);  // large strides walk these; ignoring the advice costs only speed
#endif
  return block;
}

}  // namespace

void* allocate_block(size_t size) {
  void* block = try_allocate(size);
  if (block == nullptr) fail(ErrorKind::out_of_memory, "out of memory: {} MiB more were needed", (size >> 20) + 1);
  return block;
}

BlockSource host_blocks(size_t limit) {
  // The pool asks for one block at a time.
  const auto held = std::make_shared<size_t>(0);
  return {[held, limit](size_t size) -> void* {
            if (limit != 0 && *held + size > limit) return nullptr;
            void* const block = try_allocate(size);
            if (block != nullptr) *held += size;
            return block;
          },
          [held](void* block, size_t size) {
            std::free(block);
            *held -= size;
          }};
}

}  // namespace dreamlab::cpu
