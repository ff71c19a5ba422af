#pragma once

// 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): 36 products where direct convolution takes 144 (Lavin and
// Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). In f32 it outruns even direct convolution in bf16,
// and is more exact. Interpolation points 0, +-5/8, +-3/2 and infinity instead of the paper's 0, +-1, +-2: they keep
// the rounding error small (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for
// Deep Neural Networks", 2020).
#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernel_types.h"
#include "device/cpu/weight_arena.h"
#include "device/memory_pool.h"
#include "tensor/host_tensor.h"

namespace dreamlab::cpu {

// Filters as [out / panel][in][9][panel], panel being the columns that the processor's kernel takes at a time. The
// transformed filters are four times as large and are made anew in each call, which costs a few percent and saves
// gigabytes.
struct WinogradFilters {
  std::shared_ptr<void> memory;
  DType dtype = DType::f32;  // f32, or bf16 to halve them
  int64_t in_channels = 0, out_channels = 0;
};

// Columns per panel on this processor.
int64_t winograd_panel();

// weight: [out, in, 3, 3], floating point.
WinogradFilters pack_winograd(const HostTensor& weight, DType dtype, ThreadPool& threads, WeightArena& arena);

struct WinogradArgs {
  int64_t images = 1;
  Elements source;  // [images, source_height, source_width, in]
  int64_t source_height = 0, source_width = 0;
  int64_t height = 0,
          width = 0;  // what the convolution sees; where that is not the source's size, nearest neighbor enlarges it
  MutableElements result;  // [images, out_height, out_width, out]
  int64_t out_height = 0, out_width = 0;
  int64_t pad_before = 1;  // zeros above and to the left
  EpilogueArgs epilogue;
};

void winograd_convolution(const WinogradArgs& args, const WinogradFilters& filters, ThreadPool& threads,
                          MemoryPool& pool);

}  // namespace dreamlab::cpu
