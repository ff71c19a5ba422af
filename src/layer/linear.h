#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layer/context.h"
#include "layer/layer_scope.h"

namespace dreamlab {

// y = x W^T + bias. A 1x1 convolution is the same on channels-last tensors, so those are Linear too.
class Linear {
 public:
  // Weights "weight" [out, in] and "bias" [out] below `scope`.
  Linear(const LayerScope& scope, int64_t in, int64_t out, Bias bias = Bias::present);

  // x [.., in] to [.., out].
  Tensor forward(const Context& context, const Tensor& x, Epilogue epilogue = {}) const;

 private:
  std::string name_;
  std::unique_ptr<LinearWeights> weights_;
};

// Several linear layers on the same input as one product: their results side by side in the channels.
class FusedLinear {
 public:
  // parts: modules below `scope`, each [width, in].
  FusedLinear(const LayerScope& scope, const std::vector<std::string>& parts, int64_t in, int64_t width, Bias bias);

  // x [.., in] to [.., parts * width]; part i lies in columns [i * width, (i + 1) * width).
  Tensor forward(const Context& context, const Tensor& x) const;
  int64_t width() const { return width_; }

 private:
  std::vector<std::string> names_;
  int64_t width_;
  std::unique_ptr<LinearWeights> weights_;
};

}  // namespace dreamlab
