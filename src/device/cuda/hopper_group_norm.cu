#include <algorithm>
#include <numeric>

#include "device/cuda/elements.cuh"
#include "device/cuda/hopper.cuh"
#include "device/cuda/hopper_group_norm.h"

namespace dreamlab::cuda {
namespace {

constexpr int kNormThreads = 512, kWarps = kNormThreads / 32;
constexpr int kMostGroups = 4;     // of a unit
constexpr int kMostBlocks = 8;     // of a cluster: what every GPU of the kind can place
constexpr int kWantedBlocks = 96;  // of an image, to use most of the GPU
constexpr int64_t kSharedLimit = 220 << 10;

// A cluster normalizes a unit: as many groups as make whole vectors of channels. Its blocks share the rows.
struct Plan {
  int unit, groups;         // channels and groups of a unit
  int units, blocks, rows;  // units of an image, blocks of a cluster, rows of a block
  int64_t shared;
};

Plan plan_of(const NormArgs& args, int64_t groups) {
  const int64_t group_size = args.channels / groups, unit = std::lcm(group_size, int64_t{kVector});
  Plan plan{
      static_cast<int>(unit), static_cast<int>(unit / group_size), static_cast<int>(args.channels / unit), 1, 0, 0};
  const auto shared_for = [&](int blocks) { return (args.rows + blocks - 1) / blocks * unit * 2; };
  while (plan.blocks < kMostBlocks &&
         (plan.blocks * plan.units < kWantedBlocks || shared_for(plan.blocks) > kSharedLimit))
    plan.blocks *= 2;
  plan.rows = static_cast<int>((args.rows + plan.blocks - 1) / plan.blocks);
  plan.shared = shared_for(plan.blocks);
  return plan;
}

template <typename T, Activation kActivation>
__global__ void __launch_bounds__(kNormThreads)
    group_norm_kernel(const T* source, T* result, int rows, int channels, int group_size, Plan plan, const float* gamma,
                      const float* beta, float eps) {
  extern __shared__ uint4 held[];
  __shared__ float of_warps[kWarps][kMostGroups][2];
  __shared__ float of_block[kMostGroups][2];
  __shared__ float of_groups[kMostGroups][2];  // mean, 1 / deviation
  begin_kernel();

  const int rank = static_cast<int>(blockIdx.x) % plan.blocks, unit = static_cast<int>(blockIdx.x) / plan.blocks;
  const int64_t image = static_cast<int64_t>(blockIdx.y) * rows * channels;
  const int vectors = plan.unit / kVector;  // of a row
  // Threads keep to their column, so that there are whole rows of them.
  const int lanes = kNormThreads / vectors, column = static_cast<int>(threadIdx.x) % vectors;
  const int lane = static_cast<int>(threadIdx.x) / vectors;
  const int first_row = rank * plan.rows, own_rows = max(0, min(plan.rows, rows - first_row));
  const int first_channel = unit * plan.unit + column * kVector;
  const T* const from = source + image + static_cast<int64_t>(first_row) * channels + first_channel;

  // A vector's channels are of one group, or of two: the first `split` of the lower one. Differences to a group's first
  // value are summed: numbers far from zero keep their digits.
  const int low = column * kVector / group_size,
            high = min((column * kVector + kVector - 1) / group_size, plan.groups - 1);
  const int split = min(kVector, (low + 1) * group_size - column * kVector);
  const T* const first_values = source + image + static_cast<int64_t>(unit) * plan.unit;
  const float low_shift = to_float(first_values[low * group_size]),
              high_shift = to_float(first_values[high * group_size]);
  float low_sum = 0, low_square = 0, high_sum = 0, high_square = 0;
  if (lane < lanes) {
#pragma unroll 4
    for (int row = lane; row < own_rows; row += lanes) {
      const uint4 raw = *reinterpret_cast<const uint4*>(from + static_cast<int64_t>(row) * channels);
      held[row * vectors + column] = raw;
      float values[kVector];
      load_vector(reinterpret_cast<const T*>(&raw), values);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const bool is_low = i < split;
        const float difference = values[i] - (is_low ? low_shift : high_shift), square = difference * difference;
        low_sum += is_low ? difference : 0.0f;
        low_square += is_low ? square : 0.0f;
        high_sum += is_low ? 0.0f : difference;
        high_square += is_low ? 0.0f : square;
      }
    }
  }
  const int warp = static_cast<int>(threadIdx.x) / 32, in_warp = static_cast<int>(threadIdx.x) % 32;
  for (int group = 0; group < plan.groups; ++group) {
    float sum = (low == group ? low_sum : 0.0f) + (high == group && high != low ? high_sum : 0.0f);
    float square = (low == group ? low_square : 0.0f) + (high == group && high != low ? high_square : 0.0f);
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
      square += __shfl_xor_sync(0xffffffffu, square, offset);
    }
    if (in_warp == 0) {
      of_warps[warp][group][0] = sum;
      of_warps[warp][group][1] = square;
    }
  }
  __syncthreads();
  if (threadIdx.x < 2 * plan.groups) {
    float total = 0.0f;
    for (int w = 0; w < kWarps; ++w) total += of_warps[w][threadIdx.x / 2][threadIdx.x % 2];
    of_block[threadIdx.x / 2][threadIdx.x % 2] = total;
  }
  hopper::exchange_in_cluster();
  if (threadIdx.x < plan.groups) {
    float sum = 0.0f, square = 0.0f;
    for (int block = 0; block < plan.blocks; ++block) {
      sum += hopper::load_from(hopper::shared_address(&of_block[threadIdx.x][0]), static_cast<uint32_t>(block));
      square += hopper::load_from(hopper::shared_address(&of_block[threadIdx.x][1]), static_cast<uint32_t>(block));
    }
    const double count = static_cast<double>(rows) * group_size;
    const double offset = sum / count, variance = square / count - offset * offset;
    of_groups[threadIdx.x][0] = static_cast<float>(to_float(first_values[threadIdx.x * group_size]) + offset);
    of_groups[threadIdx.x][1] = static_cast<float>(1.0 / sqrt((variance > 0 ? variance : 0.0) + eps));
  }
  // Others may still read this block's sums until here.
  hopper::exchange_in_cluster();
  if (lane >= lanes) return;

