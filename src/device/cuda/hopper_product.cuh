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
constexpr int kConsumers = 2, kWarpgroup = 128, kBlockThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kDepthOfProduct = 16;
constexpr int kTurnBarrier = 1;  // and the next: of the halves that take turns
constexpr int kSharedLimit = 227 << 10, kAlignment = 1024;

// How a block's shared memory is used: stages of pixels and weights, then two barriers for each.
template <int kColumns>
struct Stages {
  static constexpr int kBytes = (kTileRows + kColumns) * kRowBytes;
  static constexpr int kFitting = (kSharedLimit - kAlignment - 256) / kBytes;
  static constexpr int kCount = kFitting < 8 ? kFitting : 8;
  static constexpr int kShared = kCount * kBytes + kAlignment + 256;
};

// A tile's rows are a box of pixels, 2^log_width by 2^log_height of 2^log_images.
struct Box {
  int log_width = 7, log_height = 0, log_images = 0;
};

struct KernelArgs {
  Box box;
  int tiles_x, tiles_y, row_tiles, column_tiles;  // row_tiles: x * y * images, whole clusters of them
  int phases;                                     // kinds of results: 4 where x is enlarged
  int cluster_rows, cluster_columns;
  int kernel, stride, pad_before, chunks;  // chunks of kTileDepth channels
  int images, out_height, out_width;       // of results; of one kind
  int channels;                            // of w
  int result_channels;
  int rows_per_image;
  float scale;
  Activation activation;
  bool geglu;
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

// The producer: one thread that keeps the stages full. Every block of a cluster loads a part of what it shares with the
// blocks of its row and of its column, and sends it to all of them.
template <int kColumns>
__device__ void load_tiles(const KernelArgs& args, const CUtensorMap* x, const CUtensorMap* w, uint32_t stages,
                           uint32_t full, uint32_t empty, int cluster_tiles) {
  constexpr int kStages = Stages<kColumns>::kCount;
  const int rank = static_cast<int>(block_in_cluster());
  const int row_in_cluster = rank % args.cluster_rows, column_in_cluster = rank / args.cluster_rows;
  uint16_t same_row = 0, same_column = 0;
  for (int c = 0; c < args.cluster_columns; ++c)
    same_row |= static_cast<uint16_t>(1u << (c * args.cluster_rows + row_in_cluster));
  for (int r = 0; r < args.cluster_rows; ++r)
    same_column |= static_cast<uint16_t>(1u << (column_in_cluster * args.cluster_rows + r));

  // This block's part of the pixels: the box of the map, which is the tile's divided among the cluster's columns.
  const int part = kTileRows / args.cluster_columns * column_in_cluster;
  const int part_x = part & ((1 << args.box.log_width) - 1);
  const int part_y = part >> args.box.log_width & ((1 << args.box.log_height) - 1);
  const int part_image = part >> (args.box.log_width + args.box.log_height);
  const int w_part = kColumns / args.cluster_rows * row_in_cluster;
  const int taps = args.kernel * args.kernel;

  // Weights do not depend on the kernel before this one: those of the first stages are on their way while it ends.
  const int steps = taps * args.chunks;
  int early = 0;
  const auto load_weights = [&](int at_stage, int tap, int chunk, const Tile& tile) {
    arrive_expecting(full + at_stage * 8, Stages<kColumns>::kBytes);
    copy_box(w, stages + at_stage * Stages<kColumns>::kBytes + (kTileRows + w_part) * kRowBytes,
                     full + at_stage * 8, chunk * kTileDepth, tap, tile.column * kColumns + w_part, tile.phase,
                     same_column, args.cluster_rows > 1);
  };
  const int first_tile = static_cast<int>(blockIdx.x) / (args.cluster_rows * args.cluster_columns);
  if (first_tile < cluster_tiles)
    for (; early < kStages && early < steps; ++early)
      load_weights(early, early / args.chunks, early % args.chunks, tile_of(args, first_tile, rank));
  wait_for_previous_kernel();

  int stage = 0;
  uint32_t parity = 1;  // of an empty stage: those at the start are
  for (int cluster_tile = first_tile; cluster_tile < cluster_tiles;
       cluster_tile += static_cast<int>(gridDim.x) / (args.cluster_rows * args.cluster_columns)) {
    const Tile tile = tile_of(args, cluster_tile, rank);
    const Corner corner = corner_of(args, tile.row);
    const int pad_y = args.pad_before - (tile.phase >> 1), pad_x = args.pad_before - (tile.phase & 1);
    const int first_x = (corner.x + part_x) * args.stride - pad_x, first_y = (corner.y + part_y) * args.stride - pad_y;
    const int image = corner.image + part_image;
    for (int tap = 0; tap < taps; ++tap) {
      const int tap_y = tap / args.kernel, tap_x = tap % args.kernel;
      for (int chunk = 0; chunk < args.chunks; ++chunk) {
        wait(empty + stage * 8, parity);
        if (early > 0)
          --early;
        else
          load_weights(stage, tap, chunk, tile);
        copy_box(x, stages + stage * Stages<kColumns>::kBytes + part * kRowBytes, full + stage * 8,
                         chunk * kTileDepth, first_x + tap_x, first_y + tap_y, image, same_row,
                         args.cluster_columns > 1);
        if (++stage == kStages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }
}

// Two or four neighboring numbers of a 2-byte type. Loads are of memory that nothing writes while the kernel runs: they
// need not wait for the stores before them; and they begin where they stand, long before their use.
struct Two {
  uint32_t bits = 0;
};
struct Four {
  uint2 bits = {0, 0};
};
template <typename T>
__device__ inline Two load_two(const void* from, int64_t at) {
  Two two;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(two.bits) : "l"(static_cast<const T*>(from) + at));
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
  return {inside, static_cast<int64_t>(pixel) * args.result_channels,
          static_cast<int64_t>(pixel / args.rows_per_image) * args.result_channels};
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
  __device__ bool has(int pair) const { return pair < kPairs && channel(pair) < args.result_channels; }

  template <int kCount>
  __device__ void load_bias(int first, Four (&to)[kCount]) const {
    if (args.bias == nullptr) return;
#pragma unroll
    for (int p = 0; p < kCount; ++p)
      if (has(first + p)) to[p] = load_four<T>(args.bias, channel(first + p));
  }
  template <int kCount>
  __device__ void load_rows(const void* from, int first, Four (&to)[kCount][2], bool of_image = false) const {
    if (from == nullptr) return;
#pragma unroll
    for (int p = 0; p < kCount; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (has(first + p) && places[half].inside)
          to[p][half] = load_four<T>(
              from, (of_image ? places[half].at_image_bias : places[half].at) + channel(first + p));
    }
  }

  const KernelArgs& args;
  int quarter, first_column;
  bool odd;
  Place places[2];
};

// What follows the sums, and the stores. The residual: all of it, loaded before, or none; then it is loaded here, some
// columns ahead.
template <typename T, int kColumns, int kLoaded>
__device__ void finish_tile(const KernelArgs& args, const Part<T, kColumns>& part, const float (&sums)[kColumns / 2],
                            const Four (&bias)[kColumns / 16], const Four (&loaded)[kLoaded][2]) {
  constexpr int kPairs = kColumns / 16, kAhead = 4;
  constexpr bool kHasAll = kLoaded == kPairs;
#pragma unroll
  for (int first = 0; first < kPairs; first += kAhead) {
    Four image_bias[kAhead][2], addend[kAhead][2], residual[kAhead][2];
    part.load_rows(args.image_bias, first, image_bias, true);
    part.load_rows(args.addend, first, addend);
    if constexpr (!kHasAll) part.load_rows(args.residual, first, residual);
#pragma unroll
    for (int p = 0; p < kAhead; ++p) {
      if (first + p >= kPairs) continue;
      const int j = 2 * (first + p);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float values[4];
        exchange(sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1], sums[4 * (j + 1) + 2 * half],
                 sums[4 * (j + 1) + 2 * half + 1], part.odd, values);
        add<T>(bias[first + p], values);
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] *= args.scale;
        if (args.addend != nullptr) add<T>(addend[p][half], values);
        if (args.image_bias != nullptr) add<T>(image_bias[p][half], values);
        if (args.activation != Activation::none) {
#pragma unroll
          for (int i = 0; i < 4; ++i) values[i] = activated(values[i], args.activation);
        }
        if constexpr (kHasAll)
          add<T>(loaded[first + p][half], values);
        else
          add<T>(residual[p][half], values);
        if (part.places[half].inside && part.has(first + p))
          store_four<T>(args.result, part.places[half].at + part.channel(first + p), values);
      }
    }
  }
}

