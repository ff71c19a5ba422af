#include "pipeline/picture_tiles.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

// One axis of a tile, in pixels of the picture.
struct Span {
  int64_t core_begin, core_end;  // cores lie side by side
  int64_t read_begin, read_end;  // with margins
  int64_t used_begin, used_end;  // the core and its half of each blended strip
};

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Cores of nearly one size: few shapes for the network to prepare for, and no sliver at the end.
std::vector<Span> cut(int64_t extent, const TileShape& shape) {
  const int64_t units = round_up(extent, shape.multiple) / shape.multiple;
  const int64_t count = (units * shape.multiple + shape.core - 1) / shape.core;
  const int64_t end = units * shape.multiple, half = shape.blend / 2;
  std::vector<Span> spans;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin_of_core = i * units / count * shape.multiple;
    const int64_t end_of_core = (i + 1) * units / count * shape.multiple;
    const bool first = i == 0, last = i + 1 == count;
    spans.push_back({begin_of_core, end_of_core, std::max<int64_t>(0, begin_of_core - shape.margin),
                     std::min(end, end_of_core + shape.margin), first ? 0 : begin_of_core - half,
                     last ? extent : end_of_core + half});
  }
  return spans;
}

// What a tile counts along one axis at each pixel of the result from scale * used_begin on. The weights of two
// neighbors add up to 1.
std::vector<float> weights_of(const Span& span, const TileShape& shape) {
  std::vector<float> weights(static_cast<size_t>((span.used_end - span.used_begin) * shape.scale), 1.0f);
  const int64_t ramp = shape.blend * shape.scale, length = static_cast<int64_t>(weights.size());
  const auto share = [&](int64_t i) { return (static_cast<float>(i) + 0.5f) / static_cast<float>(ramp); };
  for (int64_t i = 0; i < ramp; ++i) {
    if (span.used_begin < span.core_begin) weights[static_cast<size_t>(i)] = share(i);
    if (span.used_end > span.core_end) weights[static_cast<size_t>(length - ramp + i)] = 1.0f - share(i);
  }
  return weights;
}

std::vector<float> read_tile(const Image& picture, const Span& across, const Span& down) {
  const int64_t channels = picture.channels;
  std::vector<float> pixels;
  pixels.reserve(
      static_cast<size_t>((across.read_end - across.read_begin) * (down.read_end - down.read_begin) * channels));
  for (int64_t y = down.read_begin; y < down.read_end; ++y) {
    const uint8_t* row = picture.row(std::min(y, picture.height - 1));
    for (int64_t x = across.read_begin; x < across.read_end; ++x) {
      const uint8_t* pixel = row + std::min(x, picture.width - 1) * channels;
      for (int64_t c = 0; c < channels; ++c) pixels.push_back(static_cast<float>(pixel[c]) / 255.0f);
    }
  }
  return pixels;
}

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0f, 1.0f) * 255.0f));
}

// Joins tiles to the result: first the tiles of one row to a strip, then strips to the picture. Only one strip and the
// part of the one above that both share are kept as numbers.
class Joiner {
 public:
  Joiner(Image& result, const TileShape& shape)
      : result_(result), shape_(shape), row_length_(static_cast<size_t>(result.width * result.channels)) {}

  void begin_strip(const Span& down) {
    down_ = down;
    strip_.assign(static_cast<size_t>((down.used_end - down.used_begin) * shape_.scale) * row_length_, 0.0f);
  }

  void add(const std::vector<float>& tile, const Span& across) {
    const int64_t channels = result_.channels, scale = shape_.scale;
    const int64_t tile_row = (across.read_end - across.read_begin) * scale * channels;
    const int64_t rows = (down_.used_end - down_.used_begin) * scale;
    const std::vector<float> weights = weights_of(across, shape_);
    for (int64_t y = 0; y < rows; ++y) {
      const float* from = tile.data() + (y + (down_.used_begin - down_.read_begin) * scale) * tile_row +
                          (across.used_begin - across.read_begin) * scale * channels;
      float* to = strip_.data() + static_cast<size_t>(y) * row_length_ + across.used_begin * scale * channels;
      for (const float weight : weights)
        for (int64_t c = 0; c < channels; ++c) *to++ += weight * *from++;
    }
  }

  void end_strip() {
    const std::vector<float> weights = weights_of(down_, shape_);
    const size_t shared_above = down_.used_begin < down_.core_begin ? shared_rows() : 0;
    const size_t shared_below = down_.used_end > down_.core_end ? shared_rows() : 0;
    const size_t rows = weights.size();
    for (size_t y = 0; y + shared_below < rows; ++y) {
      const float* row = strip_.data() + y * row_length_;
      const float* above = y < shared_above ? above_.data() + y * row_length_ : nullptr;
      uint8_t* to = result_.row(down_.used_begin * shape_.scale + static_cast<int64_t>(y));
      for (size_t i = 0; i < row_length_; ++i)
        to[i] = to_byte(above == nullptr ? row[i] : weights[y] * row[i] + (1.0f - weights[y]) * above[i]);
    }
    above_.assign(strip_.end() - static_cast<std::ptrdiff_t>(shared_below * row_length_), strip_.end());
  }

 private:
  size_t shared_rows() const { return static_cast<size_t>(shape_.blend * shape_.scale); }

  Image& result_;
  const TileShape& shape_;
  size_t row_length_;
  Span down_{};
  std::vector<float> strip_, above_;
};

void check(const TileShape& shape) {
  const bool fits = shape.scale >= 1 && shape.multiple >= 1 && shape.margin >= 0 && shape.blend >= 0 &&
                    shape.margin % shape.multiple == 0 && shape.blend % 2 == 0 && shape.blend <= 2 * shape.margin &&
                    shape.core >= std::max(2 * shape.blend, 2 * shape.multiple);
  if (!fits)
    fail(ErrorKind::internal, "tiles of {} with a margin of {} and a blend of {}, in multiples of {}", shape.core,
         shape.margin, shape.blend, shape.multiple);
}

}  // namespace

int64_t count_tiles(int64_t width, int64_t height, const TileShape& shape) {
  check(shape);
  return static_cast<int64_t>(cut(width, shape).size() * cut(height, shape).size());
}

Image enlarge_in_tiles(const Image& picture, const TileShape& shape, const TileFunction& enlarge) {
  check(shape);
  Image result = Image::blank(picture.width * shape.scale, picture.height * shape.scale, picture.channels);
  const std::vector<Span> columns = cut(picture.width, shape);
  Joiner joiner(result, shape);
  for (const Span& down : cut(picture.height, shape)) {
    joiner.begin_strip(down);
    for (const Span& across : columns) {
      const std::vector<float> pixels = read_tile(picture, across, down);
      const int64_t width = across.read_end - across.read_begin, height = down.read_end - down.read_begin;
      const std::vector<float> tile = enlarge(pixels, width, height);
      if (tile.size() != pixels.size() * static_cast<size_t>(shape.scale * shape.scale))
        fail(ErrorKind::internal, "a tile of {}x{} came back as {} numbers", width, height, tile.size());
      joiner.add(tile, across);
    }
    joiner.end_strip();
  }
  return result;
}

}  // namespace dreamlab
