#pragma once

// Attention in tiles with a running softmax (Dao et al., "FlashAttention", 2022, algorithm 1; Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018), in f32. Memory besides the operands: keys and values once more,
// in the kernel's layout.
#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernel_types.h"
#include "device/memory_pool.h"

namespace dreamlab::cpu {

struct AttentionArgs {
  int64_t images = 1, heads = 1, head_size = 0;
  int64_t queries = 0, keys = 0;                     // tokens per image
  Elements q, k, v;                                  // [images, tokens, heads * head_size]
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;  // elements from token to token
  MutableElements result;                            // [images, queries, heads * head_size], dense
  bool causal = false;
};

void attention(const AttentionArgs& args, ThreadPool& threads, MemoryPool& pool);

}  // namespace dreamlab::cpu
