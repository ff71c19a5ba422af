#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <memory>

namespace dreamlab::cuda {

// Bytes of a GPU's memory. Shared with the blocks, which may outlive what they were allocated for.
struct HeldMemory {
  std::atomic<size_t> bytes = 0, peak = 0;
};

// Memory that comes and goes in the order of one stream's work: a block that the host has given up is handed out again
// at once, whatever the GPU is still doing with it, and parts of it, or it with its neighbors, for blocks of other
// sizes. Segments come from CUDA's pool of the stream, so that nothing waits for the GPU, as cudaFree() would.
class StreamMemory {
 public:
  // limit: of all the memory that `held` counts; 0 for none. Throws Error.
  StreamMemory(int device, cudaStream_t stream, size_t limit, std::shared_ptr<HeldMemory> held);
  // Blocks may outlive this, and the stream after it.
  ~StreamMemory();
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  // Contents undefined. Throws Error(out_of_memory), after giving back what is unused.
  std::shared_ptr<void> allocate(size_t bytes);
  // Has so many bytes in one piece for what is allocated next, unless as many are held already: what grows bit by bit
  // has gaps. Where there is not as much, it has not.
  void reserve(size_t bytes);
  // Gives unused memory back to the GPU. Waits for the stream.
  void trim();
  // While the stream is being recorded nothing is allocated here, and nothing given back to the GPU: that would be
  // recorded, too.
  void begin_recording();
  void end_recording();

  // Most bytes handed out at once since the last reset_peak().
  size_t peak() const;
  void reset_peak();
  // Bytes held, in use or not.
  size_t reserved() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace dreamlab::cuda
