#include "device/cpu/pointwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/pointwise.cpp"
#include <hwy/foreach_target.h>

#include "device/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {

// Rows per chunk of a group norm's statistics: some tens of KiB, which the second pass over them finds in the
// first-level cache.
int64_t chunk_rows(int64_t channels) {
  return std::max<int64_t>(1, 8192 / channels);
}

// Sums of (x - center)^power over `rows` rows of `count` channels; power 2 where there is a center. Two chains, since
// one would wait for its own additions.
template <typename Load>
VF32 column_sum(int64_t rows, bool squares, VF32 center, const Load& load_row) {
  const auto term = [&](int64_t row) {
    const VF32 x = hn::Sub(load_row(row), center);
    return squares ? hn::Mul(x, x) : x;
  };
  VF32 even = hn::Zero(F32()), odd = hn::Zero(F32());
  int64_t r = 0;
  for (; r + 1 < rows; r += 2) {
    even = hn::Add(even, term(r));
    odd = hn::Add(odd, term(r + 1));
  }
  if (r < rows) even = hn::Add(even, term(r));
  return hn::Add(even, odd);
}

// The same for all channels; center is [channels] or null for plain sums.
void channel_sums(const NormArgs& args, int64_t first_row, int64_t rows, const float* center, float* sums) {
  with_types(args.source, args.result, [&](const auto* source, auto*) {
    source += first_row * args.channels;
    int64_t c = 0;
    for (; c + kLanes <= args.channels; c += kLanes)
      store_lanes(column_sum(rows, center != nullptr, center != nullptr ? load_lanes(center + c) : hn::Zero(F32()),
                             [&](int64_t row) { return load_lanes(source + row * args.channels + c); }),
                  sums + c);
    if (c < args.channels) {
      const int64_t count = args.channels - c;
      store_some(
          column_sum(rows, center != nullptr,
                     center != nullptr ? load_some({center, DType::f32}, c, count) : hn::Zero(F32()),
                     [&](int64_t row) { return load_some(args.source, (first_row + row) * args.channels + c, count); }),
          {sums, DType::f32}, c, count);
    }
  });
}

// Mean and sum of squared deviations of each group in a chunk.
struct Moments {
  double mean, deviation;
};

void chunk_moments(const NormArgs& args, int64_t groups, int64_t first_row, int64_t rows, Moments* out) {
  const int64_t width = args.channels / groups;
  std::vector<float> sums(static_cast<size_t>(args.channels)), means(static_cast<size_t>(args.channels));
  channel_sums(args, first_row, rows, nullptr, sums.data());
  for (int64_t g = 0; g < groups; ++g) {
    double sum = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += sums[static_cast<size_t>(c)];
    out[g].mean = static_cast<double>(static_cast<float>(sum / static_cast<double>(rows * width)));
    for (int64_t c = g * width; c < (g + 1) * width; ++c)
      means[static_cast<size_t>(c)] = static_cast<float>(out[g].mean);
  }
  channel_sums(args, first_row, rows, means.data(), sums.data());
  for (int64_t g = 0; g < groups; ++g) {
    double squares = 0;
    for (int64_t c = g * width; c < (g + 1) * width; ++c) squares += sums[static_cast<size_t>(c)];
    out[g].deviation = squares;
  }
}

// result = function(source * factor + offset) over one row of channels.
template <typename Function>
void transform_row(const NormArgs& args, int64_t begin, const float* factor, const float* offset,
                   const Function& function) {
  with_types(args.source, args.result, [&](const auto* source, auto* result) {
    int64_t c = 0;
    for (; c + kLanes <= args.channels; c += kLanes)
      store_lanes(function(hn::MulAdd(load_lanes(source + begin + c), load_lanes(factor + c), load_lanes(offset + c))),
                  result + begin + c);
    if (c < args.channels) {
      const int64_t count = args.channels - c;
      const VF32 x = hn::MulAdd(load_some(args.source, begin + c, count), load_some({factor, DType::f32}, c, count),
                                load_some({offset, DType::f32}, c, count));
      store_some(function(x), args.result, begin + c, count);
    }
  });
}

