#pragma once

// What several devices check of an operation's operands, and the shapes that follow. All throw Error(internal).
#include "device/device.h"

namespace dreamlab {

void require_fit(bool condition, const char* operation, const Tensor& a, const Tensor& b);

// weight [out, in]; [out, in, kernel, kernel]; [2 * inner, in].
void check_linear_weight(const HostTensor& weight);
void check_conv_weight(const HostTensor& weight, const ConvGeometry& geometry);
void check_geglu_weight(const HostTensor& weight);

// q [N, Tq, C], k and v [N, Tk, C], C being a multiple of the heads.
void check_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads);

// Pixels of the result along a side of so many.
int64_t convolved_side(int64_t pixels, const ConvGeometry& geometry);
// The result's shape for x [N, H, W, Cin], seen as if it had size `seen`.
Shape convolved_shape(const Tensor& x, Size seen, const ConvWeights& weights);

}  // namespace dreamlab
