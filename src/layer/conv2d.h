#pragma once

#include <memory>
#include <optional>
#include <string>

#include "layer/context.h"
#include "layer/layer_scope.h"

namespace dreamlab {

// A two-dimensional convolution over [N, H, W, C].
class Conv2d {
 public:
  // Weights "weight" [out, in, kernel, kernel] and, with Bias::present, "bias" [out] below `scope`.
  Conv2d(const LayerScope& scope, int64_t in, int64_t out, ConvGeometry geometry = {}, Bias bias = Bias::present);

  // x [N, H, W, in] to [N, H', W', out]. upsample_to: the size that x is enlarged to first, by nearest neighbor.
  Tensor forward(const Context& context, const Tensor& x, Epilogue epilogue = {},
                 std::optional<Size> upsample_to = std::nullopt) const;

 private:
  std::string name_;
  std::unique_ptr<ConvWeights> weights_;
};

}  // namespace dreamlab
