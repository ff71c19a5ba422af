#include "device/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/attention.cpp"
#include <hwy/foreach_target.h>

#include "device/cpu/gemm_f32-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dreamlab::cpu::HWY_NAMESPACE {

constexpr int64_t kKeys =
    kDepth;  // keys at a time: their products with the values are then one pass of the matrix kernel
constexpr int64_t kQueries = 8 * kRows;  // queries at a time
constexpr float kMasked = -1e30f;

// One head's keys as panels [key / kPanel][head_size][kPanel] (transposed, zero beyond the last key).
void pack_keys(const AttentionArgs& args, int64_t image, int64_t head, int64_t panel, float* out) {
  const int64_t first = panel * kPanel, count = std::min<int64_t>(kPanel, args.keys - first);
  out += panel * args.head_size * kPanel;
  for (int64_t key = 0; key < kPanel; ++key) {
    if (key >= count) {
      for (int64_t d = 0; d < args.head_size; ++d) out[d * kPanel + key] = 0.0f;
      continue;
    }
    const Elements row = args.k.at((image * args.keys + first + key) * args.k_stride + head * args.head_size);
    HWY_ALIGN float lanes[kLanes];
    for (int64_t d = 0; d < args.head_size; d += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, args.head_size - d);
      hn::Store(load_some(row, d, n), F32(), lanes);
      for (int64_t i = 0; i < n; ++i) out[(d + i) * kPanel + key] = lanes[i];
    }
  }
}

// One head's values of the same keys as panels [head_size / kPanel][keys, rounded up][kPanel].
void pack_values(const AttentionArgs& args, int64_t image, int64_t head, int64_t panel, int64_t padded_keys,
                 float* out) {
  for (int64_t key = panel * kPanel; key < (panel + 1) * kPanel; ++key) {
    const Elements row = args.v.at((image * args.keys + key) * args.v_stride + head * args.head_size);
    for (int64_t d = 0; d < round_up(args.head_size, kPanel); d += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, args.head_size - d);
      const VF32 value = key < args.keys && n > 0 ? load_some(row, d, n) : hn::Zero(F32());
      hn::StoreU(value, F32(), out + (d / kPanel * padded_keys + key) * kPanel + d % kPanel);
    }
  }
}

// The state of a block of queries while the keys pass by.
struct QueryBlock {
  float* q;        // blocked [head_size / 64][kQueries][64], scaled by log2(e) / sqrt(head size)
  float* scores;   // blocked [kKeys / 64][kQueries][64]
  float* out;      // panels [head_size / kPanel][kQueries][kPanel]
  float* largest;  // [kQueries]
  float* sums;     // [kQueries][kLanes]
};

void load_queries(const AttentionArgs& args, int64_t image, int64_t head, int64_t first, int64_t count,
                  const QueryBlock& block) {
  const float scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(args.head_size)));
  for (int64_t i = 0; i < count; ++i) {
    const Elements row = args.q.at((image * args.queries + first + i) * args.q_stride + head * args.head_size);
    for (int64_t d = 0; d < args.head_size; d += kLanes) {
      const VF32 value = load_some(row, d, std::min<int64_t>(kLanes, args.head_size - d));
      hn::StoreU(hn::Mul(value, splat(scale)), F32(), block.q + (d / kBlock * kQueries + i) * kBlock + d % kBlock);
    }
    block.largest[i] = kMasked;
    hn::StoreU(hn::Zero(F32()), F32(), block.sums + i * kLanes);
  }
}

// Masks the scores of query row `i` from key column `end` of the block on.
void mask_row(const QueryBlock& block, int64_t i, int64_t end, int64_t columns) {
  for (int64_t k = std::max<int64_t>(end, 0); k < columns; ++k)
    block.scores[(k / kBlock * kQueries + i) * kBlock + k % kBlock] = kMasked;
}

// Scores of row i to weights exp2(score - largest); earlier sums and results are rescaled where the largest score grew.
void soften_row(const AttentionArgs& args, const QueryBlock& block, int64_t i, int64_t columns) {
  float* const row = block.scores + i * kBlock;
  const auto chunk = [&](int64_t k) { return row + k / kBlock * kQueries * kBlock + k % kBlock; };
  VF32 largest = splat(block.largest[i]);
  for (int64_t k = 0; k < columns; k += kLanes) largest = hn::Max(largest, hn::LoadU(F32(), chunk(k)));
  largest = hn::MaxOfLanes(F32(), largest);
  VF32 sum = hn::LoadU(F32(), block.sums + i * kLanes);
  const float new_largest = hn::GetLane(largest);
  if (new_largest > block.largest[i]) {
    const VF32 shrink = exp2(hn::Sub(splat(block.largest[i]), largest));
    sum = hn::Mul(sum, shrink);
    for (int64_t d = 0; d < round_up(args.head_size, kPanel); d += kLanes) {
      float* const out = block.out + (d / kPanel * kQueries + i) * kPanel + d % kPanel;
      hn::StoreU(hn::Mul(hn::LoadU(F32(), out), shrink), F32(), out);
    }
    block.largest[i] = new_largest;
  }
  for (int64_t k = 0; k < columns; k += kLanes) {
    const VF32 weight = exp2(hn::Sub(hn::LoadU(F32(), chunk(k)), largest));
    hn::StoreU(weight, F32(), chunk(k));
    sum = hn::Add(sum, weight);
  }
  hn::StoreU(sum, F32(), block.sums + i * kLanes);
}

