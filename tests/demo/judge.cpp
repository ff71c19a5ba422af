#include "demo/judge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>

#include "weights/model_files.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;
using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr std::array<int64_t, 5> kWidths{24, 48, 80, 112, 144};
constexpr int64_t kHidden = 384, kGroups = 8, kSide = 256, kColumns = 3;

fs::path data(const char* name) {
  return fs::path(DREAMLAB_TEST_DATA_DIR) / name;
}

// What the numbers of the last layer mean, in their order.
struct Labels {
  std::vector<std::string> kinds, colors, positions, places, times, styles;

  int64_t count() const {
    return static_cast<int64_t>(kinds.size() * (colors.size() + positions.size()) + places.size() + times.size() +
                                styles.size());
  }
};

const Labels& labels() {
  static const Labels all = [] {
    const auto json = nlohmann::json::parse(std::ifstream(data("labels.json")));
    Labels read;
    for (const auto& [key, list] :
         {std::pair("kinds", &read.kinds), std::pair("colors", &read.colors), std::pair("positions", &read.positions),
          std::pair("places", &read.places), std::pair("times", &read.times), std::pair("styles", &read.styles)})
      *list = json.at(key).get<std::vector<std::string>>();
    return read;
  }();
  return all;
}

// Takes numbers off the front.
std::span<const float> take(std::span<const float>& rest, size_t count) {
  const auto part = rest.first(count);
  rest = rest.subspan(count);
  return part;
}

Pairs pairs_over_half(std::span<const float> logits, const std::vector<std::string>& kinds,
                      const std::vector<std::string>& others) {
  Pairs found;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > 0) found.emplace_back(kinds[i / others.size()], others[i % others.size()]);
  return found;
}

const std::string& likeliest(std::span<const float> logits, const std::vector<std::string>& names) {
  return names[static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())];
}

// Means, then maxima, of three columns of x [H, W, C] that share what does not divide: [C, 3] each, as PyTorch's
// adaptive pooling has it.
std::vector<float> pool_columns(const std::vector<float>& x, int64_t height, int64_t width, int64_t channels) {
  std::vector<float> means, maxima;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t column = 0; column < kColumns; ++column) {
      const int64_t begin = column * width / kColumns, end = ((column + 1) * width + kColumns - 1) / kColumns;
      float sum = 0, most = -INFINITY;
      for (int64_t row = 0; row < height; ++row) {
        for (int64_t i = begin; i < end; ++i) {
          const float value = x[static_cast<size_t>((row * width + i) * channels + c)];
          sum += value;
          most = std::max(most, value);
        }
      }
      means.push_back(sum / static_cast<float>(height * (end - begin)));
      maxima.push_back(most);
    }
  }
  means.insert(means.end(), maxima.begin(), maxima.end());
  return means;
}

bool contains_all(const Pairs& found, const Pairs& wanted) {
  return std::all_of(wanted.begin(), wanted.end(),
                     [&](const auto& pair) { return std::find(found.begin(), found.end(), pair) != found.end(); });
}

}  // namespace

std::vector<Facts> test_prompts() {
  std::vector<Facts> all;
  for (const auto& item : nlohmann::json::parse(std::ifstream(data("prompts.json")))) {
    all.push_back({item.at("prompt"), item.at("pairs").get<Pairs>(), item.at("positions").get<Pairs>(),
                   item.at("place"), item.at("time")});
  }
  return all;
}

Judge::Judge(Device& device) : device_(device) {
  const auto file = open_tensor_file(data("judge.safetensors"));
  TensorMap weights("judge");
  gather_as_is(*file, "", weights);
  const LayerScope scope{device, WeightScope(weights), "judge"};
  int64_t in = 3;
  for (const int64_t width : kWidths) {
    for (const int64_t stride : {2, 1}) {
      const auto i = static_cast<int64_t>(convs_.size());
      convs_.emplace_back(scope / "convs" / i, in, width, ConvGeometry{3, stride, 1, 1});
      norms_.emplace_back(scope / "norms" / i, width, kGroups, 1e-5);
      in = width;
    }
  }
  linears_.emplace_back(scope / "hidden", 2 * kColumns * in, kHidden);
  linears_.emplace_back(scope / "head", kHidden, labels().count());
}

std::vector<float> Judge::logits(const Image& picture) const {
  if (picture.width != kSide || picture.height != kSide || picture.channels != 3)
    throw std::invalid_argument("the judge looks at pictures of 256x256");
  std::vector<float> values(picture.pixels.begin(), picture.pixels.end());
  for (float& value : values) value = value / 127.5f - 1;
  const Context context{device_};
  Tensor x = device_.upload(values, {1, kSide, kSide, 3});
  for (size_t i = 0; i < convs_.size(); ++i)
    x = norms_[i].forward(context, convs_[i].forward(context, x), Activation::silu);
  const std::vector<float> pooled = pool_columns(device_.download(x), x.dim(1), x.dim(2), x.dim(3));
  Epilogue silu;
  silu.activation = Activation::silu;
  const Tensor hidden =
      linears_[0].forward(context, device_.upload(pooled, {1, static_cast<int64_t>(pooled.size())}), silu);
  return device_.download(linears_[1].forward(context, hidden));
}

Judge::Findings Judge::look(const Image& picture) const {
  const Labels& names = labels();
  const std::vector<float> all = logits(picture);
  std::span<const float> rest = all;
  Findings found;
  found.pairs = pairs_over_half(take(rest, names.kinds.size() * names.colors.size()), names.kinds, names.colors);
  found.positions =
      pairs_over_half(take(rest, names.kinds.size() * names.positions.size()), names.kinds, names.positions);
  found.place = likeliest(take(rest, names.places.size()), names.places);
  found.time = likeliest(take(rest, names.times.size()), names.times);
  found.style = likeliest(rest, names.styles);
  return found;
}

double Judge::style_probability(const Image& picture, const std::string& style) const {
  const std::vector<std::string>& styles = labels().styles;
  const std::vector<float> all = logits(picture);
  const std::span<const float> values = std::span(all).last(styles.size());
  double sum = 0, wanted = 0;
  for (size_t i = 0; i < styles.size(); ++i) {
    const double weight = std::exp(static_cast<double>(values[i]));
    sum += weight;
    if (styles[i] == style) wanted = weight;
  }
  return wanted / sum;
}

bool Judge::Findings::shows_things(const Facts& facts) const {
  return contains_all(pairs, facts.pairs);
}

bool Judge::Findings::shows_scene(const Facts& facts) const {
  return place == facts.place && contains_all(positions, facts.positions);
}

}  // namespace dreamlab
