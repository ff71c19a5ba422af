#include "device/device.h"

#include "base/error.h"

namespace dreamlab {

Tensor Device::repeat(const std::string&, std::span<const Tensor> inputs, const Work& work) {
  return work(inputs);
}

std::unique_ptr<Device> Device::with_dtype(DType dtype) {
  fail(ErrorKind::unsupported, "{} has no second precision, {}", description(), name_of(dtype));
}

}  // namespace dreamlab
