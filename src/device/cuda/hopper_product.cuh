#pragma once

// The kernel of hopper_product.h and its launch, for the sources that make it for a dtype each.
#include <algorithm>
#include <array>

#include "device/cuda/cuda_error.h"
#include "device/cuda/elements.cuh"
#include "device/cuda/hopper.cuh"
#include "device/cuda/hopper_product.h"
#include "device/cuda/tensor_map.h"

namespace dreamlab::cuda::hopper {

void multiply_bf16(const HopperProduct& product, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream);

// A block computes a tile of 128 results by `columns`: one warpgroup loads, two multiply 64 rows each. Loads are 64
// channels deep, 128 bytes, as wide as the swizzle.
constexpr int kTileRows = 128, kTileDepth = 64, kRowBytes = kTileDepth * 2;
constexpr int kConsumers = 2, kBlockThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kDepthOfProduct = 16;
constexpr int kConsumerBarrier = 1, kTurnBarrier = 2;  // of the first warpgroup; the next one is the second's
constexpr int kSharedLimit = 227 << 10, kAlignment = 1024, kBarrierBytes = 256;

// How a block's shared memory is used: stages of pixels and weights, then two barriers for each.
template <int kColumns>
struct Stages {
  static constexpr int kBytes = (kTileRows + kColumns) * kRowBytes;
  static constexpr int kFitting = (kSharedLimit - kAlignment - kBarrierBytes) / kBytes;
  static constexpr int kCount = kFitting < 8 ? kFitting : 8;
  static constexpr int kShared = kCount * kBytes + kAlignment + kBarrierBytes;
};

// A tile's rows are a box of pixels, 2^log_width by 2^log_height of 2^log_images.
struct Box {
  int log_width = 7, log_height = 0, log_images = 0;
};

// What becomes of a tile's sums. Each is a kernel of its own, as small as can be: a tile's end is long straight code,
// which takes several times as long where it does not fit the instruction cache.
enum class End {
  plain,   // a residual at most: bias, image bias and addend are what the sums start from
  geglu,   // h * gelu(g)
  shared,  // anything, by way of shared memory: a tile's steps may be shared by several blocks
};

struct KernelArgs {
  Box box;
  int tiles_x, tiles_y, row_tiles, column_tiles;  // row_tiles: x * y * images, whole clusters of them
  int phases;                                     // kinds of results: 4 where x is enlarged
  int cluster_rows, cluster_columns;
  int splits;  // blocks of a cluster that share a tile's steps; then the cluster is one tile
  int kernel, stride, pad_before, chunks;  // chunks of kTileDepth channels
  int images, out_height, out_width;       // of results; of one kind
  int channels;                            // of w
  int result_channels;
  int rows_per_image;
  float scale, slope;  // slope: of what is below zero, as an activation; 1 for none
  Activation activation;
  const void *bias, *addend, *image_bias, *residual;
  void* result;
};

struct Tile {
  int phase, column, row;  // column and row: numbers of tiles
};

__device__ inline Tile tile_of(const KernelArgs& args, int cluster_tile, int rank) {
  const int row_clusters = args.row_tiles / args.cluster_rows;
  const int row = cluster_tile % row_clusters * args.cluster_rows + rank % args.cluster_rows;
  const int column = cluster_tile / row_clusters * args.cluster_columns + rank / args.cluster_rows;
  return {column / args.column_tiles, column % args.column_tiles, row};
}

struct Corner {
  int x, y, image;
};
// The first pixel of a tile.
__device__ inline Corner corner_of(const KernelArgs& args, int row_tile) {
  const int x = row_tile % args.tiles_x, rest = row_tile / args.tiles_x;
  return {x << args.box.log_width, rest % args.tiles_y << args.box.log_height,
          rest / args.tiles_y << args.box.log_images};
}

// A block's place in its cluster, and its part of a tile's steps.
struct Role {
  int rank;                  // among the cluster's tiles
  int begin, end;            // steps
  uint32_t self;             // among the cluster's blocks
  int tiles, first, stride;  // of cluster tiles: how many, the first one of this block's, and from one to the next
};
__device__ inline Role role_of(const KernelArgs& args, int cluster_tiles) {
  const int block = static_cast<int>(block_in_cluster()), steps = args.kernel * args.kernel * args.chunks;
  const int cluster = args.cluster_rows * args.cluster_columns * args.splits;
  const bool splits = args.splits > 1;
  return {splits ? 0 : block,
          splits ? steps * block / args.splits : 0,
          splits ? steps * (block + 1) / args.splits : steps,
          static_cast<uint32_t>(block),
          cluster_tiles,
          static_cast<int>(blockIdx.x) / cluster,
          static_cast<int>(gridDim.x) / cluster};
}

// The producer: one thread that keeps the stages full. Every block of a cluster loads a part of what it shares with the
// blocks of its row and of its column, and sends it to all of them.
template <int kColumns>
struct Loader {
  static constexpr int kStages = Stages<kColumns>::kCount;

