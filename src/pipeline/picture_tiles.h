#pragma once

// A picture through a network that enlarges it, tile by tile, so that memory follows the tile and not the picture.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/image.h"

namespace dreamlab {

// Lengths in pixels of the picture that goes in. Neighbors differ where a tile's border comes into what they compute;
// the margin is read and thrown away for that, and what is left of the difference disappears in a linear blend.
struct TileShape {
  int64_t core = 256;    // side of the part that a tile adds to the result, at most; at least twice `blend`
  int64_t margin = 16;   // read beyond the core on every side that is not the picture's edge; a multiple of `multiple`
  int64_t blend = 0;     // width of the strip across a seam where both tiles count, at most twice the margin; even
  int64_t multiple = 1;  // sides of a tile are multiples of it; the picture's last row and column repeat to fill up
  int64_t scale = 2;     // side of the result by side of the picture
};

// pixels [height, width, channels] in 0..1 to [scale * height, scale * width, channels].
using TileFunction = std::function<std::vector<float>(std::span<const float> pixels, int64_t width, int64_t height)>;

// How many tiles such a picture takes.
int64_t count_tiles(int64_t width, int64_t height, const TileShape& shape);

// `enlarge` is called for the tiles from left to right, from the top down. What it throws ends the work.
Image enlarge_in_tiles(const Image& picture, const TileShape& shape, const TileFunction& enlarge);

}  // namespace dreamlab
