#include "device/cuda/sdpa.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace dreamlab::cuda {
namespace {

enum Uid : int64_t { q_uid = 1, k_uid, v_uid, out_uid, scale_uid, masked_uid, first_intermediate_uid };

using Storage = TensorInfo::Storage;

// [images, heads, tokens, head size] of tokens that lie `stride` elements apart.
TensorInfo tokens(const SdpaProblem& p, int64_t uid, int64_t count, int64_t stride) {
  return {.uid = uid,
          .type = cudnn_type(p.dtype),
          .dims = {p.images, p.heads, count, p.head_size},
          .strides = {count * stride, p.head_size, stride, 1}};
}

TensorInfo host_scalar(int64_t uid) {
  return {.uid = uid,
          .type = CUDNN_DATA_FLOAT,
          .dims = {1, 1, 1, 1},
          .strides = {1, 1, 1, 1},
          .storage = Storage::host_scalar};
}

void require(bool condition, const char* what) {
  if (!condition) fail(ErrorKind::unsupported, "cuDNN attention: {}", what);
}

void require_supported(const SdpaProblem& p) {
  require(p.dtype == DType::f16 || p.dtype == DType::bf16, "only of f16 and bf16");
  require(p.head_size % 8 == 0 && p.head_size <= 256, "the head size is not a multiple of 8 up to 256");
  require(p.q_stride % 8 == 0 && p.k_stride % 8 == 0 && p.v_stride % 8 == 0, "tokens are not at multiples of 16 bytes");
}

// One operation; since cuDNN 9.13.1, masks since 9.21.
OperationGraph build_single_operation(const SdpaProblem& p, cudnnHandle_t handle,
                                      std::shared_ptr<KernelCache> kernels) {
  require_supported(p);
  require(!p.causal, "no mask in one operation");
  OperationGraph graph(std::move(kernels));
  Descriptor operation(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, graph.tensor(tokens(p, q_uid, p.queries, p.q_stride)));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, graph.tensor(tokens(p, k_uid, p.keys, p.k_stride)));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, graph.tensor(tokens(p, v_uid, p.keys, p.v_stride)));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC,
                graph.tensor(tokens(p, out_uid, p.queries, p.heads * p.head_size)));
  operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, graph.tensor(host_scalar(scale_uid)));
  graph.add(std::move(operation));
  graph.finalize(handle);
  return graph;
}

// The operations it consists of, which cuDNN recognises as attention: they have to be just these, in this order.
class OperationByOperation {
 public:
  OperationByOperation(const SdpaProblem& problem, cudnnHandle_t handle, std::shared_ptr<KernelCache> kernels)
      : p_(problem), graph_(std::move(kernels)) {
    require_supported(p_);
    TensorInfo k_transposed = tokens(p_, k_uid, p_.keys, p_.k_stride);
    std::swap(k_transposed.dims[2], k_transposed.dims[3]);
    std::swap(k_transposed.strides[2], k_transposed.strides[3]);

    const Descriptor& products = scores();
    multiply(graph_.tensor(tokens(p_, q_uid, p_.queries, p_.q_stride)), graph_.tensor(k_transposed), products);
    const Descriptor& scaled = scores();
    pointwise(CUDNN_POINTWISE_MUL, products, &graph_.tensor(host_scalar(scale_uid)), scaled);
    const Descriptor& weights = softmax(p_.causal ? causal_mask(scaled) : scaled);
    multiply(weights, graph_.tensor(tokens(p_, v_uid, p_.keys, p_.v_stride)),
             graph_.tensor(tokens(p_, out_uid, p_.queries, p_.heads * p_.head_size)));
    graph_.finalize(handle);
  }

  OperationGraph take() { return std::move(graph_); }

 private:
  const Descriptor& scores(cudnnDataType_t type = CUDNN_DATA_FLOAT) { return intermediate(type, p_.keys); }
  // One number for each query.
  const Descriptor& row() { return intermediate(CUDNN_DATA_FLOAT, 1); }
  const Descriptor& intermediate(cudnnDataType_t type, int64_t columns) {
    const int64_t matrix = p_.queries * columns;
    return graph_.tensor({.uid = next_uid_++,
                          .type = type,
                          .dims = {p_.images, p_.heads, p_.queries, columns},
                          .strides = {p_.heads * matrix, matrix, columns, 1},
                          .storage = Storage::intermediate});
  }

  void multiply(const Descriptor& a, const Descriptor& b, const Descriptor& c) {
    Descriptor product(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    product.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    product.finalize("matrix product");
    Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, graph_.keep(std::move(product)));
    graph_.add(std::move(operation));
  }

