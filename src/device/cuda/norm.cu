// Normalization and softmax. Sums are f32, in an order that only the shape of one image decides.
#include <algorithm>

#include "device/cuda/elements.cuh"

namespace dreamlab::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kSoftmaxThreads = 512;
constexpr int64_t kMostChunks = 264;      // of an image's pixels, each summed by a block of its own
constexpr int64_t kChunkElements = 8192;  // a block should have at least so much to do

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// What `combine` makes of the warps' values, in their order, for every thread of the block. shared: one float per warp.
template <typename Combine>
__device__ inline float combine_warps(float of_warp, float* shared, Combine combine) {
  const int warps = (blockDim.x + kWarp - 1) / kWarp;
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = of_warp;
  __syncthreads();
  float result = shared[0];
  for (int i = 1; i < warps; ++i) result = combine(result, shared[i]);
  return result;
}
__device__ inline float block_sum(float value, float* shared) {
  return combine_warps(warp_sum(value), shared, [](float a, float b) { return a + b; });
}
__device__ inline float block_max(float value, float* shared) {
  return combine_warps(warp_max(value), shared, [](float a, float b) { return fmaxf(a, b); });
}

struct GroupNormShape {
  int64_t rows, channels, groups, group_size, chunks, rows_per_chunk;
};

GroupNormShape group_norm_shape(const NormArgs& args, int64_t groups) {
  const int64_t wanted = std::max<int64_t>(1, args.rows * args.channels / kChunkElements);
  const int64_t chunks = std::min({wanted, kMostChunks, args.rows});
  const int64_t rows_per_chunk = (args.rows + chunks - 1) / chunks;
  return {
      args.rows,     args.channels, groups, args.channels / groups, (args.rows + rows_per_chunk - 1) / rows_per_chunk,
      rows_per_chunk};
}

// Scratch memory: partial sums [images][chunks][groups][2], then mean and 1 / deviation [images][groups][2].
__host__ __device__ inline int64_t partial_count(const GroupNormShape& shape) {
  return shape.chunks * shape.groups * 2;
}