  __device__ Loader(const KernelArgs& kernel_args, const Role& block_role, const CUtensorMap* pixels,
                    const CUtensorMap* weights, uint32_t first_stage, uint32_t full_barriers, uint32_t empty_barriers)
      : args(kernel_args),
        role(block_role),
        x(pixels),
        w(weights),
        stages(first_stage),
        full(full_barriers),
        empty(empty_barriers) {
    const int row_in_cluster = role.rank % args.cluster_rows, column_in_cluster = role.rank / args.cluster_rows;
    for (int c = 0; c < args.cluster_columns; ++c)
      same_row |= static_cast<uint16_t>(1u << (c * args.cluster_rows + row_in_cluster));
    for (int r = 0; r < args.cluster_rows; ++r)
      same_column |= static_cast<uint16_t>(1u << (column_in_cluster * args.cluster_rows + r));
    part = kTileRows / args.cluster_columns * column_in_cluster;
    w_part = kColumns / args.cluster_rows * row_in_cluster;
  }

  // Weights do not depend on the kernel before this one: those of the first stages are on their way while it ends.
  __device__ void load_early(const Tile& tile) {
    for (; early < kStages && role.begin + early < role.end; ++early) {
      const int step = role.begin + early;
      arrive_expecting(full + early * 8, Stages<kColumns>::kBytes);
      copy_box(w, stages + early * Stages<kColumns>::kBytes + (kTileRows + w_part) * kRowBytes, full + early * 8,
               step % args.chunks * kTileDepth, step / args.chunks, tile.column * kColumns + w_part, tile.phase,
               same_column, args.cluster_rows > 1);
    }
  }

  __device__ void load(const Tile& tile) {
    const Corner corner = corner_of(args, tile.row);
    // This block's part of the pixels: the box of the map, which is the tile's divided among the cluster's columns.
    const int part_x = part & ((1 << args.box.log_width) - 1);
    const int part_y = part >> args.box.log_width & ((1 << args.box.log_height) - 1);
    const int image = corner.image + (part >> (args.box.log_width + args.box.log_height));
    const int first_x = (corner.x + part_x) * args.stride - args.pad_before + (tile.phase & 1);
    const int first_y = (corner.y + part_y) * args.stride - args.pad_before + (tile.phase >> 1);
    const int column_begin = tile.column * kColumns + w_part, kernel = args.kernel, chunks = args.chunks;
    const bool shares_pixels = args.cluster_columns > 1, shares_weights = args.cluster_rows > 1;
    // One thread has to keep the tensor cores supplied: no division in the loop.
    int tap = role.begin / chunks, chunk = role.begin % chunks, tap_x = tap % kernel, tap_y = tap / kernel;
    for (int step = role.begin; step < role.end; ++step) {
      const uint32_t full_barrier = full + stage * 8, at = stages + stage * Stages<kColumns>::kBytes;
      wait(empty + stage * 8, parity);
      if (early > 0) {
        --early;
      } else {
        arrive_expecting(full_barrier, Stages<kColumns>::kBytes);
        copy_box(w, at + (kTileRows + w_part) * kRowBytes, full_barrier, chunk * kTileDepth, tap, column_begin,
                 tile.phase, same_column, shares_weights);
      }
      copy_box(x, at + part * kRowBytes, full_barrier, chunk * kTileDepth, first_x + tap_x, first_y + tap_y, image,
               same_row, shares_pixels);
      if (++chunk == chunks) {
        chunk = 0;
        ++tap;
        if (++tap_x == kernel) {
          tap_x = 0;
          ++tap_y;
        }
      }
      if (++stage == kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }

  const KernelArgs& args;
  const Role& role;
  const CUtensorMap *x, *w;
  uint32_t stages, full, empty;
  uint16_t same_row = 0, same_column = 0;
  int part, w_part;
  int early = 0, stage = 0;
  uint32_t parity = 1;  // of an empty stage: those at the start are
};

// Two or four neighboring numbers of a 2-byte type. Loads are of memory that nothing writes while the kernel runs: they
// need not wait for the stores before them; and they begin where they stand, long before their use.
struct Four {
  uint2 bits = {0, 0};
};
template <typename T>
__device__ inline uint32_t load_two(const void* from, int64_t at) {
  uint32_t two;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(two) : "l"(static_cast<const T*>(from) + at));
  return two;
}
template <typename T>
__device__ inline Four load_four(const void* from, int64_t at) {
  Four four;
  asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];"
               : "=r"(four.bits.x), "=r"(four.bits.y)
               : "l"(static_cast<const T*>(from) + at));
  return four;
}
template <typename T>
__device__ inline float number(uint32_t bits, int i) {
  const auto half = static_cast<unsigned short>(i == 0 ? bits & 0xffff : bits >> 16);
  if constexpr (std::is_same_v<T, __half>)
    return __half2float(__ushort_as_half(half));
  else
    return __bfloat162float(__ushort_as_bfloat16(half));
}
template <typename T>
__device__ inline void add(const Four& numbers, float (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] += number<T>(i < 2 ? numbers.bits.x : numbers.bits.y, i % 2);
}
template <typename T>
struct alignas(8) Quad {
  T values[4];
};
template <typename T>
__device__ inline void store_four(void* to, int64_t at, const float (&values)[4]) {
  Quad<T> quad;
#pragma unroll
  for (int i = 0; i < 4; ++i) quad.values[i] = from_float<T>(values[i]);
  *reinterpret_cast<Quad<T>*>(static_cast<T*>(to) + at) = quad;
}

