#include "pipeline/picture_tiles.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

Image pattern(int64_t width, int64_t height, int64_t channels = 3) {
  Image picture = Image::blank(width, height, channels);
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
  return picture;
}

// Every pixel `scale` times in both directions.
TileFunction repeat_pixels(int64_t scale, int64_t channels) {
  return [=](std::span<const float> pixels, int64_t width, int64_t height) {
    std::vector<float> out;
    for (int64_t y = 0; y < scale * height; ++y)
      for (int64_t x = 0; x < scale * width; ++x)
        for (int64_t c = 0; c < channels; ++c)
          out.push_back(pixels[static_cast<size_t>((y / scale * width + x / scale) * channels + c)]);
    return out;
  };
}

TEST(PictureTiles, JoinToThePictureWhateverItsSizeAndTheirs) {
  const std::vector<TileShape> shapes{{8, 0, 0, 1, 2},  {8, 4, 0, 1, 3},  {8, 4, 4, 1, 2}, {16, 4, 8, 1, 1},
                                      {16, 8, 8, 4, 2}, {16, 4, 4, 2, 4}, {2, 0, 0, 1, 2}};
  for (const TileShape& shape : shapes)
    for (const int64_t channels : {3, 4})
      for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {8, 8}, {9, 33}, {50, 3}}) {
        const Image picture = pattern(width, height, channels);
        int64_t calls = 0;
        const TileFunction repeat = repeat_pixels(shape.scale, channels);
        const Image result = enlarge_in_tiles(picture, shape, [&](auto pixels, int64_t w, int64_t h) {
          ++calls;
          EXPECT_LE(std::max(w, h), shape.core + 2 * shape.margin);
          EXPECT_EQ(w % shape.multiple, 0);
          EXPECT_EQ(h % shape.multiple, 0);
          return repeat(pixels, w, h);
        });
        EXPECT_EQ(calls, count_tiles(width, height, shape));
        ASSERT_EQ(result.width, shape.scale * width);
        ASSERT_EQ(result.height, shape.scale * height);
        for (int64_t y = 0; y < result.height; ++y)
          for (int64_t x = 0; x < result.width; ++x)
            for (int64_t c = 0; c < channels; ++c)
              ASSERT_EQ(result.row(y)[x * channels + c], picture.row(y / shape.scale)[x / shape.scale * channels + c])
                  << width << "x" << height << ", core " << shape.core << ", at " << x << "," << y;
      }
}

// The worst a network can do at a seam: every tile has a brightness of its own.
TEST(PictureTiles, BlendWhereNeighborsDiffer) {
  const TileShape shape{16, 8, 8, 1, 2};
  const Image picture = pattern(48, 48);
  int64_t tile = 0;
  const Image result = enlarge_in_tiles(picture, shape, [&](auto pixels, int64_t, int64_t) {
    const float brightness = tile++ % 2 == 0 ? 100.0f / 255 : 164.0f / 255;
    return std::vector<float>(pixels.size() * 4, brightness);
  });
  ASSERT_EQ(tile, 9);
  const auto at = [&](int64_t x, int64_t y) { return int{result.row(y)[3 * x]}; };
  EXPECT_EQ(at(0, 0), 100);
  EXPECT_EQ(at(95, 0), 100);
  EXPECT_EQ(at(48, 0), 164);
  EXPECT_EQ(at(48, 48), 100);
  int largest = 0;
  for (int64_t y = 1; y < 96; ++y)
    for (int64_t x = 1; x < 96; ++x)
      largest = std::max({largest, std::abs(at(x, y) - at(x - 1, y)), std::abs(at(x, y) - at(x, y - 1))});
  EXPECT_LE(largest, 64 / 16 + 1) << "a step between neighboring pixels; the ramp is 16 pixels long";
}

TEST(PictureTiles, EndWithWhatTheNetworkThrows) {
  EXPECT_THROW(
      enlarge_in_tiles(pattern(40, 40), {16, 4, 0, 1, 2},
                       [](auto, int64_t, int64_t) -> std::vector<float> { fail(ErrorKind::cancelled, "cancelled"); }),
      Error);
}

}  // namespace
}  // namespace dreamlab
