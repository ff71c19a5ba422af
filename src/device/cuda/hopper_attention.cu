#include <cmath>

#include "device/cuda/cuda_error.h"
#include "device/cuda/elements.cuh"
#include "device/cuda/hopper.cuh"
#include "device/cuda/hopper_attention.h"
#include "device/cuda/tensor_map.h"

namespace dreamlab::cuda {
namespace {

using hopper::kWarpgroup;
constexpr int kRows = 64;                           // queries of a warpgroup
constexpr int kChunk = 64, kRowBytes = kChunk * 2;  // channels of a row of shared memory
constexpr int kDepthOfProduct = 16;
constexpr int kSharedLimit = 227 << 10, kAlignment = 1024, kBarrierBytes = 256;

// A block of kConsumers * 64 queries and a loader; keys and values come kKeys at a time.
template <int kHead, int kKeys, int kConsumers>
struct Layout {
  static constexpr int kChunks = (kHead + kChunk - 1) / kChunk;
  static constexpr int kQueryBytes = kConsumers * kRows * kChunks * kRowBytes;
  static constexpr int kKeyBytes = kKeys * kChunks * kRowBytes;  // of keys, and of values
  static constexpr int kFitting = (kSharedLimit - kAlignment - kBarrierBytes - kQueryBytes) / (2 * kKeyBytes);
  static constexpr int kStages = kFitting < 2 ? 1 : kFitting < 4 ? 2 : 4;
  static constexpr int kShared = kQueryBytes + kStages * 2 * kKeyBytes + kAlignment + kBarrierBytes;
  static constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
};

struct AttentionArgs {
  int heads, queries, keys;
  float scale;  // of the scores, for powers of two
  bool causal;
  void* result;
};

__device__ inline int key_tiles(const AttentionArgs& args, int first_query, int block_queries, int tile) {
  const int keys = args.causal ? min(args.keys, first_query + block_queries) : args.keys;
  return (keys + tile - 1) / tile;
}

template <typename T>
__device__ inline uint32_t packed(float a, float b) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 both = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&both);
  } else {
    const __nv_bfloat162 both = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&both);
  }
}

