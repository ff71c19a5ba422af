#include "weights/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "file_writers.h"

namespace dreamlab {
namespace {

const ExpectedTensors kTensors{{"conv.weight", {64, 32, 3, 3}},
                               {"linear.weight", {1024, 512}},
                               {"linear.bias", {1024}},
                               {"norm.weight", {4096}},
                               {"text_model.embeddings.token_embedding.weight", {3000, 64}}};

struct Moments {
  double mean, deviation;
};

Moments moments(const HostTensor& tensor) {
  const std::vector<float> values = tensor.to_f32();
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return {mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean)};
}

bool same_bytes(const HostTensor& a, const HostTensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

TEST(RandomWeights, DependOnSeedAndNameOnly) {
  const RandomWeights one(7, DType::f16, kTensors), same(7, DType::f16, kTensors), other(8, DType::f16, kTensors);
  const Shape shape{1024, 512};
  EXPECT_TRUE(same_bytes(one.get("linear.weight", shape), same.get("linear.weight", shape)));
  EXPECT_FALSE(same_bytes(one.get("linear.weight", shape), other.get("linear.weight", shape)));
}

TEST(RandomWeights, HaveTheSpreadThatKeepsActivationsOfUnitSize) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const RandomWeights weights(1, dtype, kTensors);
    const Moments conv = moments(weights.get("conv.weight", {64, 32, 3, 3}));
    EXPECT_NEAR(conv.mean, 0, 0.002) << name_of(dtype);
    EXPECT_NEAR(conv.deviation, 1 / std::sqrt(32 * 9.0), 0.002) << name_of(dtype);
    const Moments linear = moments(weights.get("linear.weight", {1024, 512}));
    EXPECT_NEAR(linear.deviation, 1 / std::sqrt(512.0), 0.001) << name_of(dtype);
    EXPECT_NEAR(moments(weights.get("norm.weight", {4096})).mean, 1, 0.01) << name_of(dtype);
    EXPECT_NEAR(moments(weights.get("linear.bias", {1024})).mean, 0, 0.005) << name_of(dtype);
    EXPECT_NEAR(moments(weights.get(kTensors[4].name, kTensors[4].shape)).deviation, 0.02, 0.001) << name_of(dtype);
  }
}

// A matrix with alike rows would not have the norm of products that random ones have.
TEST(RandomWeights, HaveUncorrelatedRows) {
  const RandomWeights weights(3, DType::f32, kTensors);
  const std::vector<float> matrix = weights.get("linear.weight", {1024, 512}).to_f32();
  double largest = 0;
  for (size_t a = 0; a < 100; ++a)
    for (size_t b = 0; b < a; ++b) {
      double dot = 0;
      for (size_t i = 0; i < 512; ++i) dot += matrix[a * 512 + i] * matrix[b * 512 + i];
      largest = std::max(largest, std::abs(dot));
    }
  EXPECT_LT(largest, 0.35);  // the deviation of such a product of unit rows is 1/sqrt(512) = 0.044
}

TEST(RandomWeights, AnswerByTheListOfTheNetwork) {
  const RandomWeights weights(1, DType::bf16, kTensors);
  EXPECT_TRUE(weights.contains("linear.bias"));
  EXPECT_FALSE(weights.contains("conv.bias"));
  EXPECT_EQ(weights.shape_of("conv.weight"), std::optional(Shape{64, 32, 3, 3}));
  EXPECT_EQ(weights.shape_of("conv.bias"), std::nullopt);
  expect_error(ErrorKind::invalid_file, "the network has no tensor conv.bias", [&] { weights.get("conv.bias", {64}); });
  expect_error(ErrorKind::invalid_file, "has shape [1024, 512]; [512, 1024] is expected", [&] {
    weights.get("linear.weight", {512, 1024});
  });
}

TEST(RandomWeights, RefuseADtypeThatHoldsNoWeights) {
  expect_error(ErrorKind::invalid_argument, "random weights in u8; f32, f16 and bf16 are allowed",
               [] { RandomWeights(1, DType::u8, kTensors); });
}

// The published sizes, as the model cards give them.
TEST(ExpectedTensors, AddUpToThePublishedParameterCounts) {
  const auto count = [](const ExpectedTensors& tensors) {
    int64_t sum = 0;
    for (const ExpectedTensor& tensor : tensors) sum += tensor.shape.elements();
    return sum;
  };
  EXPECT_EQ(count(expected_tensors(published_config(Family::sd1).unet)), 859520964);
  EXPECT_EQ(count(expected_tensors(published_config(Family::sd2).unet)), 865910724);
  EXPECT_EQ(count(expected_tensors(published_config(Family::sdxl).unet)), 2567463684);
  EXPECT_EQ(count(expected_tensors(published_config(Family::sd1).vae)), 83653863);
  EXPECT_EQ(count(expected_tensors(published_config(Family::sd1).text_encoders[0])), 123060480);
  EXPECT_EQ(count(expected_tensors(published_config(Family::sdxl).text_encoders[1])), 694659840);
}

}  // namespace
}  // namespace dreamlab