// Of two blocks of eight neighboring channels that four threads hold two by two: four neighboring ones for each, the
// first block's for even threads and the second's for odd ones.
__device__ inline void exchange(float a0, float a1, float b0, float b1, bool odd, float (&to)[4]) {
  const float given0 = odd ? a0 : b0, given1 = odd ? a1 : b1;
  const float got0 = __shfl_xor_sync(0xffffffffu, given0, 1), got1 = __shfl_xor_sync(0xffffffffu, given1, 1);
  to[0] = odd ? got0 : a0;
  to[1] = odd ? got1 : a1;
  to[2] = odd ? b0 : got0;
  to[3] = odd ? b1 : got1;
}

// A row of a tile, where it goes.
struct Place {
  bool inside;
  int64_t at, at_image_bias;  // elements before its first channel
};
__device__ inline Place place_of(const KernelArgs& args, const Tile& tile, const Corner& corner, int row) {
  int x = corner.x + (row & ((1 << args.box.log_width) - 1));
  int y = corner.y + (row >> args.box.log_width & ((1 << args.box.log_height) - 1));
  const int image = corner.image + (row >> (args.box.log_width + args.box.log_height));
  const bool inside = x < args.out_width && y < args.out_height && image < args.images;
  int width = args.out_width, height = args.out_height;
  if (args.phases > 1) {
    x = 2 * x + (tile.phase & 1);
    y = 2 * y + (tile.phase >> 1);
    width *= 2;
    height *= 2;
  }
  const int pixel = inside ? (image * height + y) * width + x : 0;
  const int of_image = args.image_bias == nullptr ? 0 : pixel / args.rows_per_image;
  return {inside, static_cast<int64_t>(pixel) * args.result_channels,
          static_cast<int64_t>(of_image) * args.result_channels};
}

// Where a thread's part of a tile's 64 rows is: of eight neighboring channels each, two in one row and two in the row
// eight below; after exchange() four of sixteen.
template <typename T, int kColumns>
struct Part {
  static constexpr int kPairs = kColumns / 16;

  __device__ Part(const KernelArgs& kernel_args, const Tile& tile, int tile_row) : args(kernel_args) {
    const int thread = threadIdx.x % kWarpgroup, lane = thread % 32;
    quarter = lane % 4;
    odd = quarter % 2 != 0;
    first_column = tile.column * kColumns;
    const Corner corner = corner_of(args, tile.row);
    const int row = tile_row + thread / 32 * 16 + lane / 4;
    places[0] = place_of(args, tile, corner, row);
    places[1] = place_of(args, tile, corner, row + 8);
  }
  __device__ int channel(int pair) const { return first_column + pair * 16 + (odd ? 8 : 0) + quarter / 2 * 4; }
  __device__ bool has(int pair) const { return channel(pair) < args.result_channels; }

  // The channel of the first of two that a thread holds of eight.
  __device__ int column(int eight) const { return first_column + eight * 8 + quarter * 2; }

