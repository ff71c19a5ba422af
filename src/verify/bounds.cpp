#include "verify/bounds.h"

#include <array>

#include "base/error.h"

namespace dreamlab {
namespace {

struct Bound {
  BoundKind kind;
  std::string_view name;
  double f32, half;
};

// f32. Two orders of summation of the same network differ by 3e-6 to 6e-6 of its largest value (the records differ by
// as much from the same networks in f64), single layers by less; 1e-4 leaves room for wider networks and for Winograd
// convolutions, whose transforms cost about one decimal digit. Guidance multiplies the difference of two predictions,
// and steps carry errors on: 1e-3. Sinusoids: the phase, up to 1000 and (guidance) 15,000 radians, is an f32 product,
// whose last bit shows in the result. Timesteps that a sampler interpolates are rounded to f32. A fingerprint is
// rounded to f16 (2^-11).
//
// bf16. Weights and every stored activation are rounded to 8 bits of mantissa, each time by up to 2^-9 = 0.2 % of the
// value. Independent roundings add like a random walk: one layer is off by 0.4 to 0.9 % of its largest value (measured,
// over all layers of the golden models), whole networks by 1 to 3.5 %. Several steps with guidance g multiply what
// differs between two predictions by up to g and carry it on: up to 4 % of the latents and 7 % of predictions and
// pictures. The bounds are about twice that. A wrong layer, in contrast, is off by tens of per cent at once. Host
// arithmetic is f32 in either case.
constexpr std::array<Bound, 12> kBounds = {{
    {BoundKind::exact, "exact", 0, 0},
    {BoundKind::random, "random", 2e-6, 2e-6},
    {BoundKind::random_f16, "random_f16", 1e-3, 1e-3},
    {BoundKind::timestep, "timestep", 1e-6, 1e-6},
    {BoundKind::embedding, "embedding", 1e-4, 1e-4},
    {BoundKind::guidance_embedding, "guidance_embedding", 2e-3, 2e-3},
    {BoundKind::schedule, "schedule", 2e-5, 2e-5},
    {BoundKind::layer, "layer", 5e-5, 2e-2},
    {BoundKind::network, "network", 1e-4, 6e-2},
    {BoundKind::trajectory, "trajectory", 1e-3, 1.5e-1},
    {BoundKind::image, "image", 1e-3, 1.5e-1},
    {BoundKind::fingerprint, "fingerprint", 2e-3, 1e-1},
}};

const Bound& find(BoundKind kind) {
  for (const Bound& bound : kBounds) {
    if (bound.kind == kind) return bound;
  }
  fail(ErrorKind::internal, "no bound of this kind");
}

}  // namespace

std::string_view name_of(BoundKind kind) {
  return find(kind).name;
}

double bound_of(BoundKind kind, DType dtype) {
  return dtype == DType::f32 ? find(kind).f32 : find(kind).half;
}

// A value next to a rounding edge falls to the other side for any difference at all; that happens to about (difference
// x 255) of the values.
PixelBound pixel_bound(DType dtype) {
  return dtype == DType::f32 ? PixelBound{1, 0.01} : PixelBound{48, 1.0};
}

}  // namespace dreamlab
