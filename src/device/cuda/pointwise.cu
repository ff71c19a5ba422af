// Kernels that touch each element once.
#include "device/cuda/elements.cuh"

namespace dreamlab::cuda {
namespace {

__global__ void convert_rows_kernel(Elements from, int64_t row_stride, int64_t rows, int64_t channels,
                                    MutableElements to) {
  begin_kernel();
  const int64_t count = rows * channels;
  for (int64_t i = thread_index(); i < count; i += thread_count())
    store_any(to, i, load_any(from, i / channels * row_stride + i % channels));
}

__global__ void finish_kernel(FinishArgs args) {
  begin_kernel();
  const int64_t count = args.rows * args.channels;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t row = i / args.channels, channel = i % args.channels;
    float value = load_any(args.product, row * args.product_stride + channel);
    if (args.bias.data != nullptr) value += load_any(args.bias, channel);
    value *= args.scale;
    if (args.addend.data != nullptr) value += load_any(args.addend, i);
    if (args.image_bias.data != nullptr)
      value += load_any(args.image_bias, row / args.rows_per_image * args.channels + channel);
    value = activated(value, args.activation);
    if (args.residual.data != nullptr) value += load_any(args.residual, i);
    store_any(args.result, i, value);
  }
}

// The same for tensors of one type whose rows are dense and whole vectors.
template <typename T>
__global__ void finish_vectors_kernel(FinishArgs args) {
  begin_kernel();
  const int64_t count = args.rows * args.channels / kVector;
  for (int64_t v = thread_index(); v < count; v += thread_count()) {
    const int64_t i = v * kVector, row = i / args.channels, channel = i % args.channels;
    float value[kVector], other[kVector];
    load_vector(static_cast<const T*>(args.product.data) + i, value);
    if (args.bias.data != nullptr) {
      load_vector(static_cast<const T*>(args.bias.data) + channel, other);
#pragma unroll
      for (int j = 0; j < kVector; ++j) value[j] += other[j];
    }
#pragma unroll
    for (int j = 0; j < kVector; ++j) value[j] *= args.scale;
    if (args.addend.data != nullptr) {
      load_vector(static_cast<const T*>(args.addend.data) + i, other);
#pragma unroll
      for (int j = 0; j < kVector; ++j) value[j] += other[j];
    }
    if (args.image_bias.data != nullptr) {
      load_vector(static_cast<const T*>(args.image_bias.data) + row / args.rows_per_image * args.channels + channel,
                  other);
#pragma unroll
      for (int j = 0; j < kVector; ++j) value[j] += other[j];
    }
#pragma unroll
    for (int j = 0; j < kVector; ++j) value[j] = activated(value[j], args.activation);
    if (args.residual.data != nullptr) {
      load_vector(static_cast<const T*>(args.residual.data) + i, other);
#pragma unroll
      for (int j = 0; j < kVector; ++j) value[j] += other[j];
    }
    store_vector(static_cast<T*>(args.result.data) + i, value);
  }
}

bool fits(const Elements& elements, DType dtype) {
  return elements.data == nullptr || elements.dtype == dtype;
}

template <typename T>
__global__ void geglu_vectors_kernel(const T* product, int64_t rows, int64_t inner, T* result) {
  begin_kernel();
  const int64_t count = rows * inner / kVector;
  for (int64_t v = thread_index(); v < count; v += thread_count()) {
    const int64_t i = v * kVector, row = i / inner, column = i % inner;
    const T* const h_at = product + row * 2 * inner + column;
    float h[kVector], g[kVector];
    load_vector(h_at, h);
    load_vector(h_at + inner, g);
#pragma unroll
    for (int j = 0; j < kVector; ++j) h[j] *= activated(g[j], Activation::gelu);
    store_vector(result + i, h);
  }
}

__global__ void geglu_kernel(Elements product, int64_t rows, int64_t inner, MutableElements result) {
  begin_kernel();
  for (int64_t i = thread_index(); i < rows * inner; i += thread_count()) {
    const int64_t at = i / inner * 2 * inner + i % inner;
    store_any(result, i, load_any(product, at) * activated(load_any(product, at + inner), Activation::gelu));
  }
}

template <typename Unit>
__global__ void concat_kernel(const Unit* a, int64_t a_units, const Unit* b, int64_t b_units, int64_t rows, Unit* to) {
  begin_kernel();
  const int64_t width = a_units + b_units;
  for (int64_t i = thread_index(); i < rows * width; i += thread_count()) {
    const int64_t row = i / width, column = i % width;
    to[i] = column < a_units ? a[row * a_units + column] : b[row * b_units + column - a_units];
  }
}

template <typename T>
__global__ void add_vectors_kernel(const T* a, const T* b, float scale, int64_t vectors, T* to) {
  begin_kernel();
  for (int64_t v = thread_index(); v < vectors; v += thread_count()) {
    float x[kVector], y[kVector];
    load_vector(a + v * kVector, x);
    load_vector(b + v * kVector, y);
#pragma unroll
    for (int j = 0; j < kVector; ++j) x[j] += scale * y[j];
    store_vector(to + v * kVector, x);
  }
}

__global__ void add_kernel(Elements a, Elements b, float scale, int64_t first, int64_t count, MutableElements to) {
  begin_kernel();
  for (int64_t i = first + thread_index(); i < count; i += thread_count())
    store_any(to, i, load_any(a, i) + scale * load_any(b, i));
}

__global__ void activate_kernel(Elements from, Activation activation, int64_t count, MutableElements to) {
  begin_kernel();
  for (int64_t i = thread_index(); i < count; i += thread_count())
    store_any(to, i, activated(load_any(from, i), activation));
}

__global__ void embed_kernel(const int32_t* ids, int64_t count, int64_t tokens, int64_t channels, Elements table,
                             Elements positions, MutableElements to) {
  begin_kernel();
  for (int64_t i = thread_index(); i < count * channels; i += thread_count()) {
    const int64_t token = i / channels, channel = i % channels;
    store_any(
        to, i,
        load_any(table, ids[token] * channels + channel) + load_any(positions, token % tokens * channels + channel));
  }
}

// As to_pixel (tensor/pixels.h). __f*_rn: not to be joined to one operation, which would round otherwise.
__global__ void to_pixels_kernel(Elements values, int64_t count, uint8_t* to, unsigned* not_finite) {
  begin_kernel();
  unsigned found = 0;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const float value = load_any(values, i);
    if (!isfinite(value)) ++found;
    const float unit = __fadd_rn(__fmul_rn(value, 0.5f), 0.5f);
    const float clamped = unit > 0.0f ? fminf(unit, 1.0f) : 0.0f;
    to[i] = static_cast<uint8_t>(rintf(__fmul_rn(clamped, 255.0f)));
  }
  if (found != 0) atomicAdd(not_finite, found);
}

