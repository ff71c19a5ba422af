#include "device/cpu/block_matmul.h"

#include <algorithm>

namespace dreamlab::cpu {
namespace {

// A chunk of packed columns should stay in the second-level cache while blocks of rows pass by.
constexpr int64_t kChunkBytes = 1 << 20;
constexpr int64_t kColumnMultiple = 64;  // of the kernel's register tile

}  // namespace

PackedMatrix::PackedMatrix(int64_t columns, int64_t k, DType dtype, int64_t interleave, const RowWriter& write_row,
                           ThreadPool& threads, WeightArena& arena)
    : dtype_(dtype), k_(k), columns_(columns) {
  const int64_t bytes_per_column = k_ * static_cast<int64_t>(size_of(dtype));
  const int64_t fitting = std::max(kColumnMultiple * interleave, kChunkBytes / bytes_per_column);
  const int64_t wanted_chunks = (columns_ + fitting - 1) / fitting;
  chunk_columns_ = round_up((columns_ + wanted_chunks - 1) / wanted_chunks, kColumnMultiple * interleave);
  if (chunk_columns_ > columns_) chunk_columns_ = columns_;
  const int64_t count = (columns_ + chunk_columns_ - 1) / chunk_columns_;
  packed_.resize(static_cast<size_t>(count));
  for (int64_t chunk : {int64_t{0}, count - 1}) {
    const int64_t n = chunk_size(chunk);
    layouts_.emplace(n, LibraryMatmul(dtype_, kRowBlock, k_, n).layout());
  }
  // A chunk's rows in the target dtype, [n][k], on the way into oneDNN's layout; one buffer a worker.
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(threads.size()));
  threads.parallel_for(count, [&](int64_t chunk, int worker) {
    std::vector<std::byte>& rows = buffers[static_cast<size_t>(worker)];
    rows.resize(static_cast<size_t>(chunk_columns_ * bytes_per_column));
    const int64_t n = chunk_size(chunk), part = n / interleave, begin = chunk_begin(chunk) / interleave;
    for (int64_t row = 0; row < n; ++row)
      write_row(row / part * (columns_ / interleave) + begin + row % part, rows.data() + row * bytes_per_column);
    const dnnl::memory::desc& layout = layouts_.at(n);
    packed_[static_cast<size_t>(chunk)] = arena.allocate(layout.get_size());
    pack_for_library(rows.data(), dtype_, k_, n, 1, k_, layout, packed_[static_cast<size_t>(chunk)].get());
  });
}

int64_t PackedMatrix::chunk_size(int64_t chunk) const {
  return std::min(chunk_columns_, columns_ - chunk_begin(chunk));
}

const LibraryMatmul& PackedMatrix::kernel(int64_t rows, int64_t columns) const {
  std::lock_guard lock(mutex_);
  std::unique_ptr<LibraryMatmul>& entry = kernels_[{rows, columns}];
  if (!entry) entry = std::make_unique<LibraryMatmul>(dtype_, rows, k_, columns, &layouts_.at(columns));
  return *entry;
}

void PackedMatrix::multiply(const void* a, int64_t rows, int64_t chunk, float* out,
                            std::vector<std::byte>& scratch) const {
  kernel(rows, chunk_size(chunk)).run(a, packed_[static_cast<size_t>(chunk)].get(), out, scratch);
}

}  // namespace dreamlab::cpu