__device__ inline float power_of_two(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

constexpr int kTurnBarrier = 1;  // the first; 0 is that of the whole block

// A warpgroup's queries. A thread holds two rows of scores, eight apart, and of eight neighboring keys two.
template <typename T, int kHead, int kKeys, int kConsumers>
__device__ void attend(const AttentionArgs& args, uint32_t queries, uint32_t tiles, uint32_t full, uint32_t empty,
                       int warpgroup) {
  using L = Layout<kHead, kKeys, kConsumers>;
  constexpr int kScores = kKeys / 2, kOut = kHead / 2;
  constexpr int kHeadSteps = (kHead + kDepthOfProduct - 1) / kDepthOfProduct;
  const int thread = threadIdx.x % kWarpgroup, lane = thread % 32, quarter = lane % 4;
  const int first_query = static_cast<int>(blockIdx.x) * kConsumers * kRows;
  const int row = first_query + warpgroup * kRows + thread / 32 * 16 + lane / 4;
  const int count = key_tiles(args, first_query, kConsumers * kRows, kKeys);

  float out[kOut], scores[kScores], largest[2] = {-INFINITY, -INFINITY}, sums[2] = {};
  const uint64_t own_queries = hopper::matrix_descriptor(queries + warpgroup * kRows * kRowBytes);
  const uint64_t first_keys = hopper::matrix_descriptor(tiles);
  const uint64_t first_values = hopper::transposed_descriptor(tiles + L::kKeyBytes, kKeys * kRowBytes);
  // Warpgroups hand in their products in turn, so that one's are made while the others are at their exponentials: left
  // to themselves, they would all do the same at the same time.
  const hopper::Turns turns{kTurnBarrier, warpgroup, kConsumers};
  const auto score = [&](int tile) {
    const int stage = tile % L::kStages;
    const uint64_t keys = first_keys + static_cast<uint32_t>(stage * 2 * L::kKeyBytes / 16);
    hopper::wait(full + 8 + stage * 16, tile / L::kStages & 1);
    if (tile == 0) turns.take();
    hopper::fence_products();
#pragma unroll
    for (int k = 0; k < kHeadSteps; ++k) {
      const int chunk = k / 4, in_chunk = k % 4 * 2;
      const uint64_t a = own_queries + chunk * kConsumers * kRows * kRowBytes / 16;
      const uint64_t b = keys + chunk * kKeys * kRowBytes / 16;
      hopper::WarpgroupProduct<T, kKeys>::run(scores, a + in_chunk, b + in_chunk, k > 0);
    }
    hopper::commit_products();
    turns.pass();
  };

  turns.begin();
  hopper::pin(out);
  hopper::pin(scores);
  hopper::wait(full, 0);
  score(0);
  for (int tile = 0; tile < count; ++tile) {
    const int stage = tile % L::kStages;
    const uint64_t values = first_values + static_cast<uint32_t>(stage * 2 * L::kKeyBytes / 16);
    hopper::wait_for_products<0>();
    hopper::pin(scores);
    hopper::pin(out);
    if (thread == 0) {
      hopper::arrive_at(empty + stage * 16, 0);
      if (tile > 0) hopper::arrive_at(empty + (tile - 1) % L::kStages * 16 + 8, 0);
    }

    const int first_key = tile * kKeys;
    if (first_key + kKeys > args.keys || args.causal) {
#pragma unroll
      for (int i = 0; i < kScores; ++i) {
        const int key = first_key + i / 4 * 8 + quarter * 2 + i % 2;
        if (key >= args.keys || (args.causal && key > row + (i % 4 / 2) * 8)) scores[i] = -INFINITY;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int j = 0; j < kScores / 4; ++j)
        most = fmaxf(most, fmaxf(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
      most = quad_max(most);
      const float factor = power_of_two((largest[half] - most) * args.scale), shift = most * args.scale;
      largest[half] = most;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kScores / 4; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[4 * j + 2 * half + i];
          score = power_of_two(score * args.scale - shift);
          sum += score;
        }
      }
      sums[half] = sums[half] * factor + sum;
      // Most tiles bring no larger score.
      if (tile > 0 && (kHead < 64 || __any_sync(0xffffffffu, factor != 1.0f))) {
#pragma unroll
        for (int j = 0; j < kOut / 4; ++j) {
          out[4 * j + 2 * half] *= factor;
          out[4 * j + 2 * half + 1] *= factor;
        }
      }
    }

    uint32_t weights[kKeys / kDepthOfProduct][4];
#pragma unroll
    for (int k = 0; k < kKeys / kDepthOfProduct; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[k][i] = packed<T>(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
    }
    hopper::wait(full + 16 + stage * 16, tile / L::kStages & 1);
    if (tile + 1 < count) turns.take();
    hopper::pin(out);
    hopper::fence_products();
#pragma unroll
    for (int k = 0; k < kKeys / kDepthOfProduct; ++k) {
      const uint64_t b = values + k * kDepthOfProduct * kRowBytes / 16;
      hopper::RegisterProduct<T, kHead>::run(out, weights[k], b, tile > 0 || k > 0);
    }
    hopper::commit_products();
    if (tile + 1 < count) score(tile + 1);
  }
  hopper::wait_for_products<0>();
  hopper::pin(out);

  const int64_t stride = static_cast<int64_t>(args.heads) * kHead;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float share = 1.0f / quad_sum(sums[half]);
    const int query = row + half * 8;
    if (query >= args.queries) continue;
    T* const to = static_cast<T*>(args.result) + (static_cast<int64_t>(blockIdx.z) * args.queries + query) * stride +
                  static_cast<int64_t>(blockIdx.y) * kHead + quarter * 2;
#pragma unroll
    for (int j = 0; j < kOut / 4; ++j)
      *reinterpret_cast<uint32_t*>(to + j * 8) =
          packed<T>(out[4 * j + 2 * half] * share, out[4 * j + 2 * half + 1] * share);
  }
}

template <typename T, int kHead, int kKeys, int kConsumers>
__global__ void __launch_bounds__((kConsumers + 1) * kWarpgroup, 1)
    attention_kernel(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                     const __grid_constant__ CUtensorMap v, const __grid_constant__ AttentionArgs args) {
  using L = Layout<kHead, kKeys, kConsumers>;
  extern __shared__ uint8_t shared[];
  const uint32_t begin = hopper::shared_address(shared), queries = (begin + kAlignment - 1) / kAlignment * kAlignment;
  const uint32_t tiles = queries + L::kQueryBytes, full = tiles + L::kStages * 2 * L::kKeyBytes;
  const uint32_t empty = full + 8 + L::kStages * 16;
  if (threadIdx.x == 0) {
    hopper::init_barrier(full, 1);
    for (int i = 0; i < 2 * L::kStages; ++i) {
      hopper::init_barrier(full + 8 + i * 8, 1);
      hopper::init_barrier(empty + i * 8, kConsumers);
    }
    hopper::fence_barrier_init();
  }
  __syncthreads();
  hopper::let_next_kernel_start();
  hopper::wait_for_previous_kernel();

  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == kConsumers) {
    hopper::give_registers<kConsumers == 3 ? 32 : 40>();
    if (threadIdx.x % kWarpgroup != 0) return;
    const int first_query = static_cast<int>(blockIdx.x) * kConsumers * kRows;
    const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
    hopper::arrive_expecting(full, L::kQueryBytes);
    for (int c = 0; c < L::kChunks; ++c)
      hopper::copy_box(&q, queries + c * kConsumers * kRows * kRowBytes, full, c * kChunk, head, first_query, image, 0,
                       false);
    const int count = key_tiles(args, first_query, kConsumers * kRows, kKeys);
    for (int tile = 0; tile < count; ++tile) {
      const int stage = tile % L::kStages;
      const uint32_t parity = (tile / L::kStages & 1) ^ 1;
      for (int which = 0; which < 2; ++which) {
        const uint32_t barrier = full + 8 + stage * 16 + which * 8;
        const uint32_t to = tiles + stage * 2 * L::kKeyBytes + which * L::kKeyBytes;
        hopper::wait(empty + stage * 16 + which * 8, parity);
        hopper::arrive_expecting(barrier, L::kKeyBytes);
        for (int c = 0; c < L::kChunks; ++c)
          hopper::copy_box(which == 0 ? &k : &v, to + c * kKeys * kRowBytes, barrier, c * kChunk, head, tile * kKeys,
                           image, 0, false);
      }
    }
  } else {
    hopper::take_registers<kConsumers == 3 ? 160 : 232>();
    attend<T, kHead, kKeys, kConsumers>(args, queries, tiles, full, empty, warpgroup);
  }
}

