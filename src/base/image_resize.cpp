#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/image.h"

namespace dreamlab {

namespace {

constexpr double kLanczosRadius = 3.0;

double sinc(double x) {
  return x == 0 ? 1.0 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
}

double lanczos(double x) {
  return std::abs(x) < kLanczosRadius ? sinc(x) * sinc(x / kLanczosRadius) : 0.0;
}

// The input samples that make one output sample, and what each counts; the weights add up to 1.
struct Tap {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Tap> make_taps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(1.0, scale);
  const double reach = kLanczosRadius * stretch;
  std::vector<Tap> taps(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(center - reach - 0.5)));
    const auto last = std::min<int64_t>(from - 1, static_cast<int64_t>(std::floor(center + reach - 0.5)));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = first; j <= last; ++j) {
      weights.push_back(lanczos((static_cast<double>(j) + 0.5 - center) / stretch));
      sum += weights.back();
    }
    taps[i].first = first;
    for (double w : weights) taps[i].weights.push_back(static_cast<float>(w / sum));
  }
  return taps;
}

}  // namespace

Image resize_image(const Image& image, int64_t width, int64_t height) {
  if (image.width == width && image.height == height) return image;
  Image resized = Image::blank(width, height, image.channels);
  const int64_t channels = image.channels;
  const std::vector<Tap> across = make_taps(image.width, width);
  const std::vector<Tap> down = make_taps(image.height, height);

  // Rows first: [image.height, width, channels] in f32.
  std::vector<float> rows(static_cast<size_t>(image.height * width * channels));
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const Tap& tap = across[x];
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (size_t k = 0; k < tap.weights.size(); ++k) {
          sum += tap.weights[k] * image.row(y)[(tap.first + static_cast<int64_t>(k)) * channels + c];
        }
        rows[(y * width + x) * channels + c] = sum;
      }
    }
  }
  std::vector<float> sums(static_cast<size_t>(width * channels));
  for (int64_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    const Tap& tap = down[y];
    for (size_t k = 0; k < tap.weights.size(); ++k) {
      const float* row = rows.data() + (tap.first + static_cast<int64_t>(k)) * width * channels;
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += tap.weights[k] * row[i];
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      resized.row(y)[i] = static_cast<uint8_t>(std::lround(std::clamp(sums[i], 0.0f, 255.0f)));
    }
  }
  return resized;
}

}  // namespace dreamlab
