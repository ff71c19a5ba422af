#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace dreamlab::cpu {

// Memory for packed weights: thousands of pieces of some KiB to some MiB that come together and go together, cut one
// after the other from large slabs on huge pages. A slab goes back to the system with the last of its pieces.
class WeightArena {
 public:
  // 64-byte aligned. Throws Error(out_of_memory).
  std::shared_ptr<void> allocate(size_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> slab_;
  size_t size_ = 0, used_ = 0;
};

}  // namespace dreamlab::cpu
