#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace dreamlab {

// A stream of independent standard normal numbers. One object serves one request; it is not thread-safe.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;

  // Fills `out` as one torch.randn call of out.size() elements would, in row-major order of the tensor drawn (NCHW for
  // latents), and moves the stream on as that call would. How the numbers are split over calls matters: two draws of 8
  // are not one draw of 16.
  virtual void normals(std::span<float> out) = 0;
};

// Whose random numbers: those of PyTorch's CUDA generator (the same picture as diffusers on a GPU gives for a seed), of
// its CPU generator, or of NumPy's RandomState.
enum class NoiseKind { cuda, cpu, numpy };

// The type that torch.randn draws in; diffusers draws latents in the type the network runs in. The values come as f32
// either way.
enum class NoisePrecision { f32, f16 };

// "cuda", "cpu", "numpy"
std::string_view name_of(NoiseKind kind);
// Throws Error(invalid_argument) that lists the names.
NoiseKind noise_kind_from_name(std::string_view name);

// A seed for a request that has none: at random in 0..99,999,999, short enough to be read out and typed again.
uint64_t random_seed();

// A generator as after torch.Generator(kind).manual_seed(seed). The results are the same on every machine and compiler;
// they equal PyTorch's own to a few units in the last place (its vectorised logarithm and sine are not those of the C
// library).
std::unique_ptr<NoiseSource> make_noise_source(NoiseKind kind, uint64_t seed,
                                               NoisePrecision precision = NoisePrecision::f32);

}  // namespace dreamlab
