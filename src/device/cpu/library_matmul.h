#pragma once

// oneDNN's matrix product on the calling thread, wrapped: one object for each shape. On a processor for which it has no
// bf16 kernels, such operands are kept in bf16 and widened to f32 as they are multiplied.
#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "tensor/dtype.h"

namespace dreamlab::cpu {

// c[rows][columns] (f32) = a[rows][k] * b[k][columns], a and c dense (the fast kernels take nothing else); a and b in
// one dtype, b packed as the library wants it.
class LibraryMatmul {
 public:
  enum class Result { replace, add };  // what happens to c: c = a * b or c += a * b

  // layout: how b is packed already; null: as suits this shape best.
  // Throws Error(internal) where the library refuses.
  LibraryMatmul(DType dtype, int64_t rows, int64_t k, int64_t columns, const dnnl::memory::desc* layout = nullptr,
                Result result = Result::replace);

  // How b has to be packed.
  const dnnl::memory::desc& layout() const { return b_; }
  // Thread-safe; `scratch` belongs to the caller.
  void run(const void* a, const void* b, float* c, std::vector<std::byte>& scratch) const;

 private:
  bool widens_;
  dnnl::matmul primitive_;
  dnnl::memory::desc a_, b_, c_, scratchpad_;
};

// Bytes of a matrix that is packed in `layout`.
size_t packed_size(const dnnl::memory::desc& layout, DType dtype);

// Packs b[k][columns], whose elements lie k_stride and column_stride apart, into `layout`.
void pack_for_library(const void* b, DType dtype, int64_t k, int64_t columns, int64_t k_stride, int64_t column_stride,
                      const dnnl::memory::desc& layout, void* packed);

// Whether the library multiplies bf16 here, natively or emulated.
bool library_has_bf16();
// Whether bf16 products run in AMX tiles, several times faster than vectors.
bool has_matrix_tiles();

}  // namespace dreamlab::cpu