  void pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
    graph_.add_pointwise(mode, CUDNN_DATA_FLOAT, x, b, y);
  }

  void reduce(cudnnReduceTensorOp_t mode, const Descriptor& x, const Descriptor& y) {
    Descriptor reduction(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    reduction.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    reduction.set(CUDNN_ATTR_REDUCTION_OPERATOR, mode);
    reduction.finalize("reduction");
    Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, graph_.keep(std::move(reduction)));
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    graph_.add(std::move(operation));
  }

  // x where the query's index is at least the key's, else -inf.
  const Descriptor& causal_mask(const Descriptor& x) {
    const Descriptor& query = scores(CUDNN_DATA_INT32);
    graph_.add_index(2, x, query);
    const Descriptor& key = scores(CUDNN_DATA_INT32);
    graph_.add_index(3, x, key);
    const Descriptor& seen = scores(CUDNN_DATA_BOOLEAN);
    graph_.add_pointwise(CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, query, &key, seen);
    const Descriptor& masked = scores();
    graph_.add_pointwise(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, x, &graph_.tensor(host_scalar(masked_uid)),
                         masked, &seen);
    return masked;
  }

  const Descriptor& softmax(const Descriptor& x) {
    const Descriptor &maximum = row(), &shifted = scores(), &exponential = scores(), &sum = row();
    reduce(CUDNN_REDUCE_TENSOR_MAX, x, maximum);
    pointwise(CUDNN_POINTWISE_SUB, x, &maximum, shifted);
    pointwise(CUDNN_POINTWISE_EXP, shifted, nullptr, exponential);
    reduce(CUDNN_REDUCE_TENSOR_ADD, exponential, sum);
    // The logarithm of the sum belongs to the pattern, used or not.
    const Descriptor &logarithm = row(), &statistics = row();
    pointwise(CUDNN_POINTWISE_LOG, sum, nullptr, logarithm);
    pointwise(CUDNN_POINTWISE_ADD, maximum, &logarithm, statistics);
    const Descriptor& weights = scores(cudnn_type(p_.dtype));
    pointwise(CUDNN_POINTWISE_DIV, exponential, &sum, weights);
    return weights;
  }

  SdpaProblem p_;
  OperationGraph graph_;
  int64_t next_uid_ = first_intermediate_uid;
};

OperationGraph build_operation_by_operation(const SdpaProblem& p, cudnnHandle_t handle,
                                            std::shared_ptr<KernelCache> kernels) {
  return OperationByOperation(p, handle, std::move(kernels)).take();
}

// A compiled kernel of the single operation serves all lengths and numbers of images and heads. (Of the operations one
// by one, cuDNN 9.19 takes one compiled for another length and computes something else.)
std::string kind_of(const SdpaProblem& p) {
  return fmt::format("{} {} {}", name_of(p.dtype), p.head_size, p.causal);
}

void* at(const void* memory, int64_t elements) {
  return const_cast<uint16_t*>(static_cast<const uint16_t*>(memory) + elements);
}

}  // namespace

Sdpa::Sdpa(cudnnHandle_t handle)
    : handle_(handle), plans_(handle, {{build_single_operation, kind_of}, {build_operation_by_operation}}, true) {}

bool Sdpa::supports(const SdpaProblem& problem) {
  return plans_.find(problem, {}) != nullptr;
}

size_t Sdpa::workspace_bytes(const SdpaProblem& problem) {
  return plan(problem).plan->workspace_bytes();
}

void Sdpa::run(const SdpaProblem& problem, const void* q, const void* k, const void* v, void* out, void* workspace) {
  const auto& [plan, images_at_once] = this->plan(problem);
  float scale = 1.0f / std::sqrt(static_cast<float>(problem.head_size));
  float masked = -std::numeric_limits<float>::infinity();
  const int64_t q_image = problem.queries * problem.q_stride;
  const int64_t k_image = problem.keys * problem.k_stride;
  const int64_t v_image = problem.keys * problem.v_stride;
  const int64_t out_image = problem.queries * problem.heads * problem.head_size;
  for (int64_t image = 0; image < problem.images; image += images_at_once) {
    const std::array<std::pair<int64_t, void*>, 6> tensors = {{{q_uid, at(q, image * q_image)},
                                                               {k_uid, at(k, image * k_image)},
                                                               {v_uid, at(v, image * v_image)},
                                                               {out_uid, at(out, image * out_image)},
                                                               {scale_uid, &scale},
                                                               {masked_uid, &masked}}};
    // The last is the mask's.
    plan->execute(handle_, std::span(tensors).first(problem.causal ? 6 : 5), workspace);
  }
}

const PlanCache<SdpaProblem>::Plan& Sdpa::plan(const SdpaProblem& problem) {
  const auto* const found = plans_.find(problem, {});
  if (found == nullptr) fail(ErrorKind::unsupported, "cuDNN: no plan for an attention: {}", last_refusal());
  return *found;
}

}  // namespace dreamlab::cuda
