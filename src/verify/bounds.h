#pragma once

#include <string_view>

#include "tensor/dtype.h"

namespace dreamlab {

// What kind of number a record holds; decides how far from it we may be. bounds.cpp gives each its reason.
enum class BoundKind {
  exact,               // ids, masks, size conditions: every bit
  random,              // random normals
  random_f16,          // random normals drawn in f16
  timestep,            // timesteps; some samplers interpolate them
  embedding,           // sinusoids of timesteps
  guidance_embedding,  // sinusoids of guidance scales
  schedule,     // noise schedules and sampler trajectories: f32 arithmetic on the host, whatever the device's dtype
  layer,        // one layer or block
  network,      // one pass through a whole network
  trajectory,   // latents and predictions after several steps of a sampler
  image,        // a picture decoded from such latents
  fingerprint,  // such latents, averaged and rounded to f16
};
std::string_view name_of(BoundKind kind);

// Largest allowed error of a tensor computed in `dtype` (f32, bf16 or f16), relative to the largest magnitude of the
// expected tensor.
double bound_of(BoundKind kind, DType dtype);

// Pictures of 8 bits a channel: `largest` is the most that a value may be off by, `share` how many of all values may be
// off.
struct PixelBound {
  int largest;
  double share;
};
PixelBound pixel_bound(DType dtype);

}  // namespace dreamlab
