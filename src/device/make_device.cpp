#include "device/make_device.h"

#include "base/error.h"
#include "device/reference/reference_device.h"

namespace dreamlab {
namespace {

// nullopt: "auto"
std::optional<DType> precision(const std::string& name) {
  if (name == "auto") return std::nullopt;
  if (name == "fp32") return DType::f32;
  if (name == "bf16") return DType::bf16;
  if (name == "fp16") return DType::f16;
  fail(ErrorKind::invalid_argument, "dtype {} is not one of auto, fp32, bf16, fp16", name);
}

std::unique_ptr<Device> make_gpu(const DeviceChoice& choice) {
  CudaOptions options = choice.cuda;
  if (choice.device != "cuda" && choice.device != "auto") options.device = parse_cuda_devices(choice.device).at(0);
  options.dtype = precision(choice.dtype).value_or(options.dtype);
  return make_cuda_device(options);
}

}  // namespace

std::unique_ptr<Device> make_device(const DeviceChoice& choice) {
  const std::optional<DType> dtype = precision(choice.dtype);
  if (choice.device == "cuda" || choice.device.starts_with("cuda:")) return make_gpu(choice);
  if (choice.device == "auto" && !why_no_cuda_device()) return make_gpu(choice);
  if (choice.device != "cpu" && choice.device != "auto" && choice.device != "reference")
    fail(ErrorKind::invalid_argument, "device {} is not one of auto, cpu, cuda, cuda:N, reference", choice.device);
  if (dtype == DType::f16) fail(ErrorKind::invalid_argument, "device {} does not compute in fp16", choice.device);
  if (choice.device != "reference") return make_cpu_device({choice.threads, dtype, choice.memory_limit});
  if (dtype == DType::bf16) fail(ErrorKind::invalid_argument, "device reference computes in fp32 only");
  return make_reference_device();
}

}  // namespace dreamlab
