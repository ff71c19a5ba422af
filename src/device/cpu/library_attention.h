#pragma once

// Attention in bf16 through oneDNN's block products, where it has them (library_has_bf16()): the same tiles and
// running softmax as attention.h, with scores and sums in f32.
#include <memory>

#include "base/thread_pool.h"
#include "device/cpu/attention.h"
#include "device/memory_pool.h"

namespace dreamlab::cpu {

class LibraryAttention {
 public:
  LibraryAttention();
  ~LibraryAttention();

  // args as for attention(): operands in bf16, not causal.
  void run(const AttentionArgs& args, ThreadPool& threads, MemoryPool& pool);

 private:
  struct Kernels;
  std::unique_ptr<Kernels> kernels_;
};

}  // namespace dreamlab::cpu
