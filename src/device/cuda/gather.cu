// Kernels that move pixels and filters without changing them.
#include "device/cuda/elements.cuh"

namespace dreamlab::cuda {
namespace {

template <typename Unit>
__global__ void enlarge_kernel(const Unit* from, int64_t images, int64_t height, int64_t width, int64_t units,
                               int64_t to_height, int64_t to_width, Unit* to) {
  const int64_t count = images * to_height * to_width * units;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t unit = i % units, pixel = i / units;
    const int64_t x = pixel % to_width * width / to_width;
    const int64_t y = pixel / to_width % to_height * height / to_height;
    const int64_t image = pixel / to_width / to_height;
    to[i] = from[((image * height + y) * width + x) * units + unit];
  }
}

template <typename Unit>
__global__ void gather_kernel(GatherArgs args, int64_t units) {
  const auto* const image = static_cast<const Unit*>(args.image);
  const int64_t row_units = args.kernel * args.kernel * units;
  for (int64_t i = thread_index(); i < args.count * row_units; i += thread_count()) {
    const int64_t window = args.first + i / row_units, inside = i % row_units;
    const int64_t tap = inside / units, unit = inside % units;
    const int64_t y = window / args.out_width * args.stride - args.pad_before + tap / args.kernel;
    const int64_t x = window % args.out_width * args.stride - args.pad_before + tap % args.kernel;
    const bool outside = y < 0 || y >= args.height || x < 0 || x >= args.width;
    static_cast<Unit*>(args.result)[i] = outside ? Unit{} : image[(y * args.width + x) * units + unit];
  }
}

__global__ void reorder_kernel(Elements from, int64_t out, int64_t in, int64_t taps, int64_t padded_out,
                               MutableElements to) {
  for (int64_t i = thread_index(); i < padded_out * taps * in; i += thread_count()) {
    const int64_t c = i % in, tap = i / in % taps, o = i / in / taps;
    store_any(to, i, o < out ? load_any(from, (o * in + c) * taps + tap) : 0.0f);
  }
}

// The first row of filters meets the pixel before in even rows, alone, and together with the second in odd ones;
// likewise at the other end and for columns.
__device__ inline int first_of_sum(int64_t odd, int64_t tap) {
  return static_cast<int>(tap == 0 ? 0 : odd != 0 ? 2 : 1);
}
__device__ inline int end_of_sum(int64_t odd, int64_t tap) {
  return static_cast<int>(tap == 0 ? (odd != 0 ? 2 : 1) : 3);
}

__global__ void sum_filters_kernel(Elements from, int64_t out, int64_t in, MutableElements to) {
  for (int64_t i = thread_index(); i < 16 * out * in; i += thread_count()) {
    const int64_t c = i % in, tap = i / in % 4, o = i / in / 4 % out, phase = i / in / 4 / out;
    float sum = 0.0f;
    for (int y = first_of_sum(phase / 2, tap / 2); y < end_of_sum(phase / 2, tap / 2); ++y)
      for (int x = first_of_sum(phase % 2, tap % 2); x < end_of_sum(phase % 2, tap % 2); ++x)
        sum += load_any(from, (o * in + c) * 9 + y * 3 + x);
    store_any(to, i, sum);
  }
}

}  // namespace

void sum_filters(Elements from, int64_t out, int64_t in, MutableElements to, cudaStream_t stream) {
  sum_filters_kernel<<<blocks_for(16 * out * in), kThreads, 0, stream>>>(from, out, in, to);
}

void enlarge(const void* from, int64_t images, int64_t height, int64_t width, int64_t pixel_bytes, int64_t to_height,
             int64_t to_width, void* to, cudaStream_t stream) {
  const auto launch = [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t units = pixel_bytes / static_cast<int64_t>(sizeof(Unit));
    enlarge_kernel<<<blocks_for(images * to_height * to_width * units), kThreads, 0, stream>>>(
        static_cast<const Unit*>(from), images, height, width, units, to_height, to_width, static_cast<Unit*>(to));
  };
  if (pixel_bytes % 16 == 0)
    launch(uint4{});
  else
    launch(uint16_t{});
}

void gather_windows(const GatherArgs& args, cudaStream_t stream) {
  const auto launch = [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t units = args.channel_bytes / static_cast<int64_t>(sizeof(Unit));
    gather_kernel<Unit>
        <<<blocks_for(args.count * args.kernel * args.kernel * units), kThreads, 0, stream>>>(args, units);
  };
  if (args.channel_bytes % 16 == 0)
    launch(uint4{});
  else
    launch(uint16_t{});
}

void reorder_filters(Elements from, int64_t out, int64_t in, int64_t taps, int64_t padded_out, MutableElements to,
                     cudaStream_t stream) {
  reorder_kernel<<<blocks_for(padded_out * taps * in), kThreads, 0, stream>>>(from, out, in, taps, padded_out, to);
}

}  // namespace dreamlab::cuda
