#include "device/shape_checks.h"

#include "base/error.h"

namespace dreamlab {

void require_fit(bool condition, const char* operation, const Tensor& a, const Tensor& b) {
  if (!condition)
    fail(ErrorKind::internal, "{}: shapes {} and {} do not fit", operation, a.shape().to_string(),
         b.shape().to_string());
}

void check_linear_weight(const HostTensor& weight) {
  if (weight.shape.rank() != 2) fail(ErrorKind::internal, "weight {} of a matrix product", weight.shape.to_string());
}

void check_conv_weight(const HostTensor& weight, const ConvGeometry& geometry) {
  if (weight.shape.rank() != 4 || weight.shape[2] != geometry.kernel || weight.shape[3] != geometry.kernel)
    fail(ErrorKind::internal, "weight {} of a convolution with kernel {}", weight.shape.to_string(), geometry.kernel);
}

void check_geglu_weight(const HostTensor& weight) {
  if (weight.shape[0] % 2 != 0) fail(ErrorKind::internal, "weight {} of a GEGLU", weight.shape.to_string());
}

void check_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads) {
  require_fit(q.shape().rank() == 3 && k.shape().rank() == 3 && q.dim(0) == k.dim(0) && q.dim(2) == k.dim(2) &&
                  q.dim(2) % heads == 0,
              "attention", q, k);
  require_fit(k.shape() == v.shape(), "attention", k, v);
}

int64_t convolved_side(int64_t pixels, const ConvGeometry& geometry) {
  return (pixels + geometry.pad_before + geometry.pad_after - geometry.kernel) / geometry.stride + 1;
}

Shape convolved_shape(const Tensor& x, Size seen, const ConvWeights& weights) {
  if (x.shape().rank() != 4 || x.channels() != weights.in_channels)
    fail(ErrorKind::internal, "conv2d: input {} for weights of {} channels", x.shape().to_string(),
         weights.in_channels);
  const int64_t height = convolved_side(seen.height, weights.geometry);
  const int64_t width = convolved_side(seen.width, weights.geometry);
  if (height <= 0 || width <= 0)
    fail(ErrorKind::internal, "conv2d: input {} is smaller than the kernel", x.shape().to_string());
  return {x.dim(0), height, width, weights.out_channels};
}

}  // namespace dreamlab