  __device__ void load_bias(uint32_t (&to)[kColumns / 8]) const {
#pragma unroll
    for (int eight = 0; eight < kColumns / 8; ++eight) {
      to[eight] = 0;
      if (args.bias != nullptr && column(eight) < args.channels) to[eight] = load_two<T>(args.bias, column(eight));
    }
  }
  __device__ void load_residual(Four (&to)[kPairs][2]) const {
    if (args.residual == nullptr) return;
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (has(pair) && places[half].inside)
          to[pair][half] = load_four<T>(args.residual, places[half].at + channel(pair));
    }
  }

  const KernelArgs& args;
  int quarter, first_column;
  bool odd;
  Place places[2];
};

// What a tile's sums start from.
template <typename T, int kColumns, End kEnd>
__device__ void begin_sums(const KernelArgs& args, const Part<T, kColumns>& part, const uint32_t (&bias)[kColumns / 8],
                           float (&sums)[kColumns / 2]) {
  constexpr int kEights = kColumns / 8;
#pragma unroll
  for (int j = 0; j < kEights; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[4 * j + i] = number<T>(bias[j], i % 2);
  }
  if (kEnd == End::shared) return;
  const auto add_rows = [&](const void* from, int half, auto&& at) {
#pragma unroll
    for (int j = 0; j < kEights; ++j) {
      if (part.column(j) >= args.channels) continue;
      const uint32_t two = load_two<T>(from, at(j));
#pragma unroll
      for (int i = 0; i < 2; ++i) sums[4 * j + 2 * half + i] += number<T>(two, i);
    }
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const Place& place = part.places[half];
    if (!place.inside) continue;
    if (kEnd == End::plain && args.image_bias != nullptr)
      add_rows(args.image_bias, half, [&](int j) { return place.at_image_bias + part.column(j); });
    if (args.addend == nullptr) continue;
    if constexpr (kEnd == End::plain) {
      add_rows(args.addend, half, [&](int j) { return place.at + part.column(j); });
    } else {
      // It has all h, then all g.
      const int first = part.first_column / 2 + part.quarter * 2;
      add_rows(args.addend, half,
               [&](int j) { return 2 * place.at + first + j / 2 * 8 + (j % 2) * args.result_channels; });
    }
  }
}

// The end of a tile: sums, activation, residual.
template <typename T, int kColumns>
__device__ void finish_plain(const KernelArgs& args, const Part<T, kColumns>& part, const float (&sums)[kColumns / 2],
                             const Four (&residual)[kColumns / 16][2]) {
#pragma unroll
  for (int pair = 0; pair < kColumns / 16; ++pair) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int j = 8 * pair + 2 * half;
      float values[4];
      exchange(sums[j], sums[j + 1], sums[j + 4], sums[j + 5], part.odd, values);
      if (args.slope != 1.0f) {
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] = values[i] >= 0.0f ? values[i] : args.slope * values[i];
      }
      if (args.residual != nullptr) add<T>(residual[pair][half], values);
      if (part.places[half].inside && part.has(pair))
        store_four<T>(args.result, part.places[half].at + part.channel(pair), values);
    }
  }
}

// Everything that may follow a pair's sums, of two rows.
template <typename T, int kColumns>
struct Extras {
  __device__ void load(const KernelArgs& args, const Part<T, kColumns>& part, int pair) {
    if (pair >= kColumns / 16 || !part.has(pair)) return;
    const int channel = part.channel(pair);
    if (args.bias != nullptr) bias = load_four<T>(args.bias, channel);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Place& place = part.places[half];
      if (!place.inside) continue;
      if (args.image_bias != nullptr) image_bias[half] = load_four<T>(args.image_bias, place.at_image_bias + channel);
      if (args.addend != nullptr) addend[half] = load_four<T>(args.addend, place.at + channel);
      if (args.residual != nullptr) residual[half] = load_four<T>(args.residual, place.at + channel);
    }
  }
  // sums: [rows][blocks of eight][two channels]
  __device__ void finish(const KernelArgs& args, const Part<T, kColumns>& part, int pair,
                         const float (&sums)[2][2][2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float values[4];
      exchange(sums[half][0][0], sums[half][0][1], sums[half][1][0], sums[half][1][1], part.odd, values);
      add<T>(bias, values);
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] *= args.scale;
      add<T>(addend[half], values);
      add<T>(image_bias[half], values);
      if (args.activation != Activation::none) {
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] = activated(values[i], args.activation);
      }
      add<T>(residual[half], values);
      if (part.has(pair) && part.places[half].inside)
        store_four<T>(args.result, part.places[half].at + part.channel(pair), values);
    }
  }

  Four bias, image_bias[2], addend[2], residual[2];
};

