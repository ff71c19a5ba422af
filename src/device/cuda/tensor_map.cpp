#include "device/cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's function, which the library is not linked to: it is there on machines without a GPU, too.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    constexpr unsigned kSince = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kSince, cudaEnableDefault, &result),
          "looking for the driver's cuTensorMapEncodeTiled");
    if (result != cudaDriverEntryPointSuccess || found == nullptr)
      fail(ErrorKind::unsupported, "the driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

}  // namespace

CUtensorMap tensor_map(DType dtype, const void* data, std::array<int64_t, 4> dims, std::array<int64_t, 3> strides,
                       std::array<int, 4> box, int step) {
  std::array<cuuint64_t, 4> sizes{};
  std::array<cuuint64_t, 3> bytes{};
  std::array<cuuint32_t, 4> steps = {1, static_cast<cuuint32_t>(step), static_cast<cuuint32_t>(step), 1}, spans{};
  for (size_t i = 0; i < sizes.size(); ++i) sizes[i] = static_cast<cuuint64_t>(dims[i]);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<cuuint64_t>(strides[i]) * size_of(dtype);
  for (size_t i = 0; i < spans.size(); ++i) spans[i] = static_cast<cuuint32_t>(box[i]) * steps[i];
  CUtensorMap map{};
  const CUresult result = encode_tiled()(
      &map, dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
      const_cast<void*>(data), sizes.data(), bytes.data(), spans.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    fail(ErrorKind::internal, "the driver refuses a tensor [{}, {}, {}, {}] for the copy engine: error {}", dims[3],
         dims[2], dims[1], dims[0], static_cast<int>(result));
  return map;
}

}  // namespace dreamlab::cuda
