#include "device/cuda/convolution.h"

#include <array>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "device/shape_checks.h"

namespace dreamlab::cuda {
namespace {

enum Uid : int64_t { x_uid = 1, filters_uid, bias_uid, residual_uid, y_uid, first_intermediate_uid };

auto key(const ConvProblem& p) {
  return std::tuple(p.dtype, p.images, p.height, p.width, p.in_channels, p.out_channels, p.geometry.kernel,
                    p.geometry.stride, p.geometry.pad_before, p.geometry.pad_after, p.bias, p.residual);
}

EngineRules rules(const ConvProblem& p) {
  // cuDNN's fallbacks for fused graphs are slower than a convolution of its own and a kernel after it, and take seconds
  // to compile.
  return {.tensor_cores = p.dtype != DType::f32, .fallbacks = !p.bias && !p.residual};
}

// Bytes of one image of x and of y.
struct ImageBytes {
  int64_t x, y;
};
ImageBytes image_bytes(const ConvProblem& p) {
  const auto element = static_cast<int64_t>(size_of(p.dtype));
  return {.x = p.height * p.width * p.in_channels * element,
          .y = convolved_side(p.height, p.geometry) * convolved_side(p.width, p.geometry) * p.out_channels * element};
}

TensorInfo nhwc(int64_t uid, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w) {
  return {.uid = uid, .type = type, .dims = {n, c, h, w}, .strides = {h * w * c, 1, w * c, c}};
}

// The image's own part of a tensor may be where a plan for one image starts.
int64_t alignment(int64_t image_bytes) {
  return std::gcd(int64_t{16}, image_bytes);
}

OperationGraph build(const ConvProblem& p, cudnnHandle_t handle, std::shared_ptr<KernelCache> kernels) {
  const ConvGeometry& geometry = p.geometry;
  const cudnnDataType_t type = cudnn_type(p.dtype);
  const ImageBytes bytes = image_bytes(p);
  const int64_t out_height = convolved_side(p.height, geometry), out_width = convolved_side(p.width, geometry);
  OperationGraph graph(std::move(kernels));

  TensorInfo x = nhwc(x_uid, type, p.images, p.in_channels, p.height, p.width);
  x.alignment = alignment(bytes.x);
  const TensorInfo filters = nhwc(filters_uid, type, p.out_channels, p.in_channels, geometry.kernel, geometry.kernel);
  TensorInfo result = nhwc(y_uid, type, p.images, p.out_channels, out_height, out_width);
  result.alignment = alignment(bytes.y);

  // What is added; the last sum is y, those before it are never stored. The residual comes first because cuDNN's
  // kernels for bias and residual add them in that order.
  std::vector<TensorInfo> addends;
  if (p.residual) {
    addends.push_back(result);
    addends.back().uid = residual_uid;
  }
  if (p.bias) addends.push_back(nhwc(bias_uid, type, 1, p.out_channels, 1, 1));
  const auto sum = [&](size_t terms) -> const Descriptor& {
    if (terms == addends.size()) return graph.tensor(result);
    TensorInfo intermediate = result;
    intermediate.uid = first_intermediate_uid + static_cast<int64_t>(terms);
    intermediate.type = CUDNN_DATA_FLOAT;
    intermediate.storage = TensorInfo::Storage::intermediate;
    intermediate.alignment = 16;
    return graph.tensor(intermediate);
  };

  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  convolution.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  convolution.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  convolution.set_all(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::vector<int64_t>(2, geometry.pad_before));
  convolution.set_all(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::vector<int64_t>(2, geometry.pad_after));
  convolution.set_all(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::vector<int64_t>(2, 1));
  convolution.set_all(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::vector<int64_t>(2, geometry.stride));
  convolution.finalize("convolution");

  const Descriptor* y = &sum(0);
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, graph.tensor(x));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, graph.tensor(filters));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *y);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, graph.keep(std::move(convolution)));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  graph.add(std::move(operation));

  for (size_t i = 0; i < addends.size(); ++i) {
    const Descriptor& addend = graph.tensor(addends[i]);
    const Descriptor& next = sum(i + 1);
    graph.add_pointwise(CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, *y, &addend, next);
    y = &next;
  }
  graph.finalize(handle);
  return graph;
}

void* at(const void* memory, int64_t bytes) {
  return const_cast<std::byte*>(static_cast<const std::byte*>(memory) + bytes);
}

}  // namespace

std::strong_ordering ConvProblem::operator<=>(const ConvProblem& other) const {
  return key(*this) <=> key(other);
}

Convolutions::Convolutions(cudnnHandle_t handle)
    : handle_(handle),  // Images go one by one: cuDNN 9.19's kernel for few pixels sums in another order for several,
                        // with the same engine and knobs.
      plans_(handle, {{build}}, false) {}

bool Convolutions::supports(const ConvProblem& problem) {
  return plans_.find(problem, rules(problem)) != nullptr;
}

size_t Convolutions::workspace_bytes(const ConvProblem& problem) {
  return plan(problem).plan->workspace_bytes();
}

void Convolutions::run(const ConvProblem& problem, const ConvArguments& arguments, void* workspace) {
  const auto& [plan, images_at_once] = this->plan(problem);
  const ImageBytes bytes = image_bytes(problem);
  for (int64_t image = 0; image < problem.images; image += images_at_once) {
    std::array<std::pair<int64_t, void*>, 5> tensors;
    size_t count = 0;
    const auto pass = [&](int64_t uid, const void* memory, int64_t bytes_per_image) {
      tensors[count++] = {uid, at(memory, image * bytes_per_image)};
    };
    pass(x_uid, arguments.x, bytes.x);
    pass(filters_uid, arguments.filters, 0);
    if (problem.bias) pass(bias_uid, arguments.bias, 0);
    if (problem.residual) pass(residual_uid, arguments.residual, bytes.y);
    pass(y_uid, arguments.y, bytes.y);
    plan->execute(handle_, std::span(tensors).first(count), workspace);
  }
}

const PlanCache<ConvProblem>::Plan& Convolutions::plan(const ConvProblem& problem) {
  const auto* const found = plans_.find(problem, rules(problem));
  if (found == nullptr) fail(ErrorKind::unsupported, "cuDNN: no plan for a convolution: {}", last_refusal());
  return *found;
}

}  // namespace dreamlab::cuda
