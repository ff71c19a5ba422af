#include "scheduler/guidance.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "golden_records.h"

namespace dreamlab {
namespace {

TEST(Guidance, GoesFromTheUnconditionalThroughTheConditionalPrediction) {
  const std::vector<float> uncond = {1.0f, -2.0f};
  const std::vector<float> cond = {2.0f, 0.0f};
  std::vector<float> out(2);
  combine_guidance(uncond, cond, 7.5f, out);
  EXPECT_EQ(out, (std::vector<float>{8.5f, 13.0f}));
  combine_guidance(uncond, cond, 1.0f, out);
  EXPECT_EQ(out, cond);
  out = uncond;
  combine_guidance(out, cond, 0.0f, out);
  EXPECT_EQ(out, uncond);
}

TEST(Guidance, RefusesPredictionsOfDifferentSizes) {
  std::vector<float> two(2), three(3);
  EXPECT_THROW(combine_guidance(two, three, 1.0f, two), Error);
  EXPECT_THROW(rescale_guidance(two, 0.5f, three), Error);
}

TEST(Guidance, RescalesToTheDeviationOfTheConditionalPrediction) {
  const std::vector<float> cond = {-1.0f, 1.0f, -1.0f, 1.0f};
  const std::vector<float> strong = {-3.0f, 5.0f, -3.0f, 5.0f};  // four times the deviation, around 1
  std::vector<float> guided = strong;
  rescale_guidance(cond, 1.0f, guided);
  EXPECT_LE(difference(guided, std::vector<float>{-0.75f, 1.25f, -0.75f, 1.25f}).largest, 1e-6);
  guided = strong;
  rescale_guidance(cond, 0.5f, guided);
  EXPECT_LE(difference(guided, std::vector<float>{-1.875f, 3.125f, -1.875f, 3.125f}).largest, 1e-6);
  guided = strong;
  rescale_guidance(cond, 0.0f, guided);
  EXPECT_EQ(guided, strong);
}

TEST(Guidance, LeavesAConstantPredictionAsItIs) {
  std::vector<float> guided(4, 2.0f);
  rescale_guidance(std::vector<float>{1.0f, 2.0f, 3.0f, 4.0f}, 0.7f, guided);
  EXPECT_EQ(guided, std::vector<float>(4, 2.0f));
}

// Angles reach 7,000 radians, where one f32 step is 4.9e-4.
TEST(Guidance, EmbedsTheScaleAsDiffusersDoes) {
  const auto file = golden_tensors("tiny-sd15/unet_lcm_cond.safetensors");
  for (const char* scale : {"1.0", "8.0"}) {
    const std::string name = std::string("guidance") + scale + "/timestep_cond";
    EXPECT_LE(difference(guidance_scale_embedding(std::stod(scale), 64), numbers(*file, name)).largest, 6e-4) << name;
  }
  const std::vector<float> w = numbers(*file, "guidance_scale_embedding/w");
  for (const int64_t width : {256, 512}) {
    const std::vector<float> record = numbers(*file, "guidance_scale_embedding/dim" + std::to_string(width));
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t begin = i * static_cast<size_t>(width);
      const auto row = std::span<const float>(record).subspan(begin, static_cast<size_t>(width));
      const Difference off = difference(guidance_scale_embedding(static_cast<double>(w[i]) + 1.0, width), row);
      EXPECT_LE(off.largest, 6e-4) << "width " << width << ", w " << w[i] << ", at " << off.at;
      RecordProperty("dim" + std::to_string(width) + "_" + std::to_string(i), std::to_string(off.largest));
    }
  }
}

TEST(Guidance, EndsAnEmbeddingOfOddWidthInAZero) {
  const std::vector<float> odd = guidance_scale_embedding(8.0, 65);
  const std::vector<float> even = guidance_scale_embedding(8.0, 64);
  EXPECT_EQ(std::vector<float>(odd.begin(), odd.end() - 1), even);
  EXPECT_EQ(odd.back(), 0.0f);
  EXPECT_THROW(guidance_scale_embedding(8.0, 2), Error);
}

}  // namespace
}  // namespace dreamlab
