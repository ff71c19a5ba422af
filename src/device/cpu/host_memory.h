#pragma once

#include <cstddef>

#include "device/memory_pool.h"

namespace dreamlab::cpu {

// Of every block, in bytes: a cache line, which is also a vector of AVX-512.
inline constexpr size_t kAlignment = 64;

// `size` bytes from the system, to be released by std::free: aligned, on huge pages where they are large.
// Throws Error(out_of_memory).
void* allocate_block(size_t size);

// Such blocks, for a pool; together at most `limit` bytes, where it is not 0.
BlockSource host_blocks(size_t limit = 0);

}  // namespace dreamlab::cpu
