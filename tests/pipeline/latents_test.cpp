#include "pipeline/latents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "tensor/dtype.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

// Draws 0, 1, 2, ...
class CountingNoise : public NoiseSource {
 public:
  void normals(std::span<float> out) override {
    for (float& value : out) value = next_++;
  }

 private:
  float next_ = 0;
};

TEST(Latents, NoiseIsDrawnInPyTorchsOrderAndKeptChannelsLast) {
  CountingNoise noise;
  const Latents latents = draw_latents(noise, 1, 2, 3);  // [C, H, W] = 0 1 | 2 3 | 4 5
  EXPECT_THAT(latents.values, ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(latents.to_chw(), ElementsAre(0, 1, 2, 3, 4, 5));
  const std::vector<float> chw = {0, 1, 2, 3, 4, 5};
  EXPECT_EQ(Latents::from_chw(chw, 3, 1, 2).values, latents.values);
}

TEST(Latents, PixelsRoundHalvesToEven) {
  // unit * 255 = 0.5, 1.5, 2.5 and the ends, out of range and not a number.
  const auto value_for = [](double level) { return static_cast<float>((level / 255.0 - 0.5) * 2); };
  const std::vector<float> values = {-1.0f, 1.0f,        -7.0f, 9.0f, std::nanf(""), value_for(100.4), value_for(100.6),
                                     0.0f,  value_for(3)};
  EXPECT_THAT(to_image(values, 1, 3).pixels, ElementsAre(0, 255, 0, 255, 0, 100, 101, 128, 3));
}

TEST(Latents, ExactHalvesGoToTheEvenNeighbor) {
  int seen = 0;
  for (int level = 0; level < 255; ++level) {
    const auto value = static_cast<float>((level + 0.5) / 255.0 * 2 - 1);
    const float product = (value / 2 + 0.5f) * 255.0f;
    if (product != static_cast<float>(level) + 0.5f) continue;  // the half itself is not reached in f32
    ++seen;
    EXPECT_EQ(to_image(std::vector<float>(3, value), 1, 1).pixels[0], level % 2 == 0 ? level : level + 1) << level;
  }
  EXPECT_GT(seen, 20);
}

TEST(Latents, PicturesGoToMinusOneToOneAndBackUnchanged) {
  Image image = Image::blank(16, 16);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i);
  const std::vector<float> values = from_image(image);
  EXPECT_EQ(values[0], -1.0f);
  EXPECT_EQ(values[255], 1.0f);
  EXPECT_TRUE(to_image(values, 16, 16) == image);
}

float half_at(const Fingerprint& fingerprint, size_t index) {
  return static_cast<float>(Float16{static_cast<uint16_t>(fingerprint[2 * index] | fingerprint[2 * index + 1] << 8)});
}

TEST(Latents, FingerprintIsTheMeanOfEveryCellInNchwOrder) {
  Latents latents = Latents::zeros(16, 24, 4);
  for (int64_t y = 0; y < 16; ++y) {
    for (int64_t x = 0; x < 24; ++x) {
      for (int64_t c = 0; c < 4; ++c)
        latents.values[(y * 24 + x) * 4 + c] = static_cast<float>(100 * c + 10 * (y / 2) + x / 3);
    }
  }
  const Fingerprint fingerprint = latent_fingerprint(latents);
  for (size_t c = 0; c < 4; ++c) {
    for (size_t y = 0; y < 8; ++y) {
      for (size_t x = 0; x < 8; ++x) {
        EXPECT_EQ(half_at(fingerprint, (c * 8 + y) * 8 + x), static_cast<float>(100 * c + 10 * y + x));
      }
    }
  }
}

TEST(Latents, FingerprintOfSizesThatDoNotDivideOverlapsCells) {
  Latents latents = Latents::zeros(9, 1, 4);
  for (int64_t y = 0; y < 9; ++y) {
    for (int64_t c = 0; c < 4; ++c) latents.values[y * 4 + c] = static_cast<float>(y);
  }
  const Fingerprint fingerprint = latent_fingerprint(latents);
  // Cell i of 8 over 9 rows: rows i and i + 1.
  for (size_t y = 0; y < 8; ++y) EXPECT_EQ(half_at(fingerprint, y * 8 + 3), static_cast<float>(y) + 0.5f);
}

TEST(Latents, MasksAreCutAtHalfAndShrunkToEveryEighthPixel) {
  Image image = Image::blank(16, 8);
  const auto paint = [&](int64_t x, uint8_t level) { std::memset(image.row(0) + 3 * x, level, 3); };
  paint(0, 127);
  paint(8, 128);
  paint(9, 0);
  const std::vector<float> mask = to_mask(image);
  EXPECT_EQ(mask[0], 0.0f);
  EXPECT_EQ(mask[8], 1.0f);
  EXPECT_THAT(shrink_mask(mask, 8, 16), ElementsAre(0, 1));
}

TEST(Latents, ADrawOfAnotherSizeIsOurMistake) {
  CountingNoise noise;
  LatentNoise latent_noise(noise, 2, 2, 4);
  std::vector<float> few(8);
  EXPECT_THROW(latent_noise.normals(few), Error);
}

}  // namespace
}  // namespace dreamlab