void run_group_norm(const NormArgs& args, int64_t groups, Activation activation, ThreadPool& threads) {
  const int64_t per_chunk = chunk_rows(args.channels), chunks = (args.rows + per_chunk - 1) / per_chunk;
  const int64_t width = args.channels / groups;
  std::vector<Moments> moments(static_cast<size_t>(args.images * chunks * groups));
  threads.parallel_for(args.images * chunks, [&](int64_t index, int) {
    const int64_t first = index % chunks * per_chunk;
    chunk_moments(args, groups, index / chunks * args.rows + first, std::min(per_chunk, args.rows - first),
                  moments.data() + index * groups);
  });

  std::vector<float> factors(static_cast<size_t>(args.images * args.channels)), offsets(factors.size());
  for (int64_t image = 0; image < args.images; ++image) {
    for (int64_t g = 0; g < groups; ++g) {
      double count = 0, mean = 0, deviation = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const Moments& m = moments[static_cast<size_t>((image * chunks + chunk) * groups + g)];
        const auto n = static_cast<double>(std::min(per_chunk, args.rows - chunk * per_chunk) * width);
        const double delta = m.mean - mean, total = count + n;
        deviation += m.deviation + delta * delta * count * n / total;
        mean += delta * n / total;
        count = total;
      }
      const double inverse = 1.0 / std::sqrt(deviation / count + static_cast<double>(args.eps));
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        const double factor = inverse * static_cast<double>(args.gamma[c]);
        factors[static_cast<size_t>(image * args.channels + c)] = static_cast<float>(factor);
        offsets[static_cast<size_t>(image * args.channels + c)] =
            static_cast<float>(static_cast<double>(args.beta[c]) - mean * factor);
      }
    }
  }

  threads.parallel_for(args.images * chunks, [&](int64_t index, int) {
    const int64_t image = index / chunks, first = index % chunks * per_chunk;
    const float* const factor = factors.data() + image * args.channels;
    const float* const offset = offsets.data() + image * args.channels;
    for (int64_t r = first; r < std::min(args.rows, first + per_chunk); ++r) {
      const int64_t row = (image * args.rows + r) * args.channels;
      transform_row(args, row, factor, offset, [&](VF32 x) { return activate(x, activation); });
    }
  });
}

void normalize_row(const NormArgs& args, int64_t row) {
  const int64_t begin = row * args.channels;
  VF32 sum = hn::Zero(F32());
  for (int64_t c = 0; c < args.channels; c += kLanes)
    sum = hn::Add(sum, load_some(args.source, begin + c, std::min<int64_t>(kLanes, args.channels - c)));
  const VF32 mean = hn::Mul(hn::SumOfLanes(F32(), sum), splat(1.0f / static_cast<float>(args.channels)));
  VF32 squares = hn::Zero(F32());
  for (int64_t c = 0; c < args.channels; c += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, args.channels - c);
    VF32 x = hn::Sub(load_some(args.source, begin + c, count), mean);
    if (count < kLanes) x = hn::IfThenElseZero(hn::FirstN(F32(), static_cast<size_t>(count)), x);
    squares = hn::MulAdd(x, x, squares);
  }
  const float variance = hn::GetLane(hn::SumOfLanes(F32(), squares)) / static_cast<float>(args.channels);
  const VF32 inverse = splat(1.0f / std::sqrt(variance + args.eps));
  for (int64_t c = 0; c < args.channels; c += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, args.channels - c);
    const VF32 x = hn::Mul(hn::Sub(load_some(args.source, begin + c, count), mean), inverse);
    store_some(
        hn::MulAdd(x, load_some({args.gamma, DType::f32}, c, count), load_some({args.beta, DType::f32}, c, count)),
        args.result, begin + c, count);
  }
}

void run_layer_norm(const NormArgs& args, ThreadPool& threads) {
  const int64_t rows = args.images * args.rows, per_task = chunk_rows(args.channels);
  threads.parallel_for((rows + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t row = task * per_task; row < std::min(rows, (task + 1) * per_task); ++row) normalize_row(args, row);
  });
}

void run_finish_block(const float* product, int64_t product_stride, int64_t rows, int64_t columns,
                      const EpilogueArgs& epilogue, int64_t image, int64_t first_row, int64_t first_channel,
                      int64_t channels, MutableElements result) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, columns - c);
      const VF32 x = load_some({product, DType::f32}, r * product_stride + c, count);
      store_some(finish(x, epilogue, image, first_row + r, channels, first_channel + c, count), result,
                 (first_row + r) * channels + first_channel + c, count);
    }
  }
}

