#pragma once

// Attention on Hopper's tensor cores (compute capability 9.0): softmax(q k^T / sqrt(head size)) v in one pass over the
// keys, scores in registers (Dao et al. 2022, Shah et al. 2024). A result depends on its own image alone.
#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace dreamlab::cuda {

// Tensors are [images, tokens, heads, head_size] of f16 or bf16, with strides in elements from one token to the next;
// the result is dense.
struct HopperAttention {
  DType dtype = DType::f16;
  int64_t images = 1, heads = 1, head_size = 64, queries = 0, keys = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  bool causal = false;
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* result = nullptr;
};

// Whether the kernel takes it: heads of 40, 64, 80 or 160, tokens and addresses at multiples of 16 bytes.
bool hopper_supports(const HopperAttention& attention);
void hopper_attend(const HopperAttention& attention, cudaStream_t stream);

}  // namespace dreamlab::cuda