void store_results(const AttentionArgs& args, int64_t image, int64_t head, int64_t first, int64_t count,
                   const QueryBlock& block) {
  for (int64_t i = 0; i < count; ++i) {
    const VF32 inverse = hn::Div(splat(1.0f), hn::SumOfLanes(F32(), hn::LoadU(F32(), block.sums + i * kLanes)));
    const MutableElements row =
        args.result.at(((image * args.queries + first + i) * args.heads + head) * args.head_size);
    for (int64_t d = 0; d < args.head_size; d += kLanes) {
      const VF32 value = hn::LoadU(F32(), block.out + (d / kPanel * kQueries + i) * kPanel + d % kPanel);
      store_some(hn::Mul(value, inverse), row, d, std::min<int64_t>(kLanes, args.head_size - d));
    }
  }
}

void attend(const AttentionArgs& args, const float* keys, const float* values, int64_t padded_keys, int64_t image,
            int64_t head, int64_t first, const QueryBlock& block) {
  const int64_t count = std::min(kQueries, args.queries - first);
  const int64_t out_panels = round_up(args.head_size, kPanel) / kPanel;
  load_queries(args, image, head, first, count, block);
  const int64_t visible = args.causal ? std::min(args.keys, first + count) : args.keys;
  for (int64_t key = 0; key < visible; key += kKeys) {
    const int64_t used = std::min(kKeys, args.keys - key), columns = round_up(used, kPanel);
    for (int64_t column = 0; column < columns; column += kPanel) {
      const float* panel = keys + (key + column) * args.head_size;
      float* c = block.scores + column / kBlock * kQueries * kBlock + column % kBlock;
      for (int64_t d = 0; d < args.head_size; d += kDepth)
        multiply_panel(block.q + d * kQueries, kQueries, count, panel + d * kPanel,
                       std::min(kDepth, args.head_size - d), c, kBlock, d > 0);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t end = args.causal ? std::min(used, first + i + 1 - key) : used;
      if (end < columns) mask_row(block, i, end, columns);
      soften_row(args, block, i, columns);
    }
    for (int64_t panel = 0; panel < out_panels; ++panel)
      multiply_panel(block.scores, kQueries, count, values + (panel * padded_keys + key) * kPanel, used,
                     block.out + panel * kQueries * kPanel, kPanel, key > 0);
  }
  store_results(args, image, head, first, count, block);
}

void run_attention(const AttentionArgs& args, ThreadPool& threads, MemoryPool& pool) {
  const int64_t padded_keys = round_up(args.keys, kPanel), padded_size = round_up(args.head_size, kPanel);
  const int64_t key_floats = padded_keys * args.head_size, value_floats = padded_keys * padded_size;
  const int64_t heads = args.images * args.heads, panels = padded_keys / kPanel;
  const auto packed = pool.allocate(sizeof(float) * static_cast<size_t>(heads * (key_floats + value_floats)));
  auto* const keys = static_cast<float*>(packed.get());
  float* const values = keys + heads * key_floats;
  threads.parallel_for(heads * panels, [&](int64_t index, int) {
    const int64_t pair = index / panels, panel = index % panels;
    pack_keys(args, pair / args.heads, pair % args.heads, panel, keys + pair * key_floats);
    pack_values(args, pair / args.heads, pair % args.heads, panel, padded_keys, values + pair * value_floats);
  });

  const int64_t q_floats = round_up(args.head_size, kBlock) * kQueries,
                score_floats = round_up(kKeys, kBlock) * kQueries;
  const int64_t out_floats = padded_size * kQueries,
                block_floats = q_floats + score_floats + out_floats + kQueries * (1 + kLanes);
  std::vector<std::shared_ptr<void>> scratch(static_cast<size_t>(threads.size()));
  for (auto& memory : scratch) memory = pool.allocate(sizeof(float) * static_cast<size_t>(block_floats));

  const int64_t blocks = (args.queries + kQueries - 1) / kQueries;
  threads.parallel_for(heads * blocks, [&](int64_t index, int worker) {
    const int64_t pair = index / blocks, first = index % blocks * kQueries;
    auto* const memory = static_cast<float*>(scratch[static_cast<size_t>(worker)].get());
    const QueryBlock block{memory, memory + q_floats, memory + q_floats + score_floats,
                           memory + q_floats + score_floats + out_floats,
                           memory + q_floats + score_floats + out_floats + kQueries};
    attend(args, keys + pair * key_floats, values + pair * value_floats, padded_keys, pair / args.heads,
           pair % args.heads, first, block);
  });
}

}  // namespace dreamlab::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dreamlab::cpu {

HWY_EXPORT(run_attention);

void attention(const AttentionArgs& args, ThreadPool& threads, MemoryPool& pool) {
  HWY_DYNAMIC_DISPATCH(run_attention)(args, threads, pool);
}

}  // namespace dreamlab::cpu
#endif