// Sums of a chunk of an image's rows by group, of the differences to the group's first value: numbers far from zero
// keep their digits. The last block of an image combines all chunks.
// Threads are `columns` vectors of W channels wide; shared: blockDim.x / columns * channels * 2 floats.
template <typename T, int W>
__global__ void group_statistics_kernel(const T* source, GroupNormShape shape, float eps, float* scratch,
                                        unsigned* counters) {
  extern __shared__ float shared[];
  __shared__ bool last;
  begin_kernel();
  const int64_t image = blockIdx.y, chunk = blockIdx.x, images = gridDim.y;
  const T* const pixels = source + image * shape.rows * shape.channels;
  const int columns = static_cast<int>(shape.channels / W), lanes = blockDim.x / columns;
  const int column = threadIdx.x % columns, lane = threadIdx.x / columns;
  float* const partial = scratch + image * partial_count(shape);
  const int64_t begin = chunk * shape.rows_per_chunk, end = min(begin + shape.rows_per_chunk, shape.rows);

  if (lane < lanes) {
    float shift[W], sums[W] = {}, squares[W] = {};
#pragma unroll
    for (int i = 0; i < W; ++i) shift[i] = to_float(pixels[(column * W + i) / shape.group_size * shape.group_size]);
    for (int64_t row = begin + lane; row < end; row += lanes) {
      const T* const at = pixels + row * shape.channels + column * W;
      float values[W];
      if constexpr (W == kVector) {
        load_vector(at, values);
      } else {
#pragma unroll
        for (int i = 0; i < W; ++i) values[i] = to_float(at[i]);
      }
#pragma unroll
      for (int i = 0; i < W; ++i) {
        const float difference = values[i] - shift[i];
        sums[i] += difference;
        squares[i] += difference * difference;
      }
    }
#pragma unroll
    for (int i = 0; i < W; ++i) {
      shared[lane * shape.channels + column * W + i] = sums[i];
      shared[(lanes + lane) * shape.channels + column * W + i] = squares[i];
    }
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < shape.groups * 2; i += blockDim.x) {
    const int64_t group = i / 2, which = i % 2;
    float total = 0.0f;
    for (int l = 0; l < lanes; ++l)
      for (int64_t c = group * shape.group_size; c < (group + 1) * shape.group_size; ++c)
        total += shared[(which * lanes + l) * shape.channels + c];
    partial[(chunk * shape.groups + group) * 2 + which] = total;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(counters + image, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();  // what the other blocks wrote

  float* const statistics = scratch + images * partial_count(shape) + image * shape.groups * 2;
  const double count = static_cast<double>(shape.rows) * static_cast<double>(shape.group_size);
  // Each number's chunks are summed by several threads, whose sums are then added in their order.
  const int numbers = static_cast<int>(shape.groups * 2), parts = max(1, static_cast<int>(blockDim.x) / numbers);
  for (int i = threadIdx.x; i < numbers * parts; i += blockDim.x) {
    const int number = i % numbers, part = i / numbers;
    float total = 0.0f;
#pragma unroll 8
    for (int64_t c = part; c < shape.chunks; c += parts) total += __ldcg(partial + c * numbers + number);
    shared[part * numbers + number] = total;
  }
  __syncthreads();
  for (int group = threadIdx.x; group < shape.groups; group += blockDim.x) {
    float sum = 0.0f, square = 0.0f;
    for (int part = 0; part < parts; ++part) {
      sum += shared[part * numbers + group * 2];
      square += shared[part * numbers + group * 2 + 1];
    }
    const double offset = sum / count, variance = square / count - offset * offset;
    statistics[group * 2] = static_cast<float>(to_float(pixels[group * shape.group_size]) + offset);
    statistics[group * 2 + 1] = static_cast<float>(1.0 / sqrt((variance > 0 ? variance : 0.0) + eps));
  }
  if (threadIdx.x == 0) counters[image] = 0;
}

// Each thread keeps the factors of its channels and walks down the rows.
template <typename T, int W, Activation kActivation>
__global__ void group_apply_kernel(const T* source, T* result, GroupNormShape shape, const float* gamma,
                                   const float* beta, const float* statistics) {
  const int columns = static_cast<int>(shape.channels / W), lanes = blockDim.x / columns;
  const int column = threadIdx.x % columns, lane = threadIdx.x / columns;
  begin_kernel();
  if (lane >= lanes) return;
  const int64_t image = blockIdx.y, first = image * shape.rows * shape.channels;
  float factor[W], offset[W];
#pragma unroll
  for (int i = 0; i < W; ++i) {
    const int64_t channel = column * W + i, group = channel / shape.group_size;
    const float* const of_group = statistics + (image * shape.groups + group) * 2;
    factor[i] = of_group[1] * gamma[channel];
    offset[i] = beta[channel] - of_group[0] * factor[i];
  }
  const int64_t stride = static_cast<int64_t>(gridDim.x) * lanes;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * lanes + lane; row < shape.rows; row += stride) {
    const int64_t at = first + row * shape.channels + column * W;
    float values[W];
    if constexpr (W == kVector) {
      load_vector(source + at, values);
    } else {
#pragma unroll
      for (int i = 0; i < W; ++i) values[i] = to_float(source[at + i]);
    }
#pragma unroll
    for (int i = 0; i < W; ++i) values[i] = activated(values[i] * factor[i] + offset[i], kActivation);
    if constexpr (W == kVector) {
      store_vector(result + at, values);
    } else {
#pragma unroll
      for (int i = 0; i < W; ++i) result[at + i] = from_float<T>(values[i]);
    }
  }
}

template <typename T, int W>
void launch_group_norm(const NormArgs& args, const GroupNormShape& shape, Activation activation, float* scratch,
                       unsigned* counters, cudaStream_t stream) {
  const auto columns = static_cast<int>(shape.channels / W);
  // A block has whole rows of threads, and whole warps of them.
  const int lanes = std::max(1, kThreads / columns);
  const int threads = (lanes * columns + kWarp - 1) / kWarp * kWarp;
  const auto images = static_cast<unsigned>(args.images);
  const auto lanes_there = static_cast<size_t>(threads / columns);
  const size_t numbers = static_cast<size_t>(shape.groups) * 2,
               parts = std::max<size_t>(1, static_cast<size_t>(threads) / numbers);
  const size_t shared =
      std::max(lanes_there * static_cast<size_t>(shape.channels) * 2, numbers * parts) * sizeof(float);
  const auto* const source = static_cast<const T*>(args.source.data);
  launch(group_statistics_kernel<T, W>, dim3(static_cast<unsigned>(shape.chunks), images), threads, shared, stream,
         source, shape, args.eps, scratch, counters);
  const int64_t rows_per_block = static_cast<int64_t>(lanes_there) * 4;
  const auto blocks =
      static_cast<unsigned>(std::min<int64_t>((shape.rows + rows_per_block - 1) / rows_per_block, 4096));
  const auto apply = activation == Activation::silu ? group_apply_kernel<T, W, Activation::silu>
                                                    : group_apply_kernel<T, W, Activation::none>;
  launch(apply, dim3(blocks, images), threads, 0, stream, source, static_cast<T*>(args.result.data), shape, args.gamma,
         args.beta, scratch + args.images * partial_count(shape));
}

// One block of threads for a row of any length.
template <typename T>
__global__ void layer_norm_kernel(const T* source, T* result, int64_t channels, const float* gamma, const float* beta,
                                  float eps) {
  __shared__ float shared[kThreads / kWarp];
  begin_kernel();
  const T* const from = source + blockIdx.x * channels;
  T* const to = result + blockIdx.x * channels;
  float sum = 0.0f;
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) sum += to_float(from[c]);
  const float mean = block_sum(sum, shared) / static_cast<float>(channels);
  float squares = 0.0f;
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    const float difference = to_float(from[c]) - mean;
    squares += difference * difference;
  }
  const float inverse = rsqrtf(block_sum(squares, shared) / static_cast<float>(channels) + eps);
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x)
    to[c] = from_float<T>((to_float(from[c]) - mean) * inverse * gamma[c] + beta[c]);
}