// The end of a tile whose steps the cluster's blocks may share: each writes its sums to its shared memory, and then
// adds up, in the order of the blocks, and finishes every so many pairs.
template <typename T, int kColumns>
__device__ void finish_shared(const KernelArgs& args, const Part<T, kColumns>& part, const Role& role,
                              const float (&sums)[kColumns / 2], uint32_t memory) {
  constexpr int kThreads = kConsumers * kWarpgroup;
  const auto address = [&](int pair, int quad) {
    return memory + ((pair * 2 + quad) * kThreads + static_cast<int>(threadIdx.x)) * 16;
  };
  // The other half may still multiply what is there.
  wait_at(kConsumerBarrier, kThreads);
#pragma unroll
  for (int pair = 0; pair < kColumns / 16; ++pair) {
#pragma unroll
    for (int quad = 0; quad < 2; ++quad) store_shared(address(pair, quad), &sums[8 * pair + 4 * quad]);
  }
  // What follows is fetched a pair ahead.
  Extras<T, kColumns> next{};
  next.load(args, part, static_cast<int>(role.self));
  exchange_in_cluster();
#pragma unroll 1
  for (int pair = static_cast<int>(role.self); pair < kColumns / 16; pair += args.splits) {
    const Extras<T, kColumns> extras = next;
    next.load(args, part, pair + args.splits);
    float total[8] = {};
#pragma unroll 2
    for (int block = 0; block < args.splits; ++block) {
#pragma unroll
      for (int quad = 0; quad < 2; ++quad)
        add_shared(address(pair, quad), static_cast<uint32_t>(block), &total[4 * quad]);
    }
    extras.finish(args, part, pair,
                  {{{total[0], total[1]}, {total[4], total[5]}}, {{total[2], total[3]}, {total[6], total[7]}}});
  }
  // Nothing may be loaded there before all have read it.
  exchange_in_cluster();
}

// gelu(x) to within 2e-7, in half the instructions of erff(): what half a precision's rounding hides, and the end of a
// tile of GEGLU is made of. With q = erfc(|x| / sqrt(2)) / 2, gelu(x) = max(x, 0) - |x| q.
// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
__device__ inline float gelu_of_half(float x) {
  constexpr float kRootHalf = 0.70710678118654752f, kLog2E = 1.4426950408889634f;
  constexpr float kHalves[] = {0.5f * 0.254829592f, 0.5f * -0.284496736f, 0.5f * 1.421413741f, 0.5f * -1.453152027f,
                               0.5f * 1.061405429f};
  const float size = fabsf(x);
  float t, power;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(fmaf(0.3275911f * kRootHalf, size, 1.0f)));
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * (-0.5f * kLog2E) * x));
  float q = kHalves[4];
#pragma unroll
  for (int i = 3; i >= 0; --i) q = fmaf(q, t, kHalves[i]);
  return fmaf(-size * power, q * t, fmaxf(x, 0.0f));
}

// The end of a tile of h * gelu(g): of two blocks of eight columns, the first is h and the second g of eight results.
template <typename T, int kColumns>
__device__ void finish_geglu(const KernelArgs& args, const Part<T, kColumns>& part, const float (&sums)[kColumns / 2]) {
#pragma unroll
  for (int first = 0; first + 1 < kColumns / 16; first += 2) {
    const int channel = part.first_column / 2 + first * 8 + (part.odd ? 8 : 0) + part.quarter / 2 * 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float products[2][2];
#pragma unroll
      for (int p = 0; p < 2; ++p) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int h = 8 * (first + p) + 2 * half + i;
          products[p][i] = sums[h] * gelu_of_half(sums[h + 4]);
        }
      }
      float values[4];
      exchange(products[0][0], products[0][1], products[1][0], products[1][1], part.odd, values);
      if (part.places[half].inside && channel < args.result_channels)
        store_four<T>(args.result, part.places[half].at + channel, values);
    }
  }
}

// How a block's warpgroups share its tiles.
enum class Work {
  together,  // each warpgroup 64 rows of every tile
  in_turn,   // each all rows of every second tile: one's end is hidden by the other's products
};

