// The same kernel for bf16, in a source of its own because it takes long to compile.
#include "device/cuda/hopper_product.cuh"

namespace dreamlab::cuda::hopper {

void multiply_bf16(const HopperProduct& product, const HopperTiling& tiling, int multiprocessors, cudaStream_t stream) {
  multiply<__nv_bfloat16>(product, tiling, multiprocessors, stream);
}

}  // namespace dreamlab::cuda::hopper