  float factor[kVector], offset[kVector];
  load_vector(gamma + first_channel, factor);
  load_vector(beta + first_channel, offset);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const int group = i < split ? low : high;
    factor[i] *= of_groups[group][1];
    offset[i] -= of_groups[group][0] * factor[i];
  }
  T* const to = result + image + static_cast<int64_t>(first_row) * channels + first_channel;
#pragma unroll 4
  for (int row = lane; row < own_rows; row += lanes) {
    const uint4 raw = held[row * vectors + column];
    float values[kVector];
    load_vector(reinterpret_cast<const T*>(&raw), values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[i] = activated(values[i] * factor[i] + offset[i], kActivation);
    store_vector(to + static_cast<int64_t>(row) * channels, values);
  }
}

template <typename T>
void launch_group_norm(const NormArgs& args, int64_t groups, Activation activation, cudaStream_t stream) {
  const Plan plan = plan_of(args, groups);
  const bool silu = activation == Activation::silu;
  const auto kernel = silu ? group_norm_kernel<T, Activation::silu> : group_norm_kernel<T, Activation::none>;
  static hopper::DevicesSeen prepared[2];
  hopper::allow_shared(kernel, static_cast<int>(kSharedLimit), prepared[silu ? 1 : 0]);
  const dim3 blocks(static_cast<unsigned>(plan.units * plan.blocks), static_cast<unsigned>(args.images));
  hopper::launch(kernel, {blocks, kNormThreads, static_cast<int>(plan.shared), stream, plan.blocks},
                 "launching a group norm", static_cast<const T*>(args.source.data), static_cast<T*>(args.result.data),
                 static_cast<int>(args.rows), static_cast<int>(args.channels), static_cast<int>(args.channels / groups),
                 plan, args.gamma, args.beta, args.eps);
}

}  // namespace

bool hopper_supports_group_norm(const NormArgs& args, int64_t groups) {
  const int64_t group_size = args.channels / groups;
  if (args.result.dtype == DType::f32 || args.channels % kVector != 0 || (group_size != 4 && group_size < kVector))
    return false;
  const Plan plan = plan_of(args, groups);
  return args.channels % plan.unit == 0 && plan.groups <= kMostGroups && plan.unit / kVector <= 64 &&
         plan.shared <= kSharedLimit;
}

void hopper_group_norm(const NormArgs& args, int64_t groups, Activation activation, cudaStream_t stream) {
  if (args.result.dtype == DType::bf16)
    launch_group_norm<__nv_bfloat16>(args, groups, activation, stream);
  else
    launch_group_norm<__half>(args, groups, activation, stream);
}

}  // namespace dreamlab::cuda