// The same for h * gelu(g): of two blocks of eight columns, the first is h and the second g of eight results. The addend
// has all h, then all g.
template <typename T, int kColumns>
__device__ void finish_geglu_tile(const KernelArgs& args, const Part<T, kColumns>& part,
                                  const float (&sums)[kColumns / 2]) {
  constexpr int kPairs = kColumns / 16;
  const int inner = args.result_channels;
#pragma unroll
  for (int first = 0; first + 1 < kPairs; first += 2) {
    Two bias[2][2], addend[2][2][2];  // of two pairs, h and g; of two rows each
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      const int column = part.first_column + (first + p) * 16 + part.quarter * 2;
      const int channel = part.first_column / 2 + (first + p) * 8 + part.quarter * 2;
#pragma unroll
      for (int which = 0; which < 2; ++which) {
        if (column >= args.channels) continue;
        if (args.bias != nullptr) bias[p][which] = load_two<T>(args.bias, column + which * 8);
        if (args.addend == nullptr) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half)
          if (part.places[half].inside)
            addend[p][which][half] = load_two<T>(args.addend, 2 * part.places[half].at + which * inner + channel);
      }
    }
    const int channel = part.first_column / 2 + first * 8 + (part.odd ? 8 : 0) + part.quarter / 2 * 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float products[2][2];
