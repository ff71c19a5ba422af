#include "verify/device_layout.h"

#include "base/error.h"

namespace dreamlab {
namespace {

// From [N, outer, inner] to [N, inner, outer].
std::vector<float> swapped(std::span<const float> values, int64_t images, int64_t outer, int64_t inner) {
  std::vector<float> result(values.size());
  for (int64_t n = 0; n < images; ++n) {
    const float* from = values.data() + n * outer * inner;
    float* to = result.data() + n * outer * inner;
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) to[j * outer + i] = from[i * inner + j];
    }
  }
  return result;
}

}  // namespace

std::vector<float> channels_last(std::span<const float> values, const Shape& nchw) {
  return swapped(values, nchw[0], nchw[1], nchw[2] * nchw[3]);
}

std::vector<float> channels_first(std::span<const float> values, const Shape& nhwc) {
  return swapped(values, nhwc[0], nhwc[1] * nhwc[2], nhwc[3]);
}

Tensor upload_image(Device& device, const RecordFile& record, std::string_view tensor) {
  const Shape shape = record.tensor(tensor).shape;
  if (shape.rank() != 4) fail(ErrorKind::invalid_file, "{} is {}, not [N, C, H, W]", tensor, shape.to_string());
  return device.upload(channels_last(record.floats(tensor), shape), {shape[0], shape[2], shape[3], shape[1]});
}

Tensor upload(Device& device, const RecordFile& record, std::string_view tensor) {
  return device.upload(record.floats(tensor), record.tensor(tensor).shape);
}

std::vector<float> download_channels_first(Device& device, const Tensor& tensor) {
  const std::vector<float> values = device.download(tensor);
  return tensor.shape().rank() == 4 ? channels_first(values, tensor.shape()) : values;
}

}  // namespace dreamlab