CUtensorMap map_of(const HopperAttention& a, const void* data, int64_t tokens, int64_t stride, int rows) {
  return tensor_map(a.dtype, data, {a.head_size, a.heads, tokens, a.images}, {a.head_size, stride, tokens * stride},
                    {kChunk, 1, rows, 1}, 1);
}

template <typename T, int kHead, int kKeys, int kConsumers>
void launch(const HopperAttention& a, cudaStream_t stream) {
  using L = Layout<kHead, kKeys, kConsumers>;
  constexpr int kQueries = kConsumers * kRows;
  constexpr float kLog2OfE = 1.44269504088896341f;
  const AttentionArgs args{static_cast<int>(a.heads),
                           static_cast<int>(a.queries),
                           static_cast<int>(a.keys),
                           kLog2OfE / std::sqrt(static_cast<float>(a.head_size)),
                           a.causal,
                           a.result};
  const auto kernel = attention_kernel<T, kHead, kKeys, kConsumers>;
  static hopper::DevicesSeen prepared;
  hopper::allow_shared(kernel, L::kShared, prepared);
  const dim3 blocks(static_cast<unsigned>((a.queries + kQueries - 1) / kQueries), static_cast<unsigned>(a.heads),
                    static_cast<unsigned>(a.images));
  hopper::launch(kernel, {blocks, L::kThreads, L::kShared, stream}, "launching an attention",
                 map_of(a, a.q, a.queries, a.q_stride, kQueries), map_of(a, a.k, a.keys, a.k_stride, kKeys),
                 map_of(a, a.v, a.keys, a.v_stride, kKeys), args);
}

template <typename T, int kHead, int kConsumers>
void launch(const HopperAttention& a, cudaStream_t stream) {
  constexpr int kText = 80;  // keys of a prompt, in one go
  if (a.keys <= kText)
    launch<T, kHead, kText, kConsumers>(a, stream);
  else
    launch<T, kHead, 128, kConsumers>(a, stream);
}

template <typename T>
void launch(const HopperAttention& a, cudaStream_t stream) {
  switch (a.head_size) {
    case 40:
      return launch<T, 40, 2>(a, stream);
    case 64:
      return launch<T, 64, 3>(a, stream);
    case 80:
      return launch<T, 80, 2>(a, stream);
    case 160:
      return launch<T, 160, 2>(a, stream);
    default:
      check(cudaErrorInvalidValue, "choosing a head's size");
  }
}

}  // namespace

bool hopper_supports(const HopperAttention& a) {
  const auto whole = [](const void* data, int64_t stride) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % 8 == 0;
  };
  const bool size = a.head_size == 40 || a.head_size == 64 || a.head_size == 80 || a.head_size == 160;
  return (a.dtype == DType::f16 || a.dtype == DType::bf16) && size && whole(a.q, a.q_stride) &&
         whole(a.k, a.k_stride) && whole(a.v, a.v_stride) && reinterpret_cast<uintptr_t>(a.result) % 4 == 0;
}

void hopper_attend(const HopperAttention& attention, cudaStream_t stream) {
  if (attention.dtype == DType::bf16)
    launch<__nv_bfloat16>(attention, stream);
  else
    launch<__half>(attention, stream);
}

}  // namespace dreamlab::cuda
