#pragma once

// Running a network over overlapping tiles and blending the seams.
#include <cstdint>
#include <functional>
#include <vector>

#include "layer/context.h"

namespace dreamlab {

struct TileGeometry {
  int64_t input_tile = 64;    // side of a tile that goes in
  int64_t output_tile = 512;  // side of the tile that comes out of it
  double overlap = 0.25;      // share of a tile that the next one covers too
};

// Cuts x [N, H, W, C] into tiles, runs `network` on each ([N, h, w, C] to [N, h', w', C'] with the ratio of the
// geometry's sides), blends neighbors linearly over the overlap and joins them: diffusers' AutoencoderKL.tiled_decode.
// The result has the shape `result`; the context says where a cancellation shows.
std::vector<float> run_tiles(const Context& context, const Tensor& x, const Shape& result, const TileGeometry& geometry,
                             const std::function<Tensor(const Tensor&)>& network);

}  // namespace dreamlab
