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

}  // namespace
}  // namespace dreamlab