// To whom a warpgroup reports a stage that has been read: to every block that loads into it, those of the same row and
// column; a thread each.
struct Reports {
  __device__ Reports(const KernelArgs& args, const Role& role) {
    const int thread = threadIdx.x % kWarpgroup;
    const int row = role.rank % args.cluster_rows, column = role.rank / args.cluster_rows;
    any = thread < args.cluster_rows + args.cluster_columns - 1;
    if (args.splits > 1) {
      to = static_cast<int>(role.self);
    } else if (thread < args.cluster_columns) {
      to = thread * args.cluster_rows + row;
    } else {
      const int other = thread - args.cluster_columns;
      to = column * args.cluster_rows + other + (other >= row ? 1 : 0);
    }
  }
  __device__ void send(uint32_t empty_barrier) const {
    if (any) arrive_at(empty_barrier, to);
  }
  bool any;
  int to;
};

// The consumers: warpgroups that multiply.
template <typename T, int kColumns, End kEnd, Work kWork>
__device__ void multiply_tiles(const KernelArgs& args, const Role& role, uint32_t stages, uint32_t full, uint32_t empty,
                               int warpgroup) {
  constexpr int kStages = Stages<kColumns>::kCount;
  constexpr bool kInTurn = kWork == Work::in_turn;
  constexpr int kHalves = kInTurn ? 2 : 1;  // of a tile's rows, that this warpgroup multiplies
  const int first_row = kInTurn ? 0 : warpgroup * 64, steps = role.end - role.begin;
  const Reports reports(args, role);
  const Turns turns{kTurnBarrier, warpgroup, kConsumers};
  if (kInTurn) turns.begin();

  for (int number = kInTurn ? warpgroup : 0;; number += kInTurn ? 2 : 1) {
    const int cluster_tile = role.first + number * role.stride;
    if (cluster_tile >= role.tiles) break;
    const Tile tile = tile_of(args, cluster_tile, role.rank);
    float sums[kHalves][kColumns / 2];
    Four residual[kColumns / 16][2];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const Part<T, kColumns> part(args, tile, first_row + half * 64);
      uint32_t bias[kColumns / 8] = {};
      if constexpr (kEnd != End::shared) part.load_bias(bias);
      wait_for_previous_kernel();
      // The residual is on its way while products are made, where there are registers for it.
      if constexpr (kEnd == End::plain && !kInTurn) part.load_residual(residual);
      begin_sums<T, kColumns, kEnd>(args, part, bias, sums[half]);
      pin(sums[half]);
    }
    int stage = number * steps % kStages, last_stage = 0;
    uint32_t parity = number * steps / kStages & 1;
    const auto multiply = [&] {
      wait(full + stage * 8, parity);
      const uint32_t pixels = stages + stage * Stages<kColumns>::kBytes;
      const uint64_t a = matrix_descriptor(pixels + first_row * kRowBytes);
      const uint64_t b = matrix_descriptor(pixels + kTileRows * kRowBytes);
      fence_products();
#pragma unroll
      for (int k = 0; k < kTileDepth / kDepthOfProduct; ++k) {
#pragma unroll
        for (int half = 0; half < kHalves; ++half)
          WarpgroupProduct<T, kColumns>::run(sums[half], a + half * (64 * kRowBytes / 16) + k * 2, b + k * 2);
      }
      commit_products();
    };
    const auto advance = [&] {
      last_stage = stage;
      if (++stage == kStages) {
        stage = 0;
        parity ^= 1;
      }
    };
    if (kInTurn) turns.take();
    // The first step stands alone: where what the sums start from and what products make of them meet in a loop, the
    // compiler has each product wait for the one before.
    multiply();
    advance();
    for (int step = 1; step < steps; ++step) {
      multiply();
      wait_for_products<1>();
      reports.send(empty + last_stage * 8);
      advance();
    }
    if (kInTurn) turns.pass();
    wait_for_products<0>();
#pragma unroll
    for (int half = 0; half < kHalves; ++half) pin(sums[half]);
    reports.send(empty + last_stage * 8);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const Part<T, kColumns> part(args, tile, first_row + half * 64);
      if constexpr (kEnd == End::plain && kInTurn) part.load_residual(residual);
      if constexpr (kEnd == End::shared)
        finish_shared<T, kColumns>(args, part, role, sums[half], stages);
      else if constexpr (kEnd == End::geglu)
        finish_geglu<T, kColumns>(args, part, sums[half]);
      else
        finish_plain<T, kColumns>(args, part, sums[half], residual);
    }
  }
}

