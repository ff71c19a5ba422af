#pragma once

// Loads and stores that convert to and from f32, one element or eight (16 bytes of a 2-byte type) at a time.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "device/cuda/kernels.h"

namespace dreamlab::cuda {

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

constexpr int kVector = 8;

template <typename T>
struct alignas(sizeof(T) * kVector < 16 ? sizeof(T) * kVector : 16) Packed {
  T values[kVector];
};

template <typename T>
__device__ inline void load_vector(const T* from, float (&to)[kVector]) {
  const Packed<T> packed = *reinterpret_cast<const Packed<T>*>(from);
#pragma unroll
  for (int i = 0; i < kVector; ++i) to[i] = to_float(packed.values[i]);
}
template <typename T>
__device__ inline void store_vector(T* to, const float (&from)[kVector]) {
  Packed<T> packed;
#pragma unroll
  for (int i = 0; i < kVector; ++i) packed.values[i] = from_float<T>(from[i]);
  *reinterpret_cast<Packed<T>*>(to) = packed;
}

// One element of a dtype known at run time only; for what is not worth a kernel for each dtype.
__device__ inline float load_any(const Elements& from, int64_t i) {
  switch (from.dtype) {
    case DType::f16:
      return to_float(static_cast<const __half*>(from.data)[i]);
    case DType::bf16:
      return to_float(static_cast<const __nv_bfloat16*>(from.data)[i]);
    case DType::f64:
      return static_cast<float>(static_cast<const double*>(from.data)[i]);
    default:
      return static_cast<const float*>(from.data)[i];
  }
}
__device__ inline void store_any(const MutableElements& to, int64_t i, float value) {
  switch (to.dtype) {
    case DType::f16:
      static_cast<__half*>(to.data)[i] = from_float<__half>(value);
      break;
    case DType::bf16:
      static_cast<__nv_bfloat16*>(to.data)[i] = from_float<__nv_bfloat16>(value);
      break;
    default:
      static_cast<float*>(to.data)[i] = value;
  }
}

constexpr float kLeakySlope = 0.2f;

__device__ inline float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::silu:
      return __fdividef(x, 1.0f + __expf(-x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::quick_gelu:
      return x / (1.0f + __expf(-1.702f * x));
    case Activation::relu:
      return fmaxf(x, 0.0f);
    case Activation::leaky_relu:
      return x >= 0.0f ? x : kLeakySlope * x;
    case Activation::tanh:
      return tanhf(x);
    case Activation::sigmoid:
      return 1.0f / (1.0f + __expf(-x));
  }
  return x;
}

// Calls f(T{}) for the type that a dtype stands for.
template <typename F>
void with_type(DType dtype, F&& f) {
  if (dtype == DType::f16)
    f(__half{});
  else if (dtype == DType::bf16)
    f(__nv_bfloat16{});
  else
    f(float{});
}

constexpr int kThreads = 256;

// A kernel may be launched while the one before it ends, where the GPU can do so (since Hopper): it waits here, before
// it touches memory, and lets the next one come.
__device__ inline void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}

// Launches a kernel that calls begin_kernel().
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, int threads, size_t shared, cudaStream_t stream,
            Arguments... arguments) {
  int device = 0, major = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaLaunchAttribute ahead{};
  ahead.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  ahead.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &ahead;
  config.numAttrs = major >= 9 ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);  // check_launch() sees errors
}

inline unsigned blocks_for(int64_t items, int64_t per_block = kThreads) {
  constexpr int64_t kMost = 1 << 20;  // kernels stride over what is left
  const int64_t blocks = (items + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > kMost ? kMost : blocks);
}

__device__ inline int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t thread_count() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace dreamlab::cuda
