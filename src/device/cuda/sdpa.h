#pragma once

// cuDNN's scaled dot-product attention (flash attention: the scores are never stored).
#include <cudnn_graph.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "device/cuda/cudnn_graph.h"
#include "tensor/dtype.h"

namespace dreamlab::cuda {

// softmax(q k^T / sqrt(head_size)) v. Tokens of heads * head_size channels, which may be columns of wider ones (of a
// fused projection); images follow one another.
struct SdpaProblem {
  DType dtype;  // f16 or bf16; sums and softmax are f32
  int64_t images, heads, head_size, queries, keys;
  int64_t q_stride, k_stride, v_stride;  // elements from one token to the next
  bool causal;                           // token i sees tokens 0..i

  auto operator<=>(const SdpaProblem&) const = default;
};

// Attention on one handle, whose stream it runs on. A result element does not depend on the number of images.
class Sdpa {
 public:
  explicit Sdpa(cudnnHandle_t handle);

  // Whether cuDNN can do it. The first call for a problem looks for a plan, which compiles a kernel; the answer is
  // kept.
  bool supports(const SdpaProblem& problem);
  // Of a supported problem.
  size_t workspace_bytes(const SdpaProblem& problem);
  // out: [images, queries, heads * head_size], dense. Memory at multiples of 16 bytes. Of a supported problem; nothing
  // but launches once supports() has been asked. Throws Error(unsupported) if it is not supported.
  void run(const SdpaProblem& problem, const void* q, const void* k, const void* v, void* out, void* workspace);

  // Why the last problem was refused, or why its images go one by one: cuDNN's words, for a log.
  std::string last_refusal() const { return plans_.last_refusal(); }

 private:
  const PlanCache<SdpaProblem>::Plan& plan(const SdpaProblem& problem);

  cudnnHandle_t handle_;
  PlanCache<SdpaProblem> plans_;
};

}  // namespace dreamlab::cuda
