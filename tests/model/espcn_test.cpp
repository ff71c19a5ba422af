#include "model/espcn.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "weights/expected_tensors.h"
#include "weights/random_weights.h"

namespace dreamlab {
namespace {

// A picture of one channel per row of planes: values[channel][y][x], zero beyond the edges.
struct Planes {
  int64_t channels, height, width;
  std::vector<double> values;

  Planes(int64_t c, int64_t h, int64_t w) : channels(c), height(h), width(w), values(static_cast<size_t>(c * h * w)) {}
  double& at(int64_t c, int64_t y, int64_t x) { return values[static_cast<size_t>((c * height + y) * width + x)]; }
  double read(int64_t c, int64_t y, int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return 0;
    return values[static_cast<size_t>((c * height + y) * width + x)];
  }
};

// The network as the paper writes it: convolutions with zero padding, then the periodic shuffling of equation (4).
Planes plain_espcn(const EspcnConfig& config, const WeightSource& weights, Planes x) {
  for (size_t layer = 0; layer < config.kernels.size(); ++layer) {
    const bool last = layer + 1 == config.kernels.size();
    const int64_t out = last ? config.scale * config.scale : config.features[layer], kernel = config.kernels[layer];
    const std::string name = "conv" + std::to_string(layer + 1);
    const std::vector<float> w = weights.get(name + ".weight", Shape{out, x.channels, kernel, kernel}).to_f32();
    const std::vector<float> b = weights.get(name + ".bias", Shape{out}).to_f32();
    Planes y(out, x.height, x.width);
    for (int64_t o = 0; o < out; ++o)
      for (int64_t row = 0; row < x.height; ++row)
        for (int64_t column = 0; column < x.width; ++column) {
          double sum = b[static_cast<size_t>(o)];
          for (int64_t i = 0; i < x.channels; ++i)
            for (int64_t ky = 0; ky < kernel; ++ky)
              for (int64_t kx = 0; kx < kernel; ++kx)
                sum += w[static_cast<size_t>(((o * x.channels + i) * kernel + ky) * kernel + kx)] *
                       x.read(i, row + ky - kernel / 2, column + kx - kernel / 2);
          if (!last) sum = config.hidden == EspcnConfig::Hidden::tanh ? std::tanh(sum) : std::max(sum, 0.0);
          if (last && config.sigmoid_output) sum = 1 / (1 + std::exp(-sum));
          y.at(o, row, column) = sum;
        }
    x = y;
  }
  const int64_t r = config.scale;
  Planes result(1, r * x.height, r * x.width);
  for (int64_t y = 0; y < result.height; ++y)
    for (int64_t column = 0; column < result.width; ++column)
      result.at(0, y, column) = x.read(y % r * r + column % r, y / r, column / r);
  return result;
}

struct EspcnCase {
  std::string name;
  EspcnConfig config;
};

using Hidden = EspcnConfig::Hidden;
using Range = EspcnConfig::Range;

class EspcnComputes : public testing::TestWithParam<EspcnCase> {};

TEST_P(EspcnComputes, WhatThePlainFormulaGives) {
  const EspcnConfig& config = GetParam().config;
  const RandomWeights weights(11, DType::f32, expected_tensors(config));
  constexpr int64_t kHeight = 7, kWidth = 9;
  Planes picture(1, kHeight, kWidth);
  std::vector<float> values;
  for (double& value : picture.values) {
    value = static_cast<double>(values.size() * 37 % 101) / 101.0;
    values.push_back(static_cast<float>(value));
  }
  const Planes expected = plain_espcn(config, weights, picture);
  for (const bool reference : {true, false}) {
    const auto device = reference ? make_reference_device() : make_cpu_device({.threads = 2, .dtype = DType::f32});
    const Espcn network(*device, config, weights);
    const Tensor result =
        network.forward({*device, nullptr, nullptr, nullptr}, device->upload(values, Shape{1, kHeight, kWidth, 1}));
    ASSERT_EQ(result.shape(), (Shape{1, config.scale * kHeight, config.scale * kWidth, 1}));
    const std::vector<float> got = device->download(result);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected.values[i], 5e-6) << "element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, EspcnComputes,
    testing::Values(EspcnCase{"tanh_2x", {{8, 4}, {5, 3, 3}, 2, Hidden::tanh, false, Range::studio}},
                    EspcnCase{"sigmoid_3x", {{8, 4}, {5, 3, 3}, 3, Hidden::tanh, true, Range::full}},
                    EspcnCase{"relu_of_four_4x", {{8, 8, 4}, {5, 3, 3, 3}, 4, Hidden::relu, false, Range::full}}),
    [](const auto& info) { return info.param.name; });

TEST(Espcn, LooksAsFarAsItsWindowsTogether) {
  EXPECT_EQ(reach_of({{64, 32}, {5, 3, 3}, 3, Hidden::tanh, false, Range::full}), 4);
  EXPECT_EQ(reach_of({{64, 64, 32}, {5, 3, 3, 3}, 3, Hidden::relu, false, Range::full}), 5);
}

TEST(Espcn, TakesLuminanceOnly) {
  const EspcnConfig config{{4}, {3, 3}, 2, Hidden::tanh, false, Range::full};
  const RandomWeights weights(1, DType::f32, expected_tensors(config));
  const auto device = make_reference_device();
  const Espcn network(*device, config, weights);
  try {
    network.forward({*device, nullptr, nullptr, nullptr}, device->upload(std::vector<float>(12), Shape{1, 2, 2, 3}));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("the upscaler takes [N, H, W, 1]"));
  }
}

}  // namespace
}  // namespace dreamlab