// A warp for a row that is whole vectors, at most kVectors of them for a thread: the row stays in registers.
template <typename T, int kVectors>
__global__ void layer_norm_warp_kernel(const T* source, T* result, int64_t rows, int64_t channels, const float* gamma,
                                       const float* beta, float eps) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  // The factors depend on no kernel before this one.
  float factor[kVectors][kVector], offset[kVectors][kVector];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t c = (v * kWarp + lane) * kVector;
    if (c >= channels) continue;
    load_vector(gamma + c, factor[v]);
    load_vector(beta + c, offset[v]);
  }
  begin_kernel();
  if (row >= rows) return;
  const T* const from = source + row * channels;
  float values[kVectors][kVector];
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t c = (v * kWarp + lane) * kVector;
    if (c >= channels) continue;
    load_vector(from + c, values[v]);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum += values[v][i];
  }
  const float mean = warp_sum(sum) / static_cast<float>(channels);
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if ((v * kWarp + lane) * kVector >= channels) continue;
#pragma unroll
    for (int i = 0; i < kVector; ++i) squares += (values[v][i] - mean) * (values[v][i] - mean);
  }
  const float inverse = rsqrtf(warp_sum(squares) / static_cast<float>(channels) + eps);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t c = (v * kWarp + lane) * kVector;
    if (c >= channels) continue;
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[v][i] = (values[v][i] - mean) * inverse * factor[v][i] + offset[v][i];
    store_vector(result + row * channels + c, values[v]);
  }
}

template <typename T>
__global__ void softmax_kernel(const float* scores, int64_t keys, int64_t stride, float scale, bool causal,
                               int64_t first_row, T* to) {
  __shared__ float shared[kThreads / kWarp];
  const float* const row = scores + blockIdx.x * stride;
  const int64_t seen = causal ? min(keys, first_row + blockIdx.x + 1) : keys;
  float largest = -INFINITY;
  for (int64_t i = threadIdx.x; i < seen; i += blockDim.x) largest = fmaxf(largest, row[i]);
  largest = block_max(largest, shared);
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < seen; i += blockDim.x) sum += expf(scale * (row[i] - largest));
  const float inverse = 1.0f / block_sum(sum, shared);
  for (int64_t i = threadIdx.x; i < keys; i += blockDim.x)
    to[blockIdx.x * stride + i] = from_float<T>(i < seen ? expf(scale * (row[i] - largest)) * inverse : 0.0f);
}