template <typename T, int kColumns, End kEnd, Work kWork>
__global__ void __launch_bounds__(kBlockThreads, 1)
    product_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                   const __grid_constant__ KernelArgs args, int cluster_tiles) {
  extern __shared__ uint8_t shared[];
  constexpr int kStages = Stages<kColumns>::kCount;
  const uint32_t begin = shared_address(shared), stages = (begin + kAlignment - 1) / kAlignment * kAlignment;
  const uint32_t full = stages + kStages * Stages<kColumns>::kBytes, empty = full + kStages * 8;
  if (threadIdx.x == 0) {
    prefetch_map(&x);
    prefetch_map(&w);
    const int readers = kWork == Work::in_turn ? 1 : kConsumers;
    for (int i = 0; i < kStages; ++i) {
      init_barrier(full + i * 8, 1);
      init_barrier(empty + i * 8, static_cast<uint32_t>(readers * (args.cluster_rows + args.cluster_columns - 1)));
    }
    fence_barrier_init();
  }
  synchronize_cluster();
  let_next_kernel_start();

  const Role role = role_of(args, cluster_tiles);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == kConsumers) {
    give_registers<40>();
    const bool loads = threadIdx.x % kWarpgroup == 0;
    Loader<kColumns> loader(args, role, &x, &w, stages, full, empty);
    if (loads && role.first < role.tiles) loader.load_early(tile_of(args, role.first, role.rank));
    wait_for_previous_kernel();
    for (int cluster_tile = role.first; cluster_tile < role.tiles; cluster_tile += role.stride) {
      if (loads) loader.load(tile_of(args, cluster_tile, role.rank));
      __syncwarp();
      if constexpr (kEnd == End::shared) {
        exchange_in_cluster();  // the sums are written
        exchange_in_cluster();  // and read
        fence_shared();
      }
    }
  } else {
    take_registers<232>();
    multiply_tiles<T, kColumns, kEnd, kWork>(args, role, stages, full, empty, warpgroup);
  }
  // Others may still send to this block, or report to it.
  __syncwarp();
  synchronize_cluster();
}

inline int log2_up(int64_t value) {
  int result = 0;
  while ((int64_t{1} << result) < value) ++result;
  return result;
}

constexpr int64_t divided_up(int64_t value, int64_t by) {
  return (value + by - 1) / by;
}

inline int64_t row_tiles(const HopperProduct& p, const Box& box, int64_t width, int64_t height) {
  return divided_up(width, int64_t{1} << box.log_width) * divided_up(height, int64_t{1} << box.log_height) *
         divided_up(p.images, int64_t{1} << box.log_images);
}

// The box of 128 pixels that wastes least; of equal ones the widest.
inline Box choose_box(const HopperProduct& p, int64_t width, int64_t height) {
  constexpr int kLog = 7;
  Box best;
  int64_t least = -1;
  for (int w = std::min(kLog, log2_up(width)); w >= 0; --w) {
    const int h = std::min(kLog - w, log2_up(height));
    const Box box{w, h, kLog - w - h};
    const int64_t tiles = row_tiles(p, box, width, height);
    if (least >= 0 && tiles >= least) continue;
    least = tiles;
    best = box;
  }
  return best;
}

// The box without its outermost dimensions' parts: a cluster's share of it.
inline std::array<int, 3> share_of_box(const Box& box, int shares) {
  std::array<int, 3> sides = {1 << box.log_width, 1 << box.log_height, 1 << box.log_images};
  for (size_t i = 3; i-- > 0;)
    while (shares > 1 && sides[i] > 1) {
      sides[i] /= 2;
      shares /= 2;
    }
  return sides;
}

inline End end_of(const HopperProduct& p, int splits) {
  const bool is_plain = p.scale == 1.0f && (p.activation == Activation::none || p.activation == Activation::relu ||
                                            p.activation == Activation::leaky_relu);
  return p.geglu ? End::geglu : is_plain && splits == 1 ? End::plain : End::shared;
}

