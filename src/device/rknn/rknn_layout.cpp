#include "device/rknn/rknn_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/dtype.h"

namespace dreamlab::rknn {
namespace {

// A picture's sides in the order in which its memory has them.
struct Layout {
  int64_t images = 1, height = 1, width = 1, channels = 1;
  int64_t row_pixels = 1;  // from a row to the next, channels last
  bool channels_first = false;
};

Layout layout_of(const TensorAttributes& attributes) {
  Layout layout;
  if (attributes.dim_count != 4) {
    layout.width = layout.row_pixels = attributes.elements;
    return layout;
  }
  const uint32_t* const dims = attributes.dims;
  layout.images = dims[0];
  layout.channels_first = attributes.format == TensorFormat::nchw;
  layout.channels = dims[layout.channels_first ? 1 : 3];
  layout.height = dims[layout.channels_first ? 2 : 1];
  layout.width = layout.row_pixels = dims[layout.channels_first ? 3 : 2];
  if (!layout.channels_first && attributes.width_stride > 0) layout.row_pixels = attributes.width_stride;
  return layout;
}

// Where in the port's memory the element is that stands at (image, y, x, channel).
int64_t place_of(const Layout& layout, int64_t image, int64_t y, int64_t x, int64_t channel) {
  if (layout.channels_first) return ((image * layout.channels + channel) * layout.height + y) * layout.width + x;
  return ((image * layout.height + y) * layout.row_pixels + x) * layout.channels + channel;
}

// visit(element of the values, element of the memory)
template <typename Visit>
void for_each_element(const TensorAttributes& attributes, const Visit& visit) {
  const Layout layout = layout_of(attributes);
  int64_t at = 0;
  for (int64_t image = 0; image < layout.images; ++image)
    for (int64_t y = 0; y < layout.height; ++y)
      for (int64_t x = 0; x < layout.width; ++x)
        for (int64_t c = 0; c < layout.channels; ++c) visit(at++, place_of(layout, image, y, x, c));
}

template <typename T>
T rounded(float value) {
  using Limits = std::numeric_limits<T>;
  const double whole = std::nearbyint(static_cast<double>(value));
  return static_cast<T>(std::clamp(whole, static_cast<double>(Limits::min()), static_cast<double>(Limits::max())));
}

// f(T{}) with the C++ type of a tensor's elements.
template <typename Function>
void with_type(TensorType type, const Function& function) {
  switch (type) {
    case TensorType::f32:
      return function(float{});
    case TensorType::f16:
      return function(Float16{});
    case TensorType::i8:
      return function(int8_t{});
    case TensorType::u8:
      return function(uint8_t{});
    case TensorType::i16:
      return function(int16_t{});
    case TensorType::u16:
      return function(uint16_t{});
    case TensorType::i32:
      return function(int32_t{});
    case TensorType::u32:
      return function(uint32_t{});
    case TensorType::i64:
      return function(int64_t{});
  }
  fail(ErrorKind::unsupported, "elements of the NPU's type {} are not known here", static_cast<int>(type));
}

template <typename T>
T element_of(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else if constexpr (std::is_same_v<T, Float16>)
    return Float16::from_float(value);
  else
    return rounded<T>(value);
}

}  // namespace

size_t size_of(TensorType type) {
  size_t size = 0;
  with_type(type, [&](auto element) { size = sizeof(element); });
  return size;
}

size_t memory_size(const TensorAttributes& attributes) {
  const Layout layout = layout_of(attributes);
  const auto needed = static_cast<size_t>(layout.images * layout.height * layout.row_pixels * layout.channels) *
                      size_of(attributes.type);
  return std::max<size_t>(needed, attributes.size_with_stride);
}

void write_values(const TensorAttributes& attributes, std::span<const float> values, void* bytes) {
  if (values.size() != attributes.elements)
    fail(ErrorKind::internal, "{} values for the NPU's input {} of {}", values.size(), attributes.name,
         attributes.elements);
  with_type(attributes.type, [&](auto element) {
    using T = decltype(element);
    auto* const to = static_cast<T*>(bytes);
    for_each_element(
        attributes, [&](int64_t from, int64_t place) { to[place] = element_of<T>(values[static_cast<size_t>(from)]); });
  });
}

std::vector<float> read_values(const TensorAttributes& attributes, const void* bytes) {
  std::vector<float> values(attributes.elements);
  with_type(attributes.type, [&](auto element) {
    const auto* const from = static_cast<const decltype(element)*>(bytes);
    for_each_element(attributes, [&](int64_t to, int64_t place) {
      values[static_cast<size_t>(to)] = static_cast<float>(from[place]);
    });
  });
  return values;
}

}  // namespace dreamlab::rknn
