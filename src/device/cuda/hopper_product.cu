#include "device/cuda/hopper_product.h"

#include "device/cuda/hopper_product.cuh"

namespace dreamlab::cuda {
namespace {

// What a tile takes, in microseconds: a step of 64 channels, and what follows the last one. Measured on an H100, of which
// only the ratios matter here.
struct TileCost {
  int columns;
  double step, finish;
};
constexpr TileCost kTileCosts[] = {{80, 0.33, 2.0}, {128, 0.34, 3.0}, {160, 0.43, 3.5}, {256, 0.66, 6.0}};

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
  const int64_t width = p.enlarged ? p.width : p.out_width, height = p.enlarged ? p.height : p.out_height;
  const int64_t rows = hopper::row_tiles(p, hopper::choose_box(p, width, height), width, height);
  const int64_t steps = p.kernel * p.kernel * hopper::divided_up(p.in_channels, hopper::kTileDepth);
  HopperTiling best;
  double least = -1;
  for (const TileCost& tile : kTileCosts) {
    if (p.geglu && tile.columns % 32 != 0) continue;
    const int64_t columns = hopper::divided_up(p.out_channels, tile.columns) * (p.enlarged ? 4 : 1);
    for (const bool turns : {false, true}) {
      if (turns && tile.columns != 128 && tile.columns != 160) continue;
      const int64_t waves = hopper::divided_up(rows * columns, multiprocessors);
      const double time = static_cast<double>(waves) * (static_cast<double>(steps) * tile.step) +
                          tile.finish * (turns ? 2.0 : static_cast<double>(waves));
      if (least >= 0 && time >= least) continue;
      least = time;
      // Pairs of blocks share what they load: of the filters where pixels are few.
      const bool few_rows = rows <= 8;
      const bool pair_rows = rows % 2 == 0 && (few_rows || columns % 2 != 0 || p.enlarged);
      const bool pair_columns = !pair_rows && hopper::divided_up(p.out_channels, tile.columns) % 2 == 0;
      best = {tile.columns, pair_rows ? 2 : 1, pair_columns ? 2 : 1, turns};
    }
  }
  return best;
}

void hopper_multiply(const HopperProduct& product, const HopperTiling& tiling, int multiprocessors,
                     cudaStream_t stream) {
  if (product.dtype == DType::bf16)
    hopper::multiply_bf16(product, tiling, multiprocessors, stream);
  else
    hopper::multiply<__half>(product, tiling, multiprocessors, stream);
}

}  // namespace dreamlab::cuda
