#include "device/cuda/hopper_product.cuh"
#include "device/cuda/hopper_product.h"

namespace dreamlab::cuda {
namespace {

// What a tile takes, in microseconds: a step of 64 channels, and what follows the last one. Measured on an H100; only
// the ratios matter here.
struct TileCost {
  int columns;
  double step, finish;
};
constexpr TileCost kTileCosts[] = {{80, 0.30, 3.0}, {128, 0.33, 3.2}, {160, 0.41, 3.5}, {256, 0.60, 5.0}};
constexpr double kSharing = 6.0;  // what a tile's blocks take to add up their sums
constexpr double kAlone = 1.3;    // their steps, whose loads nobody shares
// Numbers of splits, and the share of the multiprocessors that clusters of so many blocks find room on.
struct Split {
  int blocks;
  double room;
};
constexpr Split kSplits[] = {{1, 1.0}, {2, 1.0}, {4, 0.92}, {8, 0.85}};

// Tiles from the first pixel to the last; of an enlarged picture those of one kind of results.
int64_t row_tiles(const HopperProduct& p) {
  const int64_t width = p.enlarged ? p.width : p.out_width, height = p.enlarged ? p.height : p.out_height;
  return hopper::row_tiles(p, hopper::choose_box(p, width, height), width, height);
}

// The best tile for some number of splits (0: any), and the time.
struct Choice {
  TileCost tile;
  int splits;
  double time;
};
Choice choose(const HopperProduct& p, int multiprocessors, int only_splits) {
  const int64_t rows = row_tiles(p);
  const int64_t steps = p.kernel * p.kernel * hopper::divided_up(p.in_channels, hopper::kTileDepth);
  Choice best{kTileCosts[0], 1, -1};
  for (const TileCost& tile : kTileCosts) {
    if (p.geglu && tile.columns % 32 != 0) continue;
    const int64_t tiles = rows * hopper::divided_up(p.out_channels, tile.columns) * (p.enlarged ? 4 : 1);
    for (const auto& [splits, room] : kSplits) {
      if (only_splits != 0 && splits != only_splits) continue;
      if (splits > 1 && (p.geglu || steps / splits < 4)) continue;
      const auto waves =
          static_cast<double>(hopper::divided_up(tiles, static_cast<int64_t>(room * multiprocessors) / splits));
      const double own_steps = static_cast<double>(hopper::divided_up(steps, splits)) * tile.step;
      const double time = waves * (splits > 1 ? own_steps * kAlone + tile.finish + kSharing : own_steps + tile.finish);
      if (best.time < 0 || time < best.time) best = {tile, splits, time};
    }
  }
  return best;
}

}  // namespace

bool has_hopper_kernels() {
  return true;
}

bool hopper_supports(const HopperProduct& p) {
  const auto whole = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
  return (p.dtype == DType::f16 || p.dtype == DType::bf16) && p.in_channels % 8 == 0 && p.x_stride % 8 == 0 &&
         p.out_channels % (p.geglu ? 16 : 8) == 0 && whole(p.x) && whole(p.w) && whole(p.bias) && whole(p.addend) &&
         whole(p.image_bias) && whole(p.residual) && whole(p.result);
}

HopperTiling hopper_tiling(const HopperProduct& p, int multiprocessors) {
  // Splits change the order of a sum: one image decides.
  HopperProduct alone = p;
  alone.images = 1;
  if (p.height == 1 && p.kernel == 1 && p.rows_per_image > 0) alone.width = alone.out_width = p.rows_per_image;
  const int splits = choose(alone, multiprocessors, 0).splits;
  const int columns = choose(p, multiprocessors, splits).tile.columns;
  if (hopper::end_of(p, splits) == hopper::End::shared) return {columns, 1, 1, splits};
  // Pairs of blocks share what they load: pixels, or filters where those are most of it.
  const int64_t rows = row_tiles(p), column_tiles = hopper::divided_up(p.out_channels, columns);
  const bool pair_columns = column_tiles % 2 == 0 && rows > 2;
  const bool pair_rows = !pair_columns && rows % 2 == 0;
  // Where a block has more than one tile.
  const bool in_turn = hopper::takes_turns(columns, hopper::end_of(p, splits)) &&
                       rows * column_tiles * (p.enlarged ? 4 : 1) >= 2 * multiprocessors;
  return {columns, pair_rows ? 2 : 1, pair_columns ? 2 : 1, 1, in_turn};
}

void hopper_multiply(const HopperProduct& product, const HopperTiling& tiling, int multiprocessors,
                     cudaStream_t stream) {
  if (product.dtype == DType::bf16)
    hopper::multiply_bf16(product, tiling, multiprocessors, stream);
  else
    hopper::multiply<__half>(product, tiling, multiprocessors, stream);
}

}  // namespace dreamlab::cuda