template <typename T, int kColumns, End kEnd, Work kWork>
void launch(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  KernelArgs args{};
  const int phases = p.enlarged ? 4 : 1;
  const int64_t width = p.enlarged ? p.width : p.out_width, height = p.enlarged ? p.height : p.out_height;
  args.box = choose_box(p, width, height);
  args.tiles_x = static_cast<int>(divided_up(width, int64_t{1} << args.box.log_width));
  args.tiles_y = static_cast<int>(divided_up(height, int64_t{1} << args.box.log_height));
  args.row_tiles =
      static_cast<int>(divided_up(row_tiles(p, args.box, width, height), tiling.cluster_rows)) * tiling.cluster_rows;
  args.column_tiles = static_cast<int>(divided_up(divided_up(p.out_channels, kColumns), tiling.cluster_columns)) *
                      tiling.cluster_columns;
  args.phases = phases;
  args.cluster_rows = tiling.cluster_rows;
  args.cluster_columns = tiling.cluster_columns;
  args.splits = tiling.splits;
  args.kernel = p.kernel;
  args.stride = p.stride;
  args.pad_before = p.pad_before;
  args.chunks = static_cast<int>(divided_up(p.in_channels, kTileDepth));
  args.images = static_cast<int>(p.images);
  args.out_height = static_cast<int>(height);
  args.out_width = static_cast<int>(width);
  args.channels = static_cast<int>(p.out_channels);
  args.result_channels = static_cast<int>(p.geglu ? p.out_channels / 2 : p.out_channels);
  args.rows_per_image = static_cast<int>(std::max<int64_t>(1, p.rows_per_image));
  args.scale = p.scale;
  args.activation = p.activation;
  args.slope = p.activation == Activation::relu ? 0.0f : p.activation == Activation::leaky_relu ? kLeakySlope : 1.0f;
  args.bias = p.bias;
  args.addend = p.addend;
  args.image_bias = p.image_bias;
  args.residual = p.residual;
  args.result = p.result;

  const std::array<int, 3> share = share_of_box(args.box, tiling.cluster_columns);
  const CUtensorMap x = tensor_map(p.dtype, p.x, {p.in_channels, p.width, p.height, p.images},
                                   {p.x_stride, p.width * p.x_stride, p.height * p.width * p.x_stride},
                                   {kTileDepth, share[0], share[1], share[2]}, p.stride);
  const int64_t taps = p.kernel * p.kernel;
  const CUtensorMap w = tensor_map(p.dtype, p.w, {p.in_channels, taps, p.out_channels, phases},
                                   {p.in_channels, taps * p.in_channels, p.out_channels * taps * p.in_channels},
                                   {kTileDepth, 1, kColumns / tiling.cluster_rows, 1}, 1);

  const int tiles_of_cluster = tiling.cluster_rows * tiling.cluster_columns, cluster = tiles_of_cluster * tiling.splits;
  const int cluster_tiles = args.row_tiles * args.column_tiles * phases / tiles_of_cluster;
  const auto kernel = product_kernel<T, kColumns, kEnd, kWork>;
  static DevicesSeen prepared;
  allow_shared(kernel, Stages<kColumns>::kShared, prepared);
  const dim3 blocks(static_cast<unsigned>(std::min(cluster_tiles, multiprocessors / cluster) * cluster));
  launch(kernel, {blocks, kBlockThreads, Stages<kColumns>::kShared, stream, cluster, p.ahead}, "launching a product", x,
         w, args, cluster_tiles);
}

// Whether the kernel exists in which warpgroups take turns: two hundred registers are its sums.
constexpr bool takes_turns(int columns, End end) {
  return (columns == 128 || columns == 160) && end != End::shared;
}

template <typename T, int kColumns, End kEnd>
void launch(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  if constexpr (takes_turns(kColumns, kEnd)) {
    if (tiling.in_turn) return launch<T, kColumns, kEnd, Work::in_turn>(p, tiling, multiprocessors, stream);
  }
  launch<T, kColumns, kEnd, Work::together>(p, tiling, multiprocessors, stream);
}

template <typename T, int kColumns>
void launch(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  switch (end_of(p, tiling.splits)) {
    case End::plain:
      return launch<T, kColumns, End::plain>(p, tiling, multiprocessors, stream);
    case End::geglu:
      if constexpr (kColumns % 32 == 0) return launch<T, kColumns, End::geglu>(p, tiling, multiprocessors, stream);
      return check(cudaErrorInvalidValue, "choosing a product's columns");
    case End::shared:
      return launch<T, kColumns, End::shared>(p, tiling, multiprocessors, stream);
  }
}

template <typename T>
void multiply(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  switch (tiling.columns) {
    case 80:
      return launch<T, 80>(p, tiling, multiprocessors, stream);
    case 128:
      return launch<T, 128>(p, tiling, multiprocessors, stream);
    case 160:
      return launch<T, 160>(p, tiling, multiprocessors, stream);
    case 256:
      return launch<T, 256>(p, tiling, multiprocessors, stream);
    default:
      check(cudaErrorInvalidValue, "choosing a product's columns");
  }
}

}  // namespace dreamlab::cuda::hopper