#pragma unroll
      for (int p = 0; p < 2; ++p) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int j = 2 * (first + p);
          const float h = sums[4 * j + 2 * half + i] + number<T>(bias[p][0].bits, i) + number<T>(addend[p][0][half].bits, i);
          const float g =
              sums[4 * (j + 1) + 2 * half + i] + number<T>(bias[p][1].bits, i) + number<T>(addend[p][1][half].bits, i);
          products[p][i] = h * activated(g, Activation::gelu);
        }
      }
      float values[4];
      exchange(products[0][0], products[0][1], products[1][0], products[1][1], part.odd, values);
      if (part.places[half].inside && channel < inner)
        store_four<T>(args.result, part.places[half].at + channel, values);
    }
  }
}

// The consumers. Either both warpgroups multiply each tile, 64 rows each, or they take turns with whole tiles: then one
// finishes its tile, which is a matter of memory, while the other multiplies.
template <typename T, int kColumns, bool kTurns>
__device__ void multiply_tiles(const KernelArgs& args, uint32_t stages, uint32_t full, uint32_t empty,
                               int cluster_tiles, int warpgroup) {
  constexpr int kStages = Stages<kColumns>::kCount;
  constexpr int kHalves = kTurns ? 2 : 1;  // of 64 rows that one warpgroup multiplies
  const int rank = static_cast<int>(block_in_cluster());
  const int row_in_cluster = rank % args.cluster_rows, column_in_cluster = rank / args.cluster_rows;
  // A stage that has been read is reported to every block that loads into it: those of the same row and column.
  const int thread = threadIdx.x % kWarpgroup;
  const bool reports = thread < args.cluster_rows + args.cluster_columns - 1;
  int reports_to;
  if (thread < args.cluster_columns) {
    reports_to = thread * args.cluster_rows + row_in_cluster;
  } else {
    const int other = thread - args.cluster_columns;
    reports_to = column_in_cluster * args.cluster_rows + other + (other >= row_in_cluster ? 1 : 0);
  }
  const int steps = args.kernel * args.kernel * args.chunks;
  const int first_half = kTurns ? 0 : warpgroup;

  int stage = 0;
  uint32_t parity = 0;
  const auto skip = [&](int count) {
    stage += count;
    parity ^= stage / kStages & 1;
    stage %= kStages;
  };
  const int cluster = args.cluster_rows * args.cluster_columns, stride = static_cast<int>(gridDim.x) / cluster;
  const int first_tile = static_cast<int>(blockIdx.x) / cluster;
  bool mine = !kTurns || warpgroup == 0;
  for (int cluster_tile = first_tile; cluster_tile < cluster_tiles; cluster_tile += stride) {
    if constexpr (kTurns) {
      const bool now = mine;
      mine = !mine;
      if (!now) {
        skip(steps);
        continue;
      }
      // Not before the other half has seen its last stage: a stage's parity tells a phase from the one before it, not
      // from earlier ones.
      if (cluster_tile != first_tile) wait_at(kTurnBarrier + warpgroup, kConsumers * kWarpgroup);
    }
    const Tile tile = tile_of(args, cluster_tile, rank);
    // What the end needs is fetched now, as far as there are registers for it: it arrives while products are under way.
    constexpr int kEarly = !kTurns && kColumns <= 160 ? kColumns / 16 : 1;
    Four bias[kColumns / 16], residual[kEarly][2];
    if (!args.geglu) {
      const Part<T, kColumns> part(args, tile, first_half * 64);
      part.load_bias(0, bias);
      if constexpr (kEarly > 1) part.load_rows(args.residual, 0, residual);
    }
    float sums[kHalves][kColumns / 2];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) pin(sums[half]);
    int last_stage = 0;
    for (int step = 0; step < steps; ++step) {
      wait(full + stage * 8, parity);
      const uint32_t pixels = stages + stage * Stages<kColumns>::kBytes;
      const uint64_t b = matrix_descriptor(pixels + kTileRows * kRowBytes);
      fence_products();
#pragma unroll
      for (int k = 0; k < kTileDepth / kDepthOfProduct; ++k) {
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
          const uint64_t a = matrix_descriptor(pixels + (first_half + half) * 64 * kRowBytes);
          WarpgroupProduct<T, kColumns>::run(sums[half], a + k * 2, b + k * 2, step > 0 || k > 0);
        }
      }
      commit_products();
      if (step > 0) {
        wait_for_products<1>();
        if (reports) arrive_at(empty + last_stage * 8, reports_to);
      }
      last_stage = stage;
      if (++stage == kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
    if constexpr (kTurns)
      if (cluster_tile + stride < cluster_tiles)
        arrive_at_barrier(kTurnBarrier + 1 - warpgroup, kConsumers * kWarpgroup);
    wait_for_products<0>();
#pragma unroll
    for (int half = 0; half < kHalves; ++half) pin(sums[half]);
    if (reports) arrive_at(empty + last_stage * 8, reports_to);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const Part<T, kColumns> part(args, tile, (first_half + half) * 64);
      if (args.geglu)
        finish_geglu_tile<T, kColumns>(args, part, sums[half]);
      else
        finish_tile<T, kColumns, kEarly>(args, part, sums[half], bias, residual);
    }
  }
}

