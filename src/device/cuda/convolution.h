#pragma once

// cuDNN's 2-d convolutions with what is fused to them.
#include <cudnn_graph.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "device/cuda/cudnn_graph.h"
#include "device/device.h"
#include "tensor/dtype.h"

namespace dreamlab::cuda {

// y = conv(x, w) [+ bias] [+ residual]. Tensors are dense NHWC; filters are [out, kernel, kernel, in]
// (cuDNN's KRSC).
struct ConvProblem {
  DType dtype;                                               // f16, bf16 or f32, of all tensors; sums are f32
  int64_t images, height, width, in_channels, out_channels;  // height and width: x's
  ConvGeometry geometry;
  // cuDNN has ready kernels that add these; for an f32 bias to f16 or bf16, or one of each image, it would compile a
  // general one.
  bool bias;      // [out]
  bool residual;  // shape of the result

  std::strong_ordering operator<=>(const ConvProblem& other) const;
  bool operator==(const ConvProblem& other) const { return (*this <=> other) == 0; }
};

// Device memory, each tensor at a multiple of 16 bytes. Null where the problem has no such tensor.
struct ConvArguments {
  const void* x;
  const void* filters;
  const void* bias;
  const void* residual;
  void* y;
};

// Convolutions on one handle, whose stream they run on. A result element does not depend on the number of images.
class Convolutions {
 public:
  explicit Convolutions(cudnnHandle_t handle);

  // Whether cuDNN can do it in one go. The first call for a problem looks for a plan, which may compile a kernel; the
  // answer is kept.
  bool supports(const ConvProblem& problem);
  // Of a supported problem.
  size_t workspace_bytes(const ConvProblem& problem);
  // Of a supported problem; nothing but launches once supports() has been asked. Throws Error(unsupported) if it is not
  // supported.
  void run(const ConvProblem& problem, const ConvArguments& arguments, void* workspace);

  // Why the last problem was refused, or why its images go one by one: cuDNN's words, for a log.
  std::string last_refusal() const { return plans_.last_refusal(); }

 private:
  const PlanCache<ConvProblem>::Plan& plan(const ConvProblem& problem);

  cudnnHandle_t handle_;
  PlanCache<ConvProblem> plans_;
};

}  // namespace dreamlab::cuda
