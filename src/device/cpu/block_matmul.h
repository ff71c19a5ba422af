#pragma once

// Matrix products through oneDNN, one block at a time on the calling thread: block of A [rows, k] times packed columns
// of B, to f32. The blocks are cut by us, by shape alone, so that the result is the same for any number of threads.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/thread_pool.h"
#include "device/cpu/kernel_types.h"
#include "device/cpu/library_matmul.h"
#include "device/cpu/weight_arena.h"

namespace dreamlab::cpu {

// A matrix [columns, k] cut into chunks of columns and those into parts of k, each packed in the layout that oneDNN's
// kernel wants. A long k is multiplied part by part, the sums staying in f32: so that a part of A, a part of a chunk
// and the sums fit in the second-level cache together.
class PackedMatrix {
 public:
  // Rows of A that are multiplied at once. A power of two that divides the usual token counts (64, 256, 1024, 4096).
  static constexpr int64_t kRowBlock = 128;

  // Writes row `row` of the matrix, k elements of the matrix' dtype, to `out`. Called from several threads.
  using RowWriter = std::function<void(int64_t row, void* out)>;

  // dtype: f32 or bf16, of both operands. k_unit: parts hold whole multiples of it, or divide it; 0: k stays whole, so
  // that rows of A need not be rearranged. `interleave` = 2 packs
  // row i of the upper half of the matrix beside row i of the lower (for GEGLU): a chunk of c columns then holds c / 2
  // of each.
  PackedMatrix(int64_t columns, int64_t k, int64_t k_unit, DType dtype, int64_t interleave, const RowWriter& write_row,
               ThreadPool& threads, WeightArena& arena);

  DType dtype() const { return dtype_; }
  int64_t k() const { return k_; }
  int64_t columns() const { return columns_; }
  int64_t parts() const { return k_ / part_; }
  // Elements of k in a part.
  int64_t part_size() const { return part_; }
  int64_t chunks() const { return static_cast<int64_t>(packed_.size()) / parts(); }
  // First column and number of columns of a chunk.
  int64_t chunk_begin(int64_t chunk) const { return chunk * chunk_columns_; }
  int64_t chunk_size(int64_t chunk) const;
  int64_t largest_chunk() const { return chunk_columns_; }

  // out[rows][chunk_size(chunk)] = a[rows][k] * chunk^T, where a lies part after part: [parts][rows][part_size], each
  // dense. rows <= kRowBlock. Thread-safe; `scratch` belongs to the calling worker.
  void multiply(const void* a, int64_t rows, int64_t chunk, float* out, std::vector<std::byte>& scratch) const;

 private:
  const LibraryMatmul& kernel(int64_t rows, int64_t columns, LibraryMatmul::Result result) const;

  DType dtype_;
  int64_t k_, part_, columns_, chunk_columns_;
  std::vector<std::shared_ptr<void>> packed_;      // [chunks][parts]
  std::map<int64_t, dnnl::memory::desc> layouts_;  // by columns
  mutable std::mutex mutex_;
  mutable std::map<std::tuple<int64_t, int64_t, LibraryMatmul::Result>, std::unique_ptr<LibraryMatmul>> kernels_;
};

}  // namespace dreamlab::cpu
