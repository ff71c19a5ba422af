#include "device/cpu/block_matmul.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace dreamlab::cpu {
namespace {

using dnnl::memory;

// A chunk of packed columns should stay in the second-level cache while blocks of rows pass by.
constexpr int64_t kChunkBytes = 1 << 20;
constexpr int64_t kColumnMultiple = 64;  // of the kernel's register tile

// oneDNN would start threads of its own; ours already run.
void keep_onednn_on_this_thread() {
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

dnnl::matmul::primitive_desc describe(DType dtype, int64_t rows, int64_t a_stride, int64_t k,
                                      const memory::desc& weights, int64_t columns) {
  const memory::desc a({rows, k}, data_type(dtype), memory::dims{a_stride, 1});
  const memory::desc c({rows, columns}, memory::data_type::f32, memory::dims{columns, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return {dnnl::matmul::desc(a, weights, c), attributes, engine()};
}

[[noreturn]] void report(const dnnl::error& error) {
  fail(error.status == dnnl_out_of_memory ? ErrorKind::out_of_memory : ErrorKind::internal, "oneDNN: {}", error.what());
}

}  // namespace

struct PackedMatrix::Kernel {
  dnnl::matmul primitive;
  memory::desc a, weights, c, scratchpad;
};

PackedMatrix::~PackedMatrix() = default;

PackedMatrix::PackedMatrix(int64_t columns, int64_t k, DType dtype, int64_t interleave, const RowWriter& write_row,
                           ThreadPool& threads, WeightArena& arena)
    : dtype_(dtype), k_(k), columns_(columns) {
  const int64_t bytes_per_column = k_ * static_cast<int64_t>(size_of(dtype));
  const int64_t fitting = std::max(kColumnMultiple * interleave, kChunkBytes / bytes_per_column);
  const int64_t wanted_chunks = (columns_ + fitting - 1) / fitting;
  chunk_columns_ = round_up((columns_ + wanted_chunks - 1) / wanted_chunks, kColumnMultiple * interleave);
  if (chunk_columns_ > columns_) chunk_columns_ = columns_;
  const int64_t count = (columns_ + chunk_columns_ - 1) / chunk_columns_;
  try {
    keep_onednn_on_this_thread();
    packed_.resize(static_cast<size_t>(count));
    for (int64_t chunk : {int64_t{0}, count - 1}) {
      const int64_t n = chunk_size(chunk);
      const memory::desc any({k_, n}, data_type(dtype_), memory::format_tag::any);
      layouts_.emplace(n, describe(dtype_, kRowBlock, k_, k_, any, n).weights_desc());
    }
    // A chunk's rows in the target dtype, [n][k], on the way into oneDNN's layout; one buffer a worker.
    std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(threads.size()));
    threads.parallel_for(count, [&](int64_t chunk, int worker) {
      keep_onednn_on_this_thread();
      std::vector<std::byte>& rows = buffers[static_cast<size_t>(worker)];
      rows.resize(static_cast<size_t>(chunk_columns_ * bytes_per_column));
      const int64_t n = chunk_size(chunk), part = n / interleave, begin = chunk_begin(chunk) / interleave;
      for (int64_t row = 0; row < n; ++row)
        write_row(row / part * (columns_ / interleave) + begin + row % part, rows.data() + row * bytes_per_column);
      const memory::desc& layout = layouts_.at(n);
      packed_[static_cast<size_t>(chunk)] = arena.allocate(layout.get_size());
      memory from({{k_, n}, data_type(dtype_), memory::dims{1, k_}}, engine(), rows.data());
      memory to(layout, engine(), packed_[static_cast<size_t>(chunk)].get());
      dnnl::stream stream(engine());
      dnnl::reorder(from, to).execute(stream, from, to);
      stream.wait();
    });
  } catch (const dnnl::error& error) {
    report(error);
  }
}

int64_t PackedMatrix::chunk_size(int64_t chunk) const {
  return std::min(chunk_columns_, columns_ - chunk_begin(chunk));
}

const PackedMatrix::Kernel& PackedMatrix::kernel(int64_t rows, int64_t a_stride, int64_t columns) const {
  std::lock_guard lock(mutex_);
  std::unique_ptr<Kernel>& entry = kernels_[{rows, a_stride, columns}];
  if (!entry) {
    const auto description = describe(dtype_, rows, a_stride, k_, layouts_.at(columns), columns);
    entry =
        std::make_unique<Kernel>(Kernel{dnnl::matmul(description), description.src_desc(), description.weights_desc(),
                                        description.dst_desc(), description.scratchpad_desc()});
  }
  return *entry;
}

void PackedMatrix::multiply(const void* a, int64_t a_stride, int64_t rows, int64_t chunk, float* out,
                            std::vector<std::byte>& scratch) const {
  keep_onednn_on_this_thread();
  try {
    const Kernel& k = kernel(rows, a_stride, chunk_size(chunk));
    if (scratch.size() < k.scratchpad.get_size()) scratch.resize(k.scratchpad.get_size());
    dnnl::stream stream(engine());
    k.primitive.execute(stream,
                        {{DNNL_ARG_SRC, memory(k.a, engine(), const_cast<void*>(a))},
                         {DNNL_ARG_WEIGHTS, memory(k.weights, engine(), packed_[static_cast<size_t>(chunk)].get())},
                         {DNNL_ARG_DST, memory(k.c, engine(), out)},
                         {DNNL_ARG_SCRATCHPAD, memory(k.scratchpad, engine(), scratch.data())}});
    stream.wait();
  } catch (const dnnl::error& error) {
    report(error);
  }
}

}  // namespace dreamlab::cpu
