#include "scheduler/torch_cuda_noise.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "scheduler/elementary.h"
#include "tensor/dtype.h"

namespace dreamlab {
namespace {

constexpr uint64_t kThreadsPerBlock = 256;
constexpr uint64_t kNormalsPerCall = 4;
constexpr uint64_t kThreadsAtOnce = 4096;  // of the GPU's threads, for one of ours

constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kKeyStep0 = 0x9E3779B9;
constexpr uint32_t kKeyStep1 = 0xBB67AE85;
constexpr int kRounds = 10;

struct Pair {
  float first;
  float second;
};

// cuRAND's Box-Muller: words to uniforms in (0, 1] and angles in (0, 2 pi], each the midpoint of its 2^-32 step rounded
// to f32.
Pair box_muller(uint32_t radius_word, uint32_t angle_word) {
  constexpr double kStep = 0x1p-32;
  constexpr double kAngleStep = 0x1.921fb6p-30f;  // the f32 nearest 2 pi, times 2^-32
  const float uniform = static_cast<float>(static_cast<double>(static_cast<float>(radius_word)) * kStep + kStep / 2);
  const float angle =
      static_cast<float>(static_cast<double>(static_cast<float>(angle_word)) * kAngleStep + kAngleStep / 2);
  const float radius = std::sqrt(-2.0f * static_cast<float>(portable_log(uniform)));
  const SineCosine direction = portable_sincos(angle);
  return {radius * static_cast<float>(direction.sine), radius * static_cast<float>(direction.cosine)};
}

std::array<uint32_t, 4> words_of(uint64_t seed, uint64_t thread, uint64_t position) {
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
  return philox_4x32_10({low(position), high(position), low(thread), high(thread)}, {low(seed), high(seed)});
}

// A thread's four normals, `stride` apart from `index` on, as far as they lie in `out`. Most draws need the first
// alone.
void draw(std::span<float> out, const std::array<uint32_t, 4>& words, uint64_t index, uint64_t stride) {
  for (size_t pair = 0; pair < 2; ++pair, index += 2 * stride) {
    if (index >= out.size()) return;
    const Pair normals = box_muller(words[2 * pair], words[2 * pair + 1]);
    out[index] = normals.first;
    if (index + stride < out.size()) out[index + stride] = normals.second;
  }
}

}  // namespace

std::array<uint32_t, 4> philox_4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kKeyStep0;
    key[1] += kKeyStep1;
  }
  return counter;
}

void TorchCudaNoise::normals(std::span<float> out) {
  const uint64_t count = out.size();
  if (count == 0) return;
  const uint64_t blocks = (count + kThreadsPerBlock - 1) / kThreadsPerBlock;
  const uint64_t threads = std::min(blocks * kThreadsPerBlock, kResidentThreads);
  const uint64_t calls = (count - 1) / (threads * kNormalsPerCall) + 1;
  for (uint64_t call = 0; call < calls; ++call) {
    const uint64_t first = call * threads * kNormalsPerCall;
    const uint64_t drawing = std::min(threads, count - first);
    const auto parts = static_cast<int64_t>((drawing + kThreadsAtOnce - 1) / kThreadsAtOnce);
    helper_threads().parallel_for(parts, [&](int64_t part, int) {
      const uint64_t begin = static_cast<uint64_t>(part) * kThreadsAtOnce;
      for (uint64_t thread = begin; thread < std::min(begin + kThreadsAtOnce, drawing); ++thread)
        draw(out, words_of(seed_, thread, position_ + call), first + thread, threads);
    });
  }
  position_ += calls;
  if (precision_ == NoisePrecision::f16) {
    for (float& value : out) value = static_cast<float>(Float16::from_float(value));
  }
}

}  // namespace dreamlab