__global__ void stall_kernel() {
  constexpr unsigned kNanoseconds = 500, kTimes = 100;
  for (unsigned i = 0; i < kTimes; ++i) __nanosleep(kNanoseconds);
}

template <typename Unit>
void concat_units(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes, int64_t rows, void* to,
                  cudaStream_t stream) {
  constexpr int64_t kUnit = sizeof(Unit);
  launch(concat_kernel<Unit>, dim3(blocks_for(rows * (a_bytes + b_bytes) / kUnit)), kThreads, 0, stream,
         static_cast<const Unit*>(a), a_bytes / kUnit, static_cast<const Unit*>(b), b_bytes / kUnit, rows,
         static_cast<Unit*>(to));
}

}  // namespace

void convert_rows(Elements from, int64_t row_stride, int64_t rows, int64_t channels, MutableElements to,
                  cudaStream_t stream) {
  convert_rows_kernel<<<blocks_for(rows * channels), kThreads, 0, stream>>>(from, row_stride, rows, channels, to);
}

void finish(const FinishArgs& args, cudaStream_t stream) {
  const DType dtype = args.result.dtype;
  const bool vectors = args.channels % kVector == 0 && args.product_stride == args.channels &&
                       args.product.dtype == dtype && fits(args.bias, dtype) && fits(args.addend, dtype) &&
                       fits(args.image_bias, dtype) && fits(args.residual, dtype);
  if (!vectors) {
    launch(finish_kernel, dim3(blocks_for(args.rows * args.channels)), kThreads, 0, stream, args);
    return;
  }
  with_type(dtype, [&](auto type) {
    launch(finish_vectors_kernel<decltype(type)>, dim3(blocks_for(args.rows * args.channels / kVector)), kThreads, 0,
           stream, args);
  });
}

void geglu(Elements product, int64_t rows, int64_t inner, MutableElements result, cudaStream_t stream) {
  if (inner % kVector != 0 || product.dtype != result.dtype) {
    geglu_kernel<<<blocks_for(rows * inner), kThreads, 0, stream>>>(product, rows, inner, result);
    return;
  }
  with_type(result.dtype, [&](auto type) {
    using T = decltype(type);
    geglu_vectors_kernel<<<blocks_for(rows * inner / kVector), kThreads, 0, stream>>>(
        static_cast<const T*>(product.data), rows, inner, static_cast<T*>(result.data));
  });
}

void concat_rows(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes, int64_t rows, void* to,
                 cudaStream_t stream) {
  if (a_bytes % 16 == 0 && b_bytes % 16 == 0)
    concat_units<uint4>(a, a_bytes, b, b_bytes, rows, to, stream);
  else
    concat_units<uint16_t>(a, a_bytes, b, b_bytes, rows, to, stream);
}

void add_scaled(Elements a, Elements b, float scale, int64_t count, MutableElements to, cudaStream_t stream) {
  int64_t first = 0;
  if (a.dtype == b.dtype && a.dtype == to.dtype && count >= kVector) {
    with_type(to.dtype, [&](auto type) {
      using T = decltype(type);
      add_vectors_kernel<<<blocks_for(count / kVector), kThreads, 0, stream>>>(
          static_cast<const T*>(a.data), static_cast<const T*>(b.data), scale, count / kVector,
          static_cast<T*>(to.data));
    });
    first = count / kVector * kVector;
  }
  if (first < count) add_kernel<<<blocks_for(count - first), kThreads, 0, stream>>>(a, b, scale, first, count, to);
}

void activate(Elements from, Activation activation, int64_t count, MutableElements to, cudaStream_t stream) {
  launch(activate_kernel, dim3(blocks_for(count)), kThreads, 0, stream, from, activation, count, to);
}

void embed_tokens(const int32_t* ids, int64_t count, int64_t tokens, int64_t channels, Elements table,
                  Elements positions, MutableElements to, cudaStream_t stream) {
  embed_kernel<<<blocks_for(count * channels), kThreads, 0, stream>>>(ids, count, tokens, channels, table, positions,
                                                                      to);
}

void stall(cudaStream_t stream) {
  stall_kernel<<<1, 1, 0, stream>>>();
}

void to_pixels(Elements values, int64_t count, uint8_t* to, unsigned* not_finite, cudaStream_t stream) {
  to_pixels_kernel<<<blocks_for(count, 4 * kThreads), kThreads, 0, stream>>>(values, count, to, not_finite);
}

}  // namespace dreamlab::cuda
