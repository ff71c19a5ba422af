#include "device/make_device.h"

#include "base/error.h"
#include "device/reference/reference_device.h"

namespace dreamlab {

std::unique_ptr<Device> make_device(const std::string& device, const std::string& dtype, int threads) {
  CpuOptions options;
  options.threads = threads;
  if (dtype == "fp32")
    options.dtype = DType::f32;
  else if (dtype == "bf16")
    options.dtype = DType::bf16;
  else if (dtype != "auto")
    fail(ErrorKind::invalid_argument, "dtype {} is not one of auto, fp32, bf16", dtype);
  if (device == "cpu") return make_cpu_device(options);
  if (device != "reference") fail(ErrorKind::invalid_argument, "device {} is not one of cpu, reference", device);
  if (options.dtype == DType::bf16) fail(ErrorKind::invalid_argument, "device reference computes in fp32 only");
  return make_reference_device();
}

}  // namespace dreamlab
