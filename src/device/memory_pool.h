#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace dreamlab {

// Where a pool's blocks come from.
struct BlockSource {
  std::function<void*(size_t bytes)> allocate;  // nullptr: there is no more
  std::function<void(void* block, size_t bytes)> release;
};

// Memory of one kind in reusable blocks. A block goes back to the pool with the last reference to it, so that after the
// first denoising step nothing is asked of the system any more. References may outlive the pool object.
class MemoryPool {
 public:
  enum class Unused {
    given_back,  // where they are many: what comes next may want blocks of other sizes
    kept,        // until trim(): something else remembers their addresses. Larger blocks serve for smaller ones
  };
  explicit MemoryPool(BlockSource source, Unused unused = Unused::given_back)
      : state_(std::make_shared<State>(std::move(source), unused)) {}

  // At least `bytes` bytes, contents undefined. Throws Error(out_of_memory), after giving back what is unused.
  std::shared_ptr<void> allocate(size_t bytes);
  // Gives unused blocks back to where they came from.
  void trim();

  // Most bytes handed out at once since the last reset_peak().
  size_t peak() const;
  void reset_peak();
  // Bytes held, in use or not.
  size_t held() const;

 private:
  struct State {
    State(BlockSource from, Unused what) : source(std::move(from)), unused(what) {}
    ~State() { release_unused(); }
    // An unused block for `size` bytes, and its true size; null where there is none.
    std::pair<void*, size_t> take_unused(size_t size);
    void make_room(size_t size);
    void release_unused();

    BlockSource source;
    const Unused unused;
    mutable std::mutex mutex;
    std::map<size_t, std::vector<void*>> free;  // by block size
    size_t in_use = 0, cached = 0, peak = 0;
  };
  std::shared_ptr<State> state_;
};

}  // namespace dreamlab
