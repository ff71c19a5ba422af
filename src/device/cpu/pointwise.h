#pragma once

// Normalization and everything that touches each element once.
#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernel_types.h"

namespace dreamlab::cpu {

struct NormArgs {
  int64_t images = 1, rows = 0, channels = 0;  // [images, rows, channels]
  Elements source;
  MutableElements result;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float eps = 1e-5f;
};

// Statistics per image and group of channels, over rows that are first gathered in chunks of a fixed size and then
// combined in order (Chan, Golub and LeVeque 1979), so that neither threads nor the batch change a bit.
void group_norm(const NormArgs& args, int64_t groups, Activation activation, ThreadPool& threads);
void layer_norm(const NormArgs& args, ThreadPool& threads);

// result[row][channel] = epilogue(product[row][channel]) for a block of a product whose first element is at (first_row,
// first_channel) of a result of `channels` columns, in image `image`.
void finish_block(const float* product, int64_t product_stride, int64_t rows, int64_t columns,
                  const EpilogueArgs& epilogue, int64_t image, int64_t first_row, int64_t first_channel,
                  int64_t channels, MutableElements result);
// result = h * gelu(g), for products [row][h of `columns`, then g of `columns`]; bias and addend are in the order [all
// h, all g].
void finish_geglu_block(const float* product, int64_t rows, int64_t columns, const float* bias, Elements addend,
                        int64_t first_row, int64_t first_channel, int64_t channels, MutableElements result);

void convert(Elements from, MutableElements to, int64_t count);
// to = a + scale * b
void add_scaled(Elements a, Elements b, float scale, MutableElements to, int64_t count);
void activate(Elements from, Activation activation, MutableElements to, int64_t count);

// "AVX-512", "AVX2", "scalar": what the kernels run on here.
const char* instruction_set();

}  // namespace dreamlab::cpu