template <typename T, int kColumns, bool kTurns>
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
    const int readers = kTurns ? 1 : kConsumers;
    for (int i = 0; i < kStages; ++i) {
      init_barrier(full + i * 8, 1);
      init_barrier(empty + i * 8,
                           static_cast<uint32_t>(readers * (args.cluster_rows + args.cluster_columns - 1)));
    }
    fence_barrier_init();
  }
  synchronize_cluster();
  let_next_kernel_start();

  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == kConsumers) {
    give_registers<40>();
    if (threadIdx.x % kWarpgroup == 0) load_tiles<kColumns>(args, &x, &w, stages, full, empty, cluster_tiles);
  } else {
    take_registers<232>();
    wait_for_previous_kernel();
    multiply_tiles<T, kColumns, kTurns>(args, stages, full, empty, cluster_tiles, warpgroup);
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

template <typename T, int kColumns, bool kTurns>
void launch(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  KernelArgs args{};
  const int phases = p.enlarged ? 4 : 1;
  const int64_t width = p.enlarged ? p.width : p.out_width, height = p.enlarged ? p.height : p.out_height;
  args.box = choose_box(p, width, height);
  args.tiles_x = static_cast<int>(divided_up(width, int64_t{1} << args.box.log_width));
  args.tiles_y = static_cast<int>(divided_up(height, int64_t{1} << args.box.log_height));
  args.row_tiles = static_cast<int>(divided_up(row_tiles(p, args.box, width, height), tiling.cluster_rows)) * tiling.cluster_rows;
  args.column_tiles = static_cast<int>(divided_up(divided_up(p.out_channels, kColumns), tiling.cluster_columns)) * tiling.cluster_columns;
  args.phases = phases;
  args.cluster_rows = tiling.cluster_rows;
  args.cluster_columns = tiling.cluster_columns;
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
  args.geglu = p.geglu;
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

  const int cluster = tiling.cluster_rows * tiling.cluster_columns;
  const int cluster_tiles = args.row_tiles * args.column_tiles * phases / cluster;
  const auto kernel = product_kernel<T, kColumns, kTurns>;
  static DevicesSeen prepared;
  allow_shared(kernel, Stages<kColumns>::kShared, prepared);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min(cluster_tiles, multiprocessors / cluster) * cluster));
  config.blockDim = dim3(kBlockThreads);
  config.dynamicSmemBytes = Stages<kColumns>::kShared;
  config.stream = stream;
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = p.ahead ? 1 : 0;
  config.attrs = attributes;
  config.numAttrs = 2;
  check(cudaLaunchKernelEx(&config, kernel, x, w, args, cluster_tiles), "launching a product");
}

template <typename T>
void multiply(const HopperProduct& p, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  switch (tiling.columns + (tiling.turns ? 1 : 0)) {
    case 80: return launch<T, 80, false>(p, tiling, multiprocessors, stream);
    case 128: return launch<T, 128, false>(p, tiling, multiprocessors, stream);
    case 129: return launch<T, 128, true>(p, tiling, multiprocessors, stream);
    case 160: return launch<T, 160, false>(p, tiling, multiprocessors, stream);
    case 161: return launch<T, 160, true>(p, tiling, multiprocessors, stream);
    case 256: return launch<T, 256, false>(p, tiling, multiprocessors, stream);
    default: check(cudaErrorInvalidValue, "choosing a product's columns");
  }
}

}  // namespace dreamlab::cuda::hopper
