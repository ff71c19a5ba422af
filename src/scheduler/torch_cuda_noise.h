#pragma once

#include <array>
#include <cstdint>

#include "scheduler/random.h"

namespace dreamlab {

// The Philox 4x32-10 block function (Salmon et al. 2011): four random words for a counter and a key.
std::array<uint32_t, 4> philox_4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// torch.randn of PyTorch's CUDA generator. Every GPU thread has its own Philox stream: its number is the upper half of
// the counter, the position in the stream the lower half. A call draws four normals at a time in each thread and
// spreads them over the tensor with the number of threads as stride (ATen's calc_execution_policy and
// distribution_nullary_kernel, cuRAND's curand_normal4).
class TorchCudaNoise : public NoiseSource {
 public:
  TorchCudaNoise(uint64_t seed, NoisePrecision precision) : seed_(seed), precision_(precision) {}
  void normals(std::span<float> out) override;

  // Threads of the largest grid that ATen launches: all that are resident at once. The number depends on the GPU; this
  // is that of 132 multiprocessors with 2,048 threads each (H100 SXM, H200). It matters only for draws of more elements
  // than this; on another GPU PyTorch itself gives other numbers there.
  static constexpr uint64_t kResidentThreads = 132 * 2048;

 private:
  uint64_t seed_;
  NoisePrecision precision_;
  uint64_t position_ = 0;  // blocks that every thread has drawn so far
};

}  // namespace dreamlab
