#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace dreamlab::cpu {

// Of every block, in bytes: a cache line, which is also a vector of AVX-512.
inline constexpr size_t kAlignment = 64;

// `size` bytes from the system, to be released by std::free: aligned, on huge pages where they are large.
// Throws Error(out_of_memory).
void* allocate_block(size_t size);

// Host memory in reusable, aligned blocks. A block goes back to the pool with the last reference to it, so that
// after the first denoising step nothing is asked of the system any more. References may outlive the pool object.
class MemoryPool {
 public:
  MemoryPool() : state_(std::make_shared<State>()) {}

  // At least `bytes` bytes, contents undefined. Throws Error(out_of_memory).
  std::shared_ptr<void> allocate(size_t bytes);

  // Most bytes handed out at once since the last reset_peak().
  size_t peak() const;
  void reset_peak();

 private:
  struct State {
    std::mutex mutex;
    std::map<size_t, std::vector<void*>> free;  // by block size
    size_t in_use = 0, cached = 0, peak = 0;
    void make_room(size_t size);
    ~State();
  };
  std::shared_ptr<State> state_;
};

}  // namespace dreamlab::cpu
