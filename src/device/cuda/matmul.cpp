#include "device/cuda/matmul.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {
namespace {

// Rows that algorithms are asked for at least: those for single rows are of another kind.
constexpr int64_t kLeastRows = 16;
constexpr int kSuggestions = 32;
// Numbers of images that an algorithm has to do for.
constexpr std::array<int64_t, 5> kImages = {1, 2, 3, 8, 32};

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return CUDA_R_16F;
    case DType::bf16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

template <typename T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "describing a product");
}
template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "describing a preference");
}

cublasLtMatrixLayout_t layout(DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                   stride),
        "describing a matrix");
  return layout;
}

int alignment_of(const ProductArguments& arguments, const Product& product) {
  uintptr_t bits = 0;
  for (const void* pointer :
       {arguments.x, arguments.b, arguments.bias, arguments.addend, static_cast<const void*>(arguments.result)})
    bits |= reinterpret_cast<uintptr_t>(pointer);
  return bits % 16 == 0 ? 16 : static_cast<int>(size_of(product.dtype));
}

}  // namespace

Matmul::~Matmul() {
  for (auto& [key, plan] : plans_) release(plan);
}

void Matmul::release(Plan& plan) {
  for (cublasLtMatrixLayout_t layout : {plan.weights, plan.x, plan.result})
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
  if (plan.operation != nullptr) cublasLtMatmulDescDestroy(plan.operation);
  plan = {};
}

// The library's matrices are stored by columns: to it, a row-major [rows, columns] is its transpose. So it computes
// result^T = b^T x^T, the weights being its first operand.
Matmul::Plan Matmul::describe(const Product& product) {
  Plan plan;
  try {
    check(cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    const cublasOperation_t of_weights = product.b_is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, of_x = CUBLAS_OP_N;
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, of_weights);
    set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, of_x);
    if (product.bias) {
      set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(product.dtype));
      // Some algorithm that suits no bias at all is found where the pointer is null; run() sets the real one.
      set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(uintptr_t{256}));
    }
    plan.weights = product.b_is_transposed ? layout(product.dtype, product.depth, product.columns, product.b_stride)
                                           : layout(product.dtype, product.columns, product.depth, product.b_stride);
    plan.x = layout(product.dtype, product.depth, product.rows, product.x_stride);
    plan.result = layout(product.result_dtype, product.columns, product.rows, product.result_stride);
  } catch (...) {
    release(plan);
    throw;
  }
  return plan;
}

std::vector<cublasLtMatmulAlgo_t> Matmul::suggestions(const Product& product, int alignment) {
  Plan plan = describe(product);
  cublasLtMatmulPreference_t preference = nullptr;
  std::array<cublasLtMatmulHeuristicResult_t, kSuggestions> found{};
  int count = 0;
  cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
  try {
    check(cublasLtMatmulPreferenceCreate(&preference), "describing a preference");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    // No split-K: the number of parts would follow from the number of rows, and the order of a sum with it.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
    const auto bytes = static_cast<uint32_t>(alignment);
    for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(preference, attribute, bytes);
    status = cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.weights, plan.x, plan.result, plan.result,
                                            preference, kSuggestions, found.data(), &count);
  } catch (...) {
    if (preference != nullptr) cublasLtMatmulPreferenceDestroy(preference);
    release(plan);
    throw;
  }
  cublasLtMatmulPreferenceDestroy(preference);
  release(plan);
  std::vector<cublasLtMatmulAlgo_t> result;
  for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < count; ++i)
    if (found[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS)
      result.push_back(found[static_cast<size_t>(i)].algo);
  return result;
}

bool Matmul::does_for(const cublasLtMatmulAlgo_t& algorithm, Product product, int64_t rows) {
  product.rows = rows;
  Plan plan = describe(product);
  cublasLtMatmulHeuristicResult_t verdict{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle_, plan.operation, plan.weights, plan.x, plan.result,
                                                        plan.result, &algorithm, &verdict);
  release(plan);
  return status == CUBLAS_STATUS_SUCCESS && verdict.workspaceSize <= kWorkspace;
}

Matmul::Choice Matmul::choose(const Product& product, int alignment) {
  // An algorithm for few rows is often one for nothing else: those for more are asked for first.
  const int64_t rows = product.rows_of_image;
  Product asked = product;
  for (const int64_t asked_rows : {std::max(rows, kLeastRows), rows}) {
    asked.rows = asked_rows;
    for (const cublasLtMatmulAlgo_t& algorithm : suggestions(asked, alignment)) {
      const bool for_all =
          std::ranges::all_of(kImages, [&](int64_t images) { return does_for(algorithm, product, images * rows); });
      if (for_all) return {algorithm, true};
    }
  }
  for (const cublasLtMatmulAlgo_t& algorithm : suggestions(asked, alignment))
    if (does_for(algorithm, product, rows)) return {algorithm, false};
  fail(ErrorKind::unsupported, "cuBLASLt has no algorithm for a product of [{}, {}] by [{}, {}] in {}", product.rows,
       product.depth, product.depth, product.columns, name_of(product.dtype));
}

const Matmul::Choice& Matmul::choice(Product product, int alignment) {
  product.rows = product.rows_of_image;
  const Key key{product, alignment};
  const auto known = choices_.find(key);
  if (known != choices_.end()) return known->second;
  return choices_.emplace(key, choose(product, alignment)).first->second;
}

const Matmul::Plan& Matmul::plan(const Product& product, int alignment) {
  const Key key{product, alignment};
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  const Choice& chosen = choice(product, alignment);
  // Where the algorithm is not one for any number of images, they go one by one.
  Product at_once = product;
  const bool all =
      product.rows == product.rows_of_image || (chosen.any_images && does_for(chosen.algorithm, product, product.rows));
  if (!all) at_once.rows = product.rows_of_image;
  Plan plan = describe(at_once);
  plan.algorithm = chosen.algorithm;
  plan.rows = at_once.rows;
  return plans_.emplace(key, plan).first->second;
}

void Matmul::run(const Product& product, const ProductArguments& arguments, void* workspace, cudaStream_t stream) {
  const Plan& of = plan(product, alignment_of(arguments, product));
  if (product.bias) set(of.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, arguments.bias);
  const float beta = product.addend ? 1.0f : 0.0f;
  const auto element = static_cast<int64_t>(size_of(product.dtype)),
             result_element = static_cast<int64_t>(size_of(product.result_dtype));
  for (int64_t row = 0; row < product.rows; row += of.rows) {
    const int64_t at_result = row * product.result_stride * result_element;
    void* const result = static_cast<char*>(arguments.result) + at_result;
    const void* const x = static_cast<const char*>(arguments.x) + row * product.x_stride * element;
    const void* const addend = product.addend ? static_cast<const char*>(arguments.addend) + at_result : result;
    check(cublasLtMatmul(handle_, of.operation, &arguments.alpha, arguments.b, of.weights, x, of.x, &beta, addend,
                         of.result, result, of.result, &of.algorithm, workspace, kWorkspace, stream),
          "multiplying");
  }
}

}  // namespace dreamlab::cuda
