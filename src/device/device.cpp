#include "device/device.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/pixels.h"

namespace dreamlab {

Tensor Device::repeat(const std::string&, std::span<const Tensor> inputs, const Work& work) {
  return work(inputs);
}

std::vector<uint8_t> Device::download_pixels(const Tensor& tensor) {
  const std::vector<float> values = download(tensor);
  std::vector<uint8_t> pixels(values.size());
  std::transform(values.begin(), values.end(), pixels.begin(), to_pixel);
  return pixels;
}

std::unique_ptr<Device> Device::with_dtype(DType dtype) {
  fail(ErrorKind::unsupported, "{} has no second precision, {}", description(), name_of(dtype));
}

}  // namespace dreamlab