void run_finish_geglu_block(const float* product, int64_t rows, int64_t columns, const float* bias, Elements addend,
                            int64_t first_row, int64_t first_channel, int64_t channels, MutableElements result) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, columns - c), channel = first_channel + c;
      VF32 parts[2];
      for (int64_t part = 0; part < 2; ++part) {
        parts[part] = load_some({product, DType::f32}, (2 * r + part) * columns + c, count);
        if (bias != nullptr)
          parts[part] = hn::Add(parts[part], load_some({bias, DType::f32}, part * channels + channel, count));
        if (addend)
          parts[part] =
              hn::Add(parts[part], load_some(addend, (2 * (first_row + r) + part) * channels + channel, count));
      }
      store_some(hn::Mul(parts[0], gelu(parts[1])), result, (first_row + r) * channels + channel, count);
    }
  }
}

template <typename Function>
void for_each_vector(int64_t count, const Function& function) {
  for (int64_t i = 0; i < count; i += kLanes) function(i, std::min<int64_t>(kLanes, count - i));
}

void run_convert(Elements from, MutableElements to, int64_t count) {
  for_each_vector(count, [&](int64_t i, int64_t n) { store_some(load_some(from, i, n), to, i, n); });
}

void run_add_scaled(Elements a, Elements b, float scale, MutableElements to, int64_t count) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    store_some(hn::MulAdd(load_some(b, i, n), splat(scale), load_some(a, i, n)), to, i, n);
  });
}

void run_activate(Elements from, Activation activation, MutableElements to, int64_t count) {
  for_each_vector(count,
                  [&](int64_t i, int64_t n) { store_some(activate(load_some(from, i, n), activation), to, i, n); });
}

const char* target_name() {
  return kLanes == 16 ? "AVX-512" : kLanes == 8 ? "AVX2" : kLanes == 4 ? "128-bit SIMD" : "scalar";
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab::cpu {

HWY_EXPORT(run_group_norm);
HWY_EXPORT(run_layer_norm);
HWY_EXPORT(run_finish_block);
HWY_EXPORT(run_finish_geglu_block);
HWY_EXPORT(run_convert);
HWY_EXPORT(run_add_scaled);
HWY_EXPORT(run_activate);
HWY_EXPORT(target_name);

void group_norm(const NormArgs& args, int64_t groups, Activation activation, ThreadPool& threads) {
  HWY_DYNAMIC_DISPATCH(run_group_norm)(args, groups, activation, threads);
}
void layer_norm(const NormArgs& args, ThreadPool& threads) {
  HWY_DYNAMIC_DISPATCH(run_layer_norm)(args, threads);
}
void finish_block(const float* product, int64_t product_stride, int64_t rows, int64_t columns,
                  const EpilogueArgs& epilogue, int64_t image, int64_t first_row, int64_t first_channel,
                  int64_t channels, MutableElements result) {
  HWY_DYNAMIC_DISPATCH(run_finish_block)
  (product, product_stride, rows, columns, epilogue, image, first_row, first_channel, channels, result);
}
void finish_geglu_block(const float* product, int64_t rows, int64_t columns, const float* bias, Elements addend,
                        int64_t first_row, int64_t first_channel, int64_t channels, MutableElements result) {
  HWY_DYNAMIC_DISPATCH(run_finish_geglu_block)
  (product, rows, columns, bias, addend, first_row, first_channel, channels, result);
}
void convert(Elements from, MutableElements to, int64_t count) {
  HWY_DYNAMIC_DISPATCH(run_convert)(from, to, count);
}
void add_scaled(Elements a, Elements b, float scale, MutableElements to, int64_t count) {
  HWY_DYNAMIC_DISPATCH(run_add_scaled)(a, b, scale, to, count);
}
void activate(Elements from, Activation activation, MutableElements to, int64_t count) {
  HWY_DYNAMIC_DISPATCH(run_activate)(from, activation, to, count);
}
const char* instruction_set() {
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

}  // namespace dreamlab::cpu
#endif
