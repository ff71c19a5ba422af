#pragma once

// Matrix products and convolutions on Hopper's tensor cores (compute capability 9.0), with all that follows them in the
// same kernel. An element's sum runs over its window in one order whatever the tile that holds it, and in parts only
// where an image by itself makes few tiles: it does not depend on the number of images.
#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/activation.h"
#include "tensor/dtype.h"

namespace dreamlab::cuda {

// result = activation(scale * (x * w + bias) + addend + image_bias) + residual, or with `geglu` h * gelu(g), where x is
// [images, height, width, in_channels] and * is a convolution: of a product of rows, one by one pixel. Tensors are f16
// or bf16, all alike.
struct HopperProduct {
  DType dtype = DType::f16;
  int64_t images = 1, height = 1, width = 1, in_channels = 0;
  int64_t x_stride = 0;  // elements from one pixel to the next
  int64_t out_channels = 0;
  int kernel = 1, stride = 1, pad_before = 0;
  int64_t out_height = 1, out_width = 1;
  // x enlarged to twice its sides, and convolved with a kernel of three: kernel is 2 and w holds the sums of the
  // filters' rows and columns that meet the same pixel, for each of the four kinds of results
  // ([4, out_channels, 2, 2, in_channels], by row, then column).
  bool enlarged = false;
  bool geglu = false;  // w's rows are eight of h, eight of g, and so on; the result has half as many channels

  const void* x = nullptr;
  const void* w = nullptr;     // [out_channels, kernel, kernel, in_channels]
  const void* bias = nullptr;  // [out_channels]; this and what follows: null for none
  float scale = 1.0f;
  const void* addend = nullptr;      // as result
  const void* image_bias = nullptr;  // [images, out_channels]
  int64_t rows_per_image = 0;        // of results that share an image bias
  Activation activation = Activation::none;
  const void* residual = nullptr;  // as result
  void* result = nullptr;
  // Whether the kernel may begin, and fetch weights, while the one before it ends.
  bool ahead = true;
};

// How the result is cut: tiles of 128 pixels by `columns` channels, a block each, in clusters of rows x columns of
// tiles that share loads; or, where there are few tiles, `splits` blocks that share a tile's channels and window.
struct HopperTiling {
  int columns = 128;
  int cluster_rows = 1, cluster_columns = 1;
  int splits = 1;
  bool in_turn = false;  // a block's two halves work on a tile each, in turn, rather than both on each
};

// Whether the library was built with these kernels.
bool has_hopper_kernels();
// Whether the kernel takes it: channels and strides in whole vectors, addresses at multiples of 16.
bool hopper_supports(const HopperProduct& product);
HopperTiling hopper_tiling(const HopperProduct& product, int multiprocessors);
void hopper_multiply(const HopperProduct& product, const HopperTiling& tiling, int multiprocessors,
                     cudaStream_t stream);

}  // namespace dreamlab::cuda
