// Single operations of a device at the shapes of SD 1.5 (512x512), SDXL (1024x1024) and their VAE.
// DREAMLAB_BENCH_DEVICE (cpu, cuda, cuda:N), DREAMLAB_BENCH_DTYPE (fp32, bf16, on a GPU fp16) and
// DREAMLAB_BENCH_THREADS choose the device; results are FLOP/s as direct computation counts them.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>

#include "device/make_device.h"

namespace dreamlab {
namespace {

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

Device& device() {
  static const std::unique_ptr<Device> instance =
      make_device({.device = variable("DREAMLAB_BENCH_DEVICE", "cpu"),
                   .dtype = variable("DREAMLAB_BENCH_DTYPE", "fp32"),
                   .threads = std::atoi(variable("DREAMLAB_BENCH_THREADS", "0").c_str())});
  return *instance;
}

std::vector<float> normals(int64_t count, float scale) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> block(1 << 16), out(static_cast<size_t>(count));
  for (float& v : block) v = normal(random);
  for (size_t i = 0; i < out.size(); ++i) out[i] = block[i % block.size()];
  return out;
}

Tensor random_tensor(Shape shape) {
  return device().upload(normals(shape.elements(), 1.0f), shape);
}
HostTensor random_weight(Shape shape, int64_t fan_in) {
  return HostTensor::from_f32(normals(shape.elements(), 1.0f / static_cast<float>(fan_in)), shape);
}

// In one iteration. A GPU is waited for once for several, so that the host's part does not count.
int runs_at_once() {
  static const int runs = device().memory() ? 10 : 1;
  return runs;
}

template <typename Run>
void measure(benchmark::State& state, const Run& run) {
  run();  // kernels are made and memory is touched on the first call
  device().synchronize();
  const uint64_t before = device().operations_issued();
  for (auto _ : state) {
    for (int i = 0; i < runs_at_once(); ++i) run();
    device().synchronize();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(static_cast<double>(device().operations_issued() - before), benchmark::Counter::kIsRate);
}

// rows, in, out
void linear(benchmark::State& state) {
  const int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  const auto weights = device().pack_linear(random_weight(Shape{out, in}, in), nullptr);
  const Tensor x = random_tensor(Shape{1, rows, in});
  measure(state, [&] { benchmark::DoNotOptimize(device().linear(x, *weights).data()); });
}

void geglu(benchmark::State& state) {
  const int64_t rows = state.range(0), in = state.range(1), inner = state.range(2);
  const auto weights = device().pack_geglu(random_weight(Shape{2 * inner, in}, in), nullptr);
  const Tensor x = random_tensor(Shape{1, rows, in});
  measure(state, [&] { benchmark::DoNotOptimize(device().linear_geglu(x, *weights).data()); });
}

// side, in, out
void conv3x3(benchmark::State& state) {
  const int64_t side = state.range(0), in = state.range(1), out = state.range(2);
  const auto weights = device().pack_conv(random_weight(Shape{out, in, 3, 3}, in * 9), nullptr, {});
  const Tensor x = random_tensor(Shape{1, side, side, in});
  measure(state, [&] { benchmark::DoNotOptimize(device().conv2d(x, *weights).data()); });
}

// queries, keys, heads, head size
void attention(benchmark::State& state) {
  const int64_t width = state.range(2) * state.range(3);
  const Tensor q = random_tensor(Shape{1, state.range(0), width});
  const Tensor k = random_tensor(Shape{1, state.range(1), width}), v = random_tensor(Shape{1, state.range(1), width});
  measure(state, [&] { benchmark::DoNotOptimize(device().attention(q, k, v, state.range(2)).data()); });
}

// side, channels; bytes read twice and written once
void group_norm_silu(benchmark::State& state) {
  const int64_t side = state.range(0), channels = state.range(1);
  const Tensor x = random_tensor(Shape{1, side, side, channels});
  const std::vector<float> ones(static_cast<size_t>(channels), 1.0f);
  const NormWeights norm{device().upload(ones, Shape{channels}, DType::f32),
                         device().upload(ones, Shape{channels}, DType::f32), 1e-5f};
  measure(state, [&] { benchmark::DoNotOptimize(device().group_norm(x, norm, 32, Activation::silu).data()); });
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * runs_at_once() * x.elements() * 3 *
                          static_cast<int64_t>(size_of(x.dtype())));
}

// The library's own matrix product on its own threads (OMP_NUM_THREADS), without any of our blocking: what `linear` is
// to be held against.
void library_matmul(benchmark::State& state) {
  using dnnl::memory;
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const auto type = device().compute_dtype() == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc a({m, k}, type, memory::format_tag::ab), c({m, n}, memory::data_type::f32, memory::format_tag::ab);
  const dnnl::matmul::primitive_desc description({a, memory::desc({k, n}, type, memory::format_tag::any), c}, engine);
  memory x(a, engine), w(description.weights_desc(), engine), y(c, engine);
  const dnnl::matmul primitive(description);
  for (auto _ : state) {
    primitive.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
    stream.wait();
  }
  state.counters["FLOP/s"] = benchmark::Counter(
      2.0 * static_cast<double>(m * k * n) * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK(library_matmul)->Args({4096, 640, 640})->Args({1024, 1280, 1280})->Args({4096, 2048, 2048})->UseRealTime();
BENCHMARK(linear)
    ->Args({4096, 640, 640})
    ->Args({1024, 1280, 1280})
    ->Args({1024, 5120, 1280})
    ->Args({4096, 2048, 2048})
    ->Args({77, 2048, 1280})
    ->Args({1, 1280, 1280})
    ->Args({4096, 320, 320})
    ->UseRealTime();
BENCHMARK(geglu)->Args({4096, 640, 2560})->Args({1024, 1280, 5120})->UseRealTime();
BENCHMARK(conv3x3)
    ->Args({128, 320, 320})
    ->Args({64, 640, 640})
    ->Args({64, 960, 640})
    ->Args({64, 1920, 640})
    ->Args({32, 1280, 1280})
    ->Args({32, 2560, 1280})
    ->Args({64, 320, 320})
    ->Args({32, 640, 640})
    ->Args({16, 1280, 1280})
    ->Args({8, 1280, 1280})
    ->UseRealTime();
BENCHMARK(conv3x3)
    ->Name("conv3x3_vae")
    ->Args({64, 512, 512})
    ->Args({128, 512, 512})
    ->Args({256, 256, 256})
    ->Args({256, 512, 256})
    ->Args({512, 128, 128})
    ->Args({512, 256, 128})
    ->Args({512, 128, 3})
    ->UseRealTime();
BENCHMARK(attention)
    ->Args({4096, 4096, 10, 64})
    ->Args({1024, 1024, 20, 64})
    ->Args({4096, 77, 10, 64})
    ->Args({4096, 4096, 8, 40})
    ->Args({4096, 4096, 1, 512})
    ->UseRealTime();
BENCHMARK(group_norm_silu)->Args({128, 320})->Args({64, 640})->Args({512, 128})->UseRealTime();

}  // namespace
}  // namespace dreamlab
