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

// Every row [width, channels] on its own to [to_width, channels].
template <typename Value>
std::vector<float> filter_rows(const Value* values, int64_t width, int64_t height, int64_t channels, int64_t to_width) {
  const std::vector<Tap> taps = make_taps(width, to_width);
  std::vector<float> rows(static_cast<size_t>(height * to_width * channels));
  float* to = rows.data();
  for (int64_t y = 0; y < height; ++y) {
    const Value* row = values + y * width * channels;
    for (const Tap& tap : taps) {
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (size_t k = 0; k < tap.weights.size(); ++k) {
          sum += tap.weights[k] * row[(tap.first + static_cast<int64_t>(k)) * channels + c];
        }
        *to++ = sum;
      }
    }
  }
  return rows;
}

// Columns of rows of `length` numbers: calls take(y, row) for each of the `to_height` results.
template <typename Take>
void filter_columns(const std::vector<float>& rows, int64_t length, int64_t height, int64_t to_height, Take take) {
  const std::vector<Tap> taps = make_taps(height, to_height);
  std::vector<float> sums(static_cast<size_t>(length));
  for (int64_t y = 0; y < to_height; ++y) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    const Tap& tap = taps[static_cast<size_t>(y)];
    for (size_t k = 0; k < tap.weights.size(); ++k) {
      const float* row = rows.data() + (tap.first + static_cast<int64_t>(k)) * length;
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += tap.weights[k] * row[i];
    }
    take(y, sums);
  }
}

}  // namespace

Image resize_image(const Image& image, int64_t width, int64_t height) {
  if (image.width == width && image.height == height) return image;
  Image resized = Image::blank(width, height, image.channels);
  const std::vector<float> rows = filter_rows(image.pixels.data(), image.width, image.height, image.channels, width);
  filter_columns(rows, width * image.channels, image.height, height, [&](int64_t y, const std::vector<float>& sums) {
    uint8_t* to = resized.row(y);
    for (size_t i = 0; i < sums.size(); ++i) {
      to[i] = static_cast<uint8_t>(std::lround(std::clamp(sums[i], 0.0f, 255.0f)));
    }
  });
  return resized;
}

std::vector<float> resize_values(std::span<const float> values, int64_t width, int64_t height, int64_t channels,
                                 int64_t to_width, int64_t to_height) {
  if (width < 1 || height < 1 || channels < 1 || to_width < 1 || to_height < 1 ||
      static_cast<int64_t>(values.size()) != width * height * channels) {
    fail(ErrorKind::internal, "{} numbers are no {}x{} of {} channels", values.size(), width, height, channels);
  }
  const std::vector<float> rows = filter_rows(values.data(), width, height, channels, to_width);
  std::vector<float> resized;
  resized.reserve(static_cast<size_t>(to_width * to_height * channels));
  filter_columns(rows, to_width * channels, height, to_height, [&](int64_t, const std::vector<float>& sums) {
    resized.insert(resized.end(), sums.begin(), sums.end());
  });
  return resized;
}

}  // namespace dreamlab
