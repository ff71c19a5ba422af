#pragma once

// The part of tiled attention between its two matrix products, for a block of queries and a block of keys.
#include <cstdint>

namespace dreamlab::cpu {

// The state of a block of queries while the keys pass by.
struct SoftmaxState {
  float* largest;  // [rows]: largest score so far, in units of log2
  float* sums;     // [rows][softmax_sum_width()]: partial sums of the weights
  float* shrink;   // [rows]: what earlier results are to be multiplied with after this block
};
// Floats of `sums` per row.
int64_t softmax_sum_width();

void start_softmax(const SoftmaxState& state, int64_t rows);
// scores [rows][keys] to bf16 weights 2^(scale * score - largest) of the same layout.
void soften_block(const float* scores, int64_t rows, int64_t keys, float scale, const SoftmaxState& state,
                  uint16_t* weights);
// out = out * shrink + product, both [rows][width].
void accumulate_block(float* out, const float* product, int64_t rows, int64_t width, const SoftmaxState& state);
// Row i of `out` divided by its sum, as bf16, to result + i * result_stride.
void finish_softmax(const float* out, int64_t rows, int64_t width, const SoftmaxState& state, uint16_t* result,
                    int64_t result_stride);

}  // namespace dreamlab::cpu
