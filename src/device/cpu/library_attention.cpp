#include "device/cpu/library_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <numbers>
#include <vector>

#include "device/cpu/library_matmul.h"
#include "device/cpu/softmax_block.h"

namespace dreamlab::cpu {
namespace {

constexpr int64_t kQueries = 128;  // at a time
constexpr int64_t kKeys = 512;     // at a time: scores of a block are 256 KiB
// The layouts are chosen once, for full blocks of queries: a shorter last block reads the same packed keys and values.
constexpr int64_t kLayoutRows = kQueries;

struct Scratch {
  std::vector<std::byte> library;
  std::vector<float> scores, product, out, largest, sums, shrink;
  std::vector<uint16_t> queries, weights;

  SoftmaxState state() { return {largest.data(), sums.data(), shrink.data()}; }
  void reserve(int64_t head_size) {
    scores.resize(kQueries * kKeys);
    queries.resize(static_cast<size_t>(kQueries * head_size));
    weights.resize(kQueries * kKeys);
    product.resize(static_cast<size_t>(kQueries * head_size));
    out.resize(product.size());
    largest.resize(kQueries);
    shrink.resize(kQueries);
    sums.resize(static_cast<size_t>(kQueries * softmax_sum_width()));
  }
};

}  // namespace

struct LibraryAttention::Kernels {
  std::mutex mutex;
  std::map<std::array<int64_t, 3>, std::unique_ptr<LibraryMatmul>> by_shape;
  std::vector<Scratch> scratch;

  // A product of these extents, with b packed as for kLayoutRows rows.
  const LibraryMatmul& product(int64_t rows, int64_t k, int64_t columns) {
    std::lock_guard lock(mutex);
    return find(rows, k, columns);
  }

 private:
  const LibraryMatmul& find(int64_t rows, int64_t k, int64_t columns) {
    std::unique_ptr<LibraryMatmul>& entry = by_shape[{rows, k, columns}];
    if (!entry) {
      const bool first = rows == kLayoutRows;
      const dnnl::memory::desc* layout = first ? nullptr : &find(kLayoutRows, k, columns).layout();
      entry = std::make_unique<LibraryMatmul>(DType::bf16, rows, k, columns, layout);
    }
    return *entry;
  }
};

LibraryAttention::LibraryAttention() : kernels_(std::make_unique<Kernels>()) {}
LibraryAttention::~LibraryAttention() = default;

void LibraryAttention::run(const AttentionArgs& args, ThreadPool& threads, MemoryPool& pool) {
  Kernels& kernels = *kernels_;
  const int64_t size = args.head_size, pairs = args.images * args.heads;
  const int64_t key_blocks = (args.keys + kKeys - 1) / kKeys;
  const auto keys_in = [&](int64_t block) { return std::min(kKeys, args.keys - block * kKeys); };
  // The layout of keys (and values) of one block; the last block may be shorter.
  const auto key_layout = [&](int64_t block) -> const dnnl::memory::desc& {
    return kernels.product(kLayoutRows, size, keys_in(block)).layout();
  };
  const auto value_layout = [&](int64_t block) -> const dnnl::memory::desc& {
    return kernels.product(kLayoutRows, keys_in(block), size).layout();
  };
  const auto key_bytes = static_cast<size_t>(round_up(static_cast<int64_t>(key_layout(0).get_size()), 64));
  const auto value_bytes = static_cast<size_t>(round_up(static_cast<int64_t>(value_layout(0).get_size()), 64));
  const auto packed = pool.allocate(static_cast<size_t>(pairs * key_blocks) * (key_bytes + value_bytes));
  const auto packed_keys = [&](int64_t pair, int64_t block) {
    return static_cast<std::byte*>(packed.get()) +
           static_cast<size_t>(pair * key_blocks + block) * (key_bytes + value_bytes);
  };

  threads.parallel_for(pairs * key_blocks, [&](int64_t index, int) {
    const int64_t pair = index / key_blocks, block = index % key_blocks, image = pair / args.heads,
                  head = pair % args.heads;
    const int64_t token = image * args.keys + block * kKeys, n = keys_in(block);
    std::byte* const to = packed_keys(pair, block);
    pack_for_library(args.k.at(token * args.k_stride + head * size).data, DType::bf16, size, n, 1, args.k_stride,
                     key_layout(block), to);
    pack_for_library(args.v.at(token * args.v_stride + head * size).data, DType::bf16, n, size, args.v_stride, 1,
                     value_layout(block), to + key_bytes);
  });

  const auto scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(size)));
  const int64_t query_blocks = (args.queries + kQueries - 1) / kQueries;
  kernels.scratch.resize(static_cast<size_t>(threads.size()));
  threads.parallel_for(pairs * query_blocks, [&](int64_t index, int worker) {
    Scratch& scratch = kernels.scratch[static_cast<size_t>(worker)];
    scratch.reserve(size);
    const int64_t pair = index / query_blocks, first = index % query_blocks * kQueries, image = pair / args.heads,
                  head = pair % args.heads;
    const int64_t rows = std::min(kQueries, args.queries - first), token = image * args.queries + first;
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(scratch.queries.data() + i * size, args.q.at((token + i) * args.q_stride + head * size).data,
                  static_cast<size_t>(size) * sizeof(uint16_t));
    const SoftmaxState state = scratch.state();
    start_softmax(state, rows);
    std::fill(scratch.out.begin(), scratch.out.end(), 0.0f);
    for (int64_t block = 0; block < key_blocks; ++block) {
      const int64_t n = keys_in(block);
      const std::byte* const keys = packed_keys(pair, block);
      kernels.product(rows, size, n).run(scratch.queries.data(), keys, scratch.scores.data(), scratch.library);
      soften_block(scratch.scores.data(), rows, n, scale, state, scratch.weights.data());
      kernels.product(rows, n, size)
          .run(scratch.weights.data(), keys + key_bytes, scratch.product.data(), scratch.library);
      accumulate_block(scratch.out.data(), scratch.product.data(), rows, size, state);
    }
    const MutableElements result = args.result.at((token * args.heads + head) * size);
    finish_softmax(scratch.out.data(), rows, size, state, static_cast<uint16_t*>(result.data), args.heads * size);
  });
}

}  // namespace dreamlab::cpu
