#include "device/cpu/block_matmul.h"

#include <algorithm>

namespace dreamlab::cpu {
namespace {

// A part of a chunk should stay in the second-level cache while blocks of rows pass by.
constexpr int64_t kChunkBytes = 1 << 20;
constexpr int64_t kColumnMultiple = 64;  // of the kernel's register tile
constexpr int64_t kLongestPart = 1280;
constexpr int64_t kPartMultiple = 32;  // of k, for the kernel's tiles

// How long parts of k are: many whole units, or an even piece of one that is too long; all of k where neither is
// possible.
int64_t part_of(int64_t k, int64_t unit) {
  if (unit == 0 || k <= kLongestPart) return k;
  for (int64_t units = kLongestPart / unit; units > 0; --units)
    if (k / unit % units == 0) return units * unit;
  for (int64_t pieces = 2; unit / pieces >= kLongestPart / 2; ++pieces)
    if (unit % (pieces * kPartMultiple) == 0 && unit / pieces <= kLongestPart) return unit / pieces;
  return k;
}

}  // namespace

PackedMatrix::PackedMatrix(int64_t columns, int64_t k, int64_t k_unit, DType dtype, int64_t interleave,
                           const RowWriter& write_row, ThreadPool& threads, WeightArena& arena)
    : dtype_(dtype), k_(k), part_(part_of(k, k_unit)), columns_(columns) {
  const auto element = static_cast<int64_t>(size_of(dtype));
  const int64_t fitting = std::max(kColumnMultiple * interleave, kChunkBytes / (part_ * element));
  int64_t wanted_chunks = (columns_ + fitting - 1) / fitting;
  if (wanted_chunks > 1) wanted_chunks = round_up(wanted_chunks, 2);  // even shares where there are few rows
  chunk_columns_ = round_up((columns_ + wanted_chunks - 1) / wanted_chunks, kColumnMultiple * interleave);
  if (chunk_columns_ > columns_) chunk_columns_ = columns_;
  const int64_t count = (columns_ + chunk_columns_ - 1) / chunk_columns_;
  packed_.resize(static_cast<size_t>(count * parts()));
  for (int64_t chunk : {int64_t{0}, count - 1}) {
    const int64_t n = chunk_size(chunk);
    layouts_.emplace(n, LibraryMatmul(dtype_, kRowBlock, part_, n).layout());
  }
  // A chunk's rows in the target dtype, [n][k], on the way into oneDNN's layout; one buffer a worker.
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(threads.size()));
  threads.parallel_for(count, [&](int64_t chunk, int worker) {
    std::vector<std::byte>& rows = buffers[static_cast<size_t>(worker)];
    rows.resize(static_cast<size_t>(chunk_columns_ * k_ * element));
    const int64_t n = chunk_size(chunk), part_columns = n / interleave, begin = chunk_begin(chunk) / interleave;
    for (int64_t row = 0; row < n; ++row)
      write_row(row / part_columns * (columns_ / interleave) + begin + row % part_columns,
                rows.data() + row * k_ * element);
    const dnnl::memory::desc& layout = layouts_.at(n);
    for (int64_t part = 0; part < parts(); ++part) {
      std::shared_ptr<void>& packed = packed_[static_cast<size_t>(chunk * parts() + part)];
      packed = arena.allocate(packed_size(layout, dtype_));
      pack_for_library(rows.data() + part * part_ * element, dtype_, part_, n, 1, k_, layout, packed.get());
    }
  });
}

int64_t PackedMatrix::chunk_size(int64_t chunk) const {
  return std::min(chunk_columns_, columns_ - chunk_begin(chunk));
}

const LibraryMatmul& PackedMatrix::kernel(int64_t rows, int64_t columns, LibraryMatmul::Result result) const {
  std::lock_guard lock(mutex_);
  std::unique_ptr<LibraryMatmul>& entry = kernels_[{rows, columns, result}];
  if (!entry) entry = std::make_unique<LibraryMatmul>(dtype_, rows, part_, columns, &layouts_.at(columns), result);
  return *entry;
}

void PackedMatrix::multiply(const void* a, int64_t rows, int64_t chunk, float* out,
                            std::vector<std::byte>& scratch) const {
  const auto part_bytes = static_cast<size_t>(rows * part_) * size_of(dtype_);
  for (int64_t part = 0; part < parts(); ++part) {
    const auto result = part == 0 ? LibraryMatmul::Result::replace : LibraryMatmul::Result::add;
    kernel(rows, chunk_size(chunk), result)
        .run(static_cast<const char*>(a) + static_cast<size_t>(part) * part_bytes,
             packed_[static_cast<size_t>(chunk * parts() + part)].get(), out, scratch);
  }
}

}  // namespace dreamlab::cpu
