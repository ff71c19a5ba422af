// In place of Hopper's kernels where the library is built for other architectures.
#ifndef DREAMLAB_HOPPER

#include "base/error.h"
#include "device/cuda/hopper_attention.h"
#include "device/cuda/hopper_group_norm.h"
#include "device/cuda/hopper_product.h"

namespace dreamlab::cuda {

bool has_hopper_kernels() {
  return false;
}
bool hopper_supports(const HopperProduct&) {
  return false;
}
bool hopper_supports(const HopperAttention&) {
  return false;
}
bool hopper_supports_group_norm(const NormArgs&, int64_t) {
  return false;
}
HopperTiling hopper_tiling(const HopperProduct&, int) {
  return {};
}
void hopper_multiply(const HopperProduct&, const HopperTiling&, int, cudaStream_t) {
  fail(ErrorKind::internal, "built without Hopper's kernels");
}
void hopper_attend(const HopperAttention&, cudaStream_t) {
  fail(ErrorKind::internal, "built without Hopper's kernels");
}
void hopper_group_norm(const NormArgs&, int64_t, Activation, cudaStream_t) {
  fail(ErrorKind::internal, "built without Hopper's kernels");
}

}  // namespace dreamlab::cuda

#endif
