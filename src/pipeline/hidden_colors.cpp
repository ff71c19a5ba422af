#include "pipeline/hidden_colors.h"

#include <algorithm>
#include <array>
#include <utility>

namespace dreamlab {
namespace {

bool is_hidden(const uint8_t* pixel) {
  return pixel[3] == 0;
}

bool has_hidden(const Image& picture) {
  if (picture.channels != 4) return false;
  for (size_t i = 3; i < picture.pixels.size(); i += 4)
    if (picture.pixels[i] == 0) return true;
  return false;
}

// Half the size: colors of a cell of four averaged by their alpha; hidden only where all four are.
Image halve(const Image& picture) {
  Image half = Image::blank((picture.width + 1) / 2, (picture.height + 1) / 2, 4);
  for (int64_t y = 0; y < half.height; ++y) {
    for (int64_t x = 0; x < half.width; ++x) {
      std::array<uint32_t, 4> sums{};
      for (int64_t row = 2 * y; row < std::min(2 * y + 2, picture.height); ++row) {
        for (int64_t column = 2 * x; column < std::min(2 * x + 2, picture.width); ++column) {
          const uint8_t* pixel = picture.row(row) + 4 * column;
          for (size_t c = 0; c < 3; ++c) sums[c] += uint32_t{pixel[c]} * pixel[3];
          sums[3] += pixel[3];
        }
      }
      uint8_t* to = half.row(y) + 4 * x;
      if (sums[3] == 0) continue;
      for (size_t c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>((sums[c] + sums[3] / 2) / sums[3]);
      to[3] = static_cast<uint8_t>((sums[3] + 3) / 4);
    }
  }
  return half;
}

void fill_from(const Image& half, Image& picture) {
  for (int64_t y = 0; y < picture.height; ++y) {
    for (int64_t x = 0; x < picture.width; ++x) {
      uint8_t* pixel = picture.row(y) + 4 * x;
      if (is_hidden(pixel)) std::copy_n(half.row(y / 2) + 4 * (x / 2), 3, pixel);
    }
  }
}

}  // namespace

Image fill_hidden_colors(Image picture) {
  if (!has_hidden(picture)) return picture;
  if (picture.width == 1 && picture.height == 1) {
    std::fill_n(picture.pixels.begin(), 3, uint8_t{0});
    return picture;
  }
  const Image half = fill_hidden_colors(halve(picture));
  fill_from(half, picture);
  return picture;
}

}  // namespace dreamlab
