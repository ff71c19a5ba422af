#pragma once

// Matrix products by cuBLASLt. An algorithm is chosen once for the shape of the weights and the rows of one image,
// never with split-K, and then used for any number of images: an element's sum does not depend on who shares the batch.
#include <cublasLt.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "tensor/dtype.h"

namespace dreamlab::cuda {

// result [rows, columns] = alpha * x [rows, depth] * b + addend + bias
struct Product {
  DType dtype = DType::f16;         // of x, b and bias
  DType result_dtype = DType::f16;  // of result and addend: the same, or f32
  int64_t rows = 0, columns = 0, depth = 0;
  int64_t x_stride = 0, b_stride = 0, result_stride = 0;  // elements from one row to the next
  bool b_is_transposed = true;  // b is [columns, depth], as weights are; else [depth, columns]
  bool bias = false;            // [columns]
  bool addend = false;          // as result, with its stride
  int64_t rows_of_image = 1;    // what the algorithm is chosen for

  auto operator<=>(const Product&) const = default;
};

struct ProductArguments {
  const void* x = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;
  const void* addend = nullptr;
  void* result = nullptr;
  float alpha = 1.0f;
};

class Matmul {
 public:
  static constexpr size_t kWorkspace = size_t{32} << 20;

  explicit Matmul(cublasLtHandle_t handle) : handle_(handle) {}
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // Throws Error(unsupported) where the library has no algorithm.
  void run(const Product& product, const ProductArguments& arguments, void* workspace, cudaStream_t stream);

 private:
  // What a product is to the library.
  struct Plan {
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t weights = nullptr, x = nullptr, result = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
    int64_t rows = 0;  // at once: all, or one image's
  };
  struct Choice {
    cublasLtMatmulAlgo_t algorithm{};
    bool any_images = false;  // whether it does for any number of them
  };
  // Of the pointers, too, the algorithm depends on: 16 where all are multiples of it.
  struct Key {
    Product product;
    int alignment;
    auto operator<=>(const Key&) const = default;
  };

  const Plan& plan(const Product& product, int alignment);
  const Choice& choice(Product product, int alignment);
  Choice choose(const Product& product, int alignment);
  std::vector<cublasLtMatmulAlgo_t> suggestions(const Product& product, int alignment);
  bool does_for(const cublasLtMatmulAlgo_t& algorithm, Product product, int64_t rows);
  static Plan describe(const Product& product);
  static void release(Plan& plan);

  cublasLtHandle_t handle_;
  std::map<Key, Plan> plans_;
  std::map<Key, Choice> choices_;  // by the product of one image
};

}  // namespace dreamlab::cuda
