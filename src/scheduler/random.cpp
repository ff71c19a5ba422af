#include "scheduler/random.h"

#include <random>

#include "base/error.h"
#include "scheduler/numpy_noise.h"
#include "scheduler/torch_cpu_noise.h"
#include "scheduler/torch_cuda_noise.h"

namespace dreamlab {

std::string_view name_of(NoiseKind kind) {
  switch (kind) {
    case NoiseKind::cuda:
      return "cuda";
    case NoiseKind::cpu:
      return "cpu";
    case NoiseKind::numpy:
      return "numpy";
  }
  return "";
}

NoiseKind noise_kind_from_name(std::string_view name) {
  for (const NoiseKind kind : {NoiseKind::cuda, NoiseKind::cpu, NoiseKind::numpy}) {
    if (name == name_of(kind)) return kind;
  }
  fail(ErrorKind::invalid_argument, "\"{}\" is no random number generator; there are cuda, cpu and numpy", name);
}

uint64_t random_seed() {
  constexpr uint64_t kLargest = 99'999'999;
  std::random_device device;
  return std::uniform_int_distribution<uint64_t>(0, kLargest)(device);
}

std::unique_ptr<NoiseSource> make_noise_source(NoiseKind kind, uint64_t seed, NoisePrecision precision) {
  if (kind == NoiseKind::numpy) return std::make_unique<NumpyNoise>(seed);
  if (kind == NoiseKind::cuda) return std::make_unique<TorchCudaNoise>(seed, precision);
  return std::make_unique<TorchCpuNoise>(seed, precision);
}

}  // namespace dreamlab
