#include "device/cpu/library_matmul.h"

#include "base/error.h"

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

memory::data_type data_type(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
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
                             Result result) {
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
  guarded([&] {
    if (scratch.size() < scratchpad_.get_size()) scratch.resize(scratchpad_.get_size());
    dnnl::stream stream(engine());
    primitive_.execute(stream, {{DNNL_ARG_SRC, memory(a_, engine(), const_cast<void*>(a))},
                                {DNNL_ARG_WEIGHTS, memory(b_, engine(), const_cast<void*>(b))},
                                {DNNL_ARG_DST, memory(c_, engine(), c)},
                                {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine(), scratch.data())}});
    stream.wait();
  });
}

void pack_for_library(const void* b, DType dtype, int64_t k, int64_t columns, int64_t k_stride, int64_t column_stride,
                      const memory::desc& layout, void* packed) {
  guarded([&] {
    memory from({{k, columns}, data_type(dtype), memory::dims{k_stride, column_stride}}, engine(),
                const_cast<void*>(b));
    memory to(layout, engine(), packed);
    dnnl::stream stream(engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  });
}

bool has_matrix_tiles() {
  return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
}

}  // namespace dreamlab::cpu
