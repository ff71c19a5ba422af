#include "device/cpu/library_matmul.h"

#include "base/error.h"
#include "device/cpu/pointwise.h"

// Of GNU's OpenMP runtime, which oneDNN is built on. Declared here because omp.h belongs to the compiler, and clang's
// to another runtime.
extern "C" void omp_set_num_threads(int threads);

namespace dreamlab::cpu {
namespace {

using dnnl::memory;

// oneDNN would start threads of its own; ours already run.
void keep_on_this_thread() {
  thread_local const bool done = (omp_set_num_threads(1), true);
  (void)done;
}

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

bool widens(DType dtype) {
  return dtype == DType::bf16 && !library_has_bf16();
}

memory::data_type data_type(DType dtype) {
  return dtype == DType::bf16 && !widens(dtype) ? memory::data_type::bf16 : memory::data_type::f32;
}

void widen(const void* from, float* to, size_t count) {
  convert({from, DType::bf16}, {to, DType::f32}, static_cast<int64_t>(count));
}

size_t element_count(const memory::desc& dense_or_packed_f32) {
  return dense_or_packed_f32.get_size() / sizeof(float);
}

// b[k][columns] as dense f32.
std::vector<float> gathered(const void* b, int64_t k, int64_t columns, int64_t k_stride, int64_t column_stride) {
  const auto* const elements = static_cast<const uint16_t*>(b);
  std::vector<uint16_t> dense;
  dense.reserve(static_cast<size_t>(k * columns));
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < columns; ++j) dense.push_back(elements[i * k_stride + j * column_stride]);
  std::vector<float> wide(dense.size());
  widen(dense.data(), wide.data(), dense.size());
  return wide;
}

// Runs `work` with the library's errors turned into ours.
template <typename Work>
auto guarded(const Work& work) {
  keep_on_this_thread();
  try {
    return work();
  } catch (const dnnl::error& error) {
    fail(error.status == dnnl_out_of_memory ? ErrorKind::out_of_memory : ErrorKind::internal, "oneDNN: {}",
         error.what());
  }
}

}  // namespace

LibraryMatmul::LibraryMatmul(DType dtype, int64_t rows, int64_t k, int64_t columns, const memory::desc* layout,
                             Result result)
    : widens_(widens(dtype)) {
  guarded([&] {
    const memory::desc a({rows, k}, data_type(dtype), memory::format_tag::ab);
    const memory::desc any({k, columns}, data_type(dtype), memory::format_tag::any);
    const memory::desc c({rows, columns}, memory::data_type::f32, memory::format_tag::ab);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (result == Result::add) {
      dnnl::post_ops add;
      add.append_sum(1.0f);
      attributes.set_post_ops(add);
    }
    const dnnl::matmul::primitive_desc description({a, layout != nullptr ? *layout : any, c}, attributes, engine());
    primitive_ = dnnl::matmul(description);
    a_ = description.src_desc();
    b_ = description.weights_desc();
    c_ = description.dst_desc();
    scratchpad_ = description.scratchpad_desc();
  });
}

void LibraryMatmul::run(const void* a, const void* b, float* c, std::vector<std::byte>& scratch) const {
  const size_t a_count = widens_ ? element_count(a_) : 0, b_count = widens_ ? element_count(b_) : 0;
  guarded([&] {
    const size_t bytes = (a_count + b_count) * sizeof(float) + scratchpad_.get_size();
    if (scratch.size() < bytes) scratch.resize(bytes);
    auto* const wide_a = reinterpret_cast<float*>(scratch.data());
    float* const wide_b = wide_a + a_count;
    if (widens_) {
      widen(a, wide_a, a_count);
      widen(b, wide_b, b_count);
    }
    dnnl::stream stream(engine());
    primitive_.execute(stream, {{DNNL_ARG_SRC, memory(a_, engine(), widens_ ? wide_a : const_cast<void*>(a))},
                                {DNNL_ARG_WEIGHTS, memory(b_, engine(), widens_ ? wide_b : const_cast<void*>(b))},
                                {DNNL_ARG_DST, memory(c_, engine(), c)},
                                {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine(), wide_b + b_count)}});
    stream.wait();
  });
}

size_t packed_size(const memory::desc& layout, DType dtype) {
  return widens(dtype) ? element_count(layout) * sizeof(uint16_t) : layout.get_size();
}

void pack_for_library(const void* b, DType dtype, int64_t k, int64_t columns, int64_t k_stride, int64_t column_stride,
                      const memory::desc& layout, void* packed) {
  std::vector<float> source, target;
  if (widens(dtype)) {
    source = gathered(b, k, columns, k_stride, column_stride);
    target.resize(element_count(layout));
    b = source.data();
    k_stride = columns;
    column_stride = 1;
  }
  guarded([&] {
    memory from({{k, columns}, data_type(dtype), memory::dims{k_stride, column_stride}}, engine(),
                const_cast<void*>(b));
    memory to(layout, engine(), target.empty() ? packed : target.data());
    dnnl::stream stream(engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  });
  if (!target.empty()) convert({target.data(), DType::f32}, {packed, DType::bf16}, static_cast<int64_t>(target.size()));
}

bool library_has_bf16() {
  // Not __builtin_cpu_supports: the library can be told to use less than the processor has.
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (isa & needed) == needed;
}

bool has_matrix_tiles() {
  return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
}

}  // namespace dreamlab::cpu
