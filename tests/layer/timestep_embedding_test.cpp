#include "layer/timestep_embedding.h"

#include <cmath>

#include "base/error.h"
#include "golden_network.h"

namespace dreamlab {
namespace {

// Angles reach 7,000 rad, where f32 numbers are 4.9e-4 apart: a frequency that two exponential functions round
// differently in its last bit moves a sine by as much.
constexpr double kPhaseRounding = 5e-4;

TEST(GuidanceScaleEmbedding, AgreesWithDiffusersAtEveryWidth) {
  const GoldenRecord record("tiny-sd15/unet_lcm_cond.safetensors");
  const std::vector<float> w = record.values("guidance_scale_embedding/w");
  for (const int64_t dim : {256, 512}) {
    const std::string name = "guidance_scale_embedding/dim" + std::to_string(dim);
    expect_matches(guidance_scale_embedding(w, dim), record, name, kPhaseRounding);
  }
}

TEST(GuidanceScaleEmbedding, EndsWithAZeroWhenTheWidthIsOdd) {
  const std::vector<float> w = {7.0f};
  const std::vector<float> odd = guidance_scale_embedding(w, 65), even = guidance_scale_embedding(w, 64);
  EXPECT_EQ(std::vector<float>(odd.begin(), odd.end() - 1), even);
  EXPECT_EQ(odd.back(), 0.0f);
  EXPECT_THROW(guidance_scale_embedding(w, 2), Error);
}

TEST(SinusoidalEmbedding, PutsSinesFirstUnlessFlipped) {
  const std::vector<float> one = {1.0f};
  const std::vector<float> plain = sinusoidal_embedding(one, 4, {.flip_sin_to_cos = false, .freq_shift = 0});
  EXPECT_FLOAT_EQ(plain[0], std::sin(1.0f));
  EXPECT_FLOAT_EQ(plain[1], std::sin(0.01f));
  EXPECT_FLOAT_EQ(plain[2], std::cos(1.0f));
  const std::vector<float> flipped = sinusoidal_embedding(one, 4);
  EXPECT_EQ(flipped, (std::vector<float>{plain[2], plain[3], plain[0], plain[1]}));
}

TEST(SinusoidalEmbedding, ReachesTheLowestFrequencyWithAShiftOfOne) {
  const std::vector<float> values = {10000.0f};
  const std::vector<float> shifted = sinusoidal_embedding(values, 4, {.flip_sin_to_cos = false, .freq_shift = 1});
  EXPECT_NEAR(shifted[1], std::sin(1.0), 1e-3);
}

TEST(SinusoidalEmbedding, EndsWithAZeroWhenTheWidthIsOdd) {
  const std::vector<float> values = {3.0f, 5.0f};
  const std::vector<float> odd = sinusoidal_embedding(values, 5);
  ASSERT_EQ(odd.size(), 10u);
  EXPECT_EQ(odd[4], 0.0f);
  EXPECT_EQ(odd[9], 0.0f);
  EXPECT_FLOAT_EQ(odd[5], std::cos(5.0f));
}

}  // namespace
}  // namespace dreamlab
