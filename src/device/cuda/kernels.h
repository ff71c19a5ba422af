#pragma once

// The launchers of this backend's own kernels: what cuBLASLt and cuDNN lack. All of them only enqueue work on a stream,
// so that they can be captured; all sums run in an order that depends on the shape of one image alone.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "device/activation.h"
#include "tensor/dtype.h"

namespace dreamlab::cuda {

// Elements of f32, f16 or bf16 in device memory.
struct Elements {
  const void* data = nullptr;
  DType dtype = DType::f32;
};
struct MutableElements {
  void* data = nullptr;
  DType dtype = DType::f32;
};

// [rows, channels] with row_stride elements from one row to the next, to the dense rows of `to`.
void convert_rows(Elements from, int64_t row_stride, int64_t rows, int64_t channels, MutableElements to,
                  cudaStream_t stream);

// What follows a product:  activation(scale * (x + bias) + addend + image_bias) + residual. `result` may be `x`.
struct FinishArgs {
  int64_t rows = 0, channels = 0;
  int64_t rows_per_image = 1;
  int64_t product_stride = 0;  // elements from one row of the product to the next, >= channels
  Elements product;
  Elements bias;  // [channels]
  float scale = 1.0f;
  Elements addend, image_bias, residual;  // like the bias, none where data is null
  Activation activation = Activation::none;
  MutableElements result;
};
void finish(const FinishArgs& args, cudaStream_t stream);

// result[row, i] = h * gelu(g) for products [row][h of `inner`, g of `inner`] that have their bias already.
void geglu(Elements product, int64_t rows, int64_t inner, MutableElements result, cudaStream_t stream);

struct NormArgs {
  int64_t images = 1, rows = 0, channels = 0;  // [images, rows, channels]
  Elements source;
  MutableElements result;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float eps = 1e-5f;
};
// f32 numbers of scratch memory that group_norm needs.
int64_t group_norm_scratch(const NormArgs& args, int64_t groups);
// counters: one zero per image, which it leaves zero. activation: none or silu.
void group_norm(const NormArgs& args, int64_t groups, Activation activation, float* scratch, unsigned* counters,
                cudaStream_t stream);
void layer_norm(const NormArgs& args, cudaStream_t stream);

// to[row] = [a[row], b[row]], in bytes.
void concat_rows(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes, int64_t rows, void* to,
                 cudaStream_t stream);
// to = a + scale * b
void add_scaled(Elements a, Elements b, float scale, int64_t count, MutableElements to, cudaStream_t stream);
void activate(Elements from, Activation activation, int64_t count, MutableElements to, cudaStream_t stream);
// to [tokens of all images, channels] = table[ids[i]] + positions[i % tokens]
void embed_tokens(const int32_t* ids, int64_t count, int64_t tokens, int64_t channels, Elements table,
                  Elements positions, MutableElements to, cudaStream_t stream);

// Nearest neighbor: [images, height, width, pixel] to [images, to_height, to_width, pixel]; pixel in bytes.
void enlarge(const void* from, int64_t images, int64_t height, int64_t width, int64_t pixel_bytes, int64_t to_height,
             int64_t to_width, void* to, cudaStream_t stream);

// Pixels gathered for a convolution as a product: rows [first, first + count) of an image's windows, each
// [kernel, kernel, channels].
struct GatherArgs {
  const void* image = nullptr;
  int64_t height = 0, width = 0, channel_bytes = 0;
  int64_t kernel = 1, stride = 1, pad_before = 0;
  int64_t out_width = 0;
  int64_t first = 0, count = 0;
  void* result = nullptr;
};
void gather_windows(const GatherArgs& args, cudaStream_t stream);

// Filters [out, in, taps] of any floating-point dtype to [padded out, taps, in]; rows from `out` on are zero.
void reorder_filters(Elements from, int64_t out, int64_t in, int64_t taps, int64_t padded_out, MutableElements to,
                     cudaStream_t stream);

// Filters [out, in, 3, 3] of any floating-point dtype to those of an enlarged picture's four kinds of pixels,
// [2 of rows, 2 of columns, out, 2, 2, in]: where neighbors show the same pixel, their factors are summed.
void sum_filters(Elements from, int64_t out, int64_t in, MutableElements to, cudaStream_t stream);

// Rows of `keys` scores, times `scale`, to probabilities; `stride` elements from one row to the next in both. causal:
// row r sees keys 0..first_row + r.
void softmax_rows(const float* scores, int64_t rows, int64_t keys, int64_t stride, float scale, bool causal,
                  int64_t first_row, MutableElements to, cudaStream_t stream);

// Keeps the GPU waiting for some 50 microseconds.
void stall(cudaStream_t stream);

// Bytes by to_pixel. Adds the number of values that are not finite to *not_finite (device memory).
void to_pixels(Elements values, int64_t count, uint8_t* to, unsigned* not_finite, cudaStream_t stream);

}  // namespace dreamlab::cuda