// A row that stays in registers, four neighboring scores at a time: read once.
template <typename T, int kQuads>
__global__ void softmax_registers_kernel(const float* scores, int64_t keys, int64_t stride, float scale, T* to) {
  __shared__ float shared[kSoftmaxThreads / kWarp];
  const auto* const row = reinterpret_cast<const float4*>(scores + blockIdx.x * stride);
  float values[kQuads][4];
  float largest = -INFINITY;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t at = static_cast<int64_t>(q) * blockDim.x + threadIdx.x;
    const float4 four = at * 4 < keys ? row[at] : float4{-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    values[q][0] = four.x;
    values[q][1] = four.y;
    values[q][2] = four.z;
    values[q][3] = four.w;
    largest = fmaxf(largest, fmaxf(fmaxf(four.x, four.y), fmaxf(four.z, four.w)));
  }
  largest = block_max(largest, shared);
  float sum = 0.0f;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[q][i] = expf(scale * (values[q][i] - largest));
      sum += values[q][i];
    }
  }
  const float inverse = 1.0f / block_sum(sum, shared);
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t at = static_cast<int64_t>(q) * blockDim.x + threadIdx.x;
    if (at * 4 >= keys) continue;
    alignas(16) T four[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = from_float<T>(values[q][i] * inverse);
    if constexpr (sizeof(T) == 2)
      *reinterpret_cast<uint2*>(to + blockIdx.x * stride + at * 4) = *reinterpret_cast<const uint2*>(four);
    else
      *reinterpret_cast<uint4*>(to + blockIdx.x * stride + at * 4) = *reinterpret_cast<const uint4*>(four);
  }
}

}  // namespace

int64_t group_norm_scratch(const NormArgs& args, int64_t groups) {
  const GroupNormShape shape = group_norm_shape(args, groups);
  return args.images * (partial_count(shape) + groups * 2);
}

void group_norm(const NormArgs& args, int64_t groups, Activation activation, float* scratch, unsigned* counters,
                cudaStream_t stream) {
  const GroupNormShape shape = group_norm_shape(args, groups);
  with_type(args.result.dtype, [&](auto type) {
    using T = decltype(type);
    if (shape.channels % kVector == 0)
      launch_group_norm<T, kVector>(args, shape, activation, scratch, counters, stream);
    else
      launch_group_norm<T, 1>(args, shape, activation, scratch, counters, stream);
  });
}

void layer_norm(const NormArgs& args, cudaStream_t stream) {
  const int64_t rows = args.images * args.rows;
  with_type(args.result.dtype, [&](auto type) {
    using T = decltype(type);
    const auto* const from = static_cast<const T*>(args.source.data);
    auto* const to = static_cast<T*>(args.result.data);
    constexpr int kRows = 4;  // of a block: one for each of its warps
    const auto blocks = static_cast<unsigned>((rows + kRows - 1) / kRows);
    const auto by_warps = [&](auto vectors) {
      launch(layer_norm_warp_kernel<T, decltype(vectors)::value>, dim3(blocks), kRows * kWarp, 0, stream, from, to,
             rows, args.channels, args.gamma, args.beta, args.eps);
    };
    const bool whole = args.channels % kVector == 0;
    if (whole && args.channels <= 3 * kWarp * kVector)
      by_warps(std::integral_constant<int, 3>{});
    else if (whole && args.channels <= 5 * kWarp * kVector)
      by_warps(std::integral_constant<int, 5>{});
    else if (whole && args.channels <= 8 * kWarp * kVector)
      by_warps(std::integral_constant<int, 8>{});
    else
      launch(layer_norm_kernel<T>, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, from, to, args.channels,
             args.gamma, args.beta, args.eps);
  });
}

void softmax_rows(const float* scores, int64_t rows, int64_t keys, int64_t stride, float scale, bool causal,
                  int64_t first_row, MutableElements to, cudaStream_t stream) {
  with_type(to.dtype, [&](auto type) {
    using T = decltype(type);
    // Rows are at multiples of eight elements.
    const auto by_registers = [&](auto quads) {
      softmax_registers_kernel<T, decltype(quads)::value><<<static_cast<unsigned>(rows), kSoftmaxThreads, 0, stream>>>(
          scores, keys, stride, scale, static_cast<T*>(to.data));
    };
    if (!causal && keys % 4 == 0 && stride % 4 == 0 && keys <= 2 * 4 * kSoftmaxThreads)
      return by_registers(std::integral_constant<int, 2>{});
    if (!causal && keys % 4 == 0 && stride % 4 == 0 && keys <= 8 * 4 * kSoftmaxThreads)
      return by_registers(std::integral_constant<int, 8>{});
    softmax_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(scores, keys, stride, scale, causal, first_row,
                                                                         static_cast<T*>(to.data));
  });
}

}  // namespace dreamlab::cuda
