#include "scheduler/torch_cuda_noise.h"

#include <algorithm>
#include <array>

#include "base/thread_pool.h"
#include "scheduler/box_muller.h"
#include "tensor/dtype.h"

namespace dreamlab {
namespace {

constexpr uint64_t kThreadsPerBlock = 256;
constexpr uint64_t kNormalsPerCall = 4;
constexpr uint64_t kThreadsAtOnce = 2048;  // of the GPU's threads, for one of ours

constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kKeyStep0 = 0x9E3779B9;
constexpr uint32_t kKeyStep1 = 0xBB67AE85;
constexpr int kRounds = 10;

std::array<uint32_t, 4> words_of(uint64_t seed, uint64_t thread, uint64_t position) {
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
  return philox_4x32_10({low(position), high(position), low(thread), high(thread)}, {low(seed), high(seed)});
}

// The normals of threads [begin, end) of one call, the first of which go to `out`'s elements from `first` on. A
// thread's four normals lie `stride` apart, as far as they lie in `out`; most draws need the first alone.
void draw(std::span<float> out, uint64_t seed, uint64_t position, uint64_t begin, uint64_t end, uint64_t first,
          uint64_t stride) {
  std::array<std::array<uint32_t, kThreadsAtOnce>, 4> words;
  std::array<float, kThreadsAtOnce> sines, cosines;
  const size_t threads = end - begin;
  for (size_t i = 0; i < threads; ++i) {
    const std::array<uint32_t, 4> four = words_of(seed, begin + i, position);
    for (size_t w = 0; w < four.size(); ++w) words[w][i] = four[w];
  }
  for (size_t pair = 0; pair < 2; ++pair) {
    const uint64_t at = first + begin + 2 * pair * stride;
    if (at >= out.size()) return;
    const bool both = at + stride < out.size();
    box_muller(std::span(words[2 * pair]).first(threads), std::span(words[2 * pair + 1]).first(threads),
               std::span(sines).first(threads), both ? std::span(cosines).first(threads) : std::span<float>());
    const auto place = [&](const std::array<float, kThreadsAtOnce>& normals, uint64_t to) {
      if (to < out.size())
        std::copy_n(normals.begin(), std::min<uint64_t>(threads, out.size() - to),
                    out.begin() + static_cast<std::ptrdiff_t>(to));
    };
    place(sines, at);
    if (both) place(cosines, at + stride);
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
      draw(out, seed_, position_ + call, begin, std::min(begin + kThreadsAtOnce, drawing), first, threads);
    });
  }
  position_ += calls;
  if (precision_ == NoisePrecision::f16) {
    for (float& value : out) value = static_cast<float>(Float16::from_float(value));
  }
}

}  // namespace dreamlab
