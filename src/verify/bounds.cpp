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

// f32: two orders of summation of the same network differ by a few 1e-6 of its largest value (the records themselves
// differ by that from the same networks in f64), layers less. 1e-4 leaves room for Winograd convolutions, whose
// transforms lose about two digits' last bits. Guidance multiplies the difference of two predictions, and steps carry
// errors on: 1e-3.
//
// bf16 (8 bits of mantissa: each rounding is up to 2^-9 = 0.2 % of the value): weights and every stored activation are
// rounded. Independent roundings add like a random walk, so that one layer is off by less than 1 % of its largest value
// and a network of some fifty by a few per cent; errors of single elements reach several standard deviations of that. A
// sampler step with guidance g amplifies what differs between its two predictions up to g times, and the latents carry
// it on. A wrong layer, in contrast, is off by tens of per cent at once.
constexpr std::array<Bound, 10> kBounds = {{
    {BoundKind::exact, "exact", 0, 0},
    {BoundKind::random, "random", 2e-6, 2e-6},
    {BoundKind::random_f16, "random_f16", 1e-3, 1e-3},
    {BoundKind::embedding, "embedding", 2e-5, 2e-5},
    {BoundKind::schedule, "schedule", 2e-5, 2e-5},
    {BoundKind::layer, "layer", 2e-5, 2e-2},
    {BoundKind::network, "network", 1e-4, 5e-2},
    {BoundKind::trajectory, "trajectory", 1e-3, 1e-1},
    {BoundKind::image, "image", 1e-3, 1e-1},
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
  return dtype == DType::f32 ? PixelBound{1, 0.01} : PixelBound{32, 1.0};
}

}  // namespace dreamlab
