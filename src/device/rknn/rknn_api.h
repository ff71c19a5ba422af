#pragma once

// The part of the C interface of Rockchip's runtime (librknnrt.so, RKNN API 2) that is used here, declared anew from
// its published sizes, values and names. The runtime is opened at run time; nothing of the vendor's is needed to build.
#include <cstddef>
#include <cstdint>

namespace dreamlab::rknn {

using ContextHandle = uint64_t;  // rknn_context of a 64-bit system

constexpr int kSuccess = 0;
constexpr int kTimeout = -2;
constexpr int kDeviceUnavailable = -3;
constexpr int kMallocFailed = -4;
constexpr int kParameterInvalid = -5;
constexpr int kModelInvalid = -6;
constexpr int kContextInvalid = -7;
constexpr int kInputInvalid = -8;
constexpr int kOutputInvalid = -9;
constexpr int kDeviceUnmatched = -10;
constexpr int kTargetPlatformUnmatched = -13;

enum class Query : int32_t { in_out_num = 0, input_attr = 1, output_attr = 2, sdk_version = 5 };

enum class TensorType : int32_t { f32 = 0, f16 = 1, i8 = 2, u8 = 3, i16 = 4, u16 = 5, i32 = 6, u32 = 7, i64 = 8 };

// undefined: of tensors that are no pictures.
enum class TensorFormat : int32_t { nchw = 0, nhwc = 1, nc1hwc2 = 2, undefined = 3 };

enum class Quantization : int32_t { none = 0, dynamic_fixed_point = 1, affine_asymmetric = 2 };

enum class CoreMask : int32_t { automatic = 0, core0 = 1, core1 = 2, core2 = 4, all = 7 };

enum class MemorySync : int32_t { to_device = 1, from_device = 2, both = 3 };

constexpr uint32_t kMaxDims = 16;
constexpr uint32_t kMaxName = 256;

struct InputOutputCount {
  uint32_t inputs;
  uint32_t outputs;
};

struct TensorAttributes {
  uint32_t index;
  uint32_t dim_count;
  uint32_t dims[kMaxDims];
  char name[kMaxName];
  uint32_t elements;
  uint32_t size;  // bytes, without strides
  TensorFormat format;
  TensorType type;
  Quantization quantization;
  int8_t fixed_point_position;
  int32_t zero_point;
  float scale;
  uint32_t width_stride;      // elements from a row to the next; 0: the width
  uint32_t size_with_stride;  // bytes
  uint8_t pass_through;
  uint32_t height_stride;
};

struct Input {
  uint32_t index;
  void* buffer;
  uint32_t size;
  uint8_t pass_through;
  TensorType type;
  TensorFormat format;
};

struct Output {
  uint8_t wants_float;
  uint8_t is_preallocated;
  uint32_t index;
  void* buffer;
  uint32_t size;
};

struct Memory {
  void* address;
  uint64_t physical_address;
  int32_t file;
  int32_t offset;
  uint32_t size;
  uint32_t flags;
  void* private_data;
};

struct SdkVersion {
  char api[kMaxName];
  char driver[kMaxName];
};

static_assert(sizeof(ContextHandle) == 8);
static_assert(sizeof(InputOutputCount) == 8 && offsetof(InputOutputCount, outputs) == 4);
static_assert(sizeof(TensorAttributes) == 376);
static_assert(offsetof(TensorAttributes, dims) == 8 && offsetof(TensorAttributes, name) == 72);
static_assert(offsetof(TensorAttributes, elements) == 328 && offsetof(TensorAttributes, size) == 332);
static_assert(offsetof(TensorAttributes, format) == 336 && offsetof(TensorAttributes, type) == 340);
static_assert(offsetof(TensorAttributes, quantization) == 344 && offsetof(TensorAttributes, zero_point) == 352);
static_assert(offsetof(TensorAttributes, scale) == 356 && offsetof(TensorAttributes, width_stride) == 360);
static_assert(offsetof(TensorAttributes, size_with_stride) == 364 && offsetof(TensorAttributes, pass_through) == 368);
static_assert(offsetof(TensorAttributes, height_stride) == 372);
static_assert(sizeof(Input) == 32 && offsetof(Input, buffer) == 8 && offsetof(Input, size) == 16);
static_assert(offsetof(Input, pass_through) == 20 && offsetof(Input, type) == 24 && offsetof(Input, format) == 28);
static_assert(sizeof(Output) == 24 && offsetof(Output, index) == 4 && offsetof(Output, buffer) == 8);
static_assert(offsetof(Output, size) == 16);
static_assert(sizeof(Memory) == 40 && offsetof(Memory, file) == 16 && offsetof(Memory, size) == 24);
static_assert(offsetof(Memory, private_data) == 32);
static_assert(sizeof(SdkVersion) == 512);

// The functions, by the names that they have in the library. All but create_memory return kSuccess or a code above.
struct Functions {
  // size 0: `model` is the path of a file; else that many bytes.
  int (*init)(ContextHandle* context, void* model, uint32_t size, uint32_t flags, void* extension);
  int (*dup_context)(ContextHandle* from, ContextHandle* to);
  int (*destroy)(ContextHandle context);
  int (*query)(ContextHandle context, Query what, void* answer, uint32_t size);
  int (*set_core_mask)(ContextHandle context, CoreMask mask);
  int (*inputs_set)(ContextHandle context, uint32_t count, Input* inputs);
  int (*run)(ContextHandle context, void* extension);
  int (*outputs_get)(ContextHandle context, uint32_t count, Output* outputs, void* extension);
  int (*outputs_release)(ContextHandle context, uint32_t count, Output* outputs);
  Memory* (*create_mem)(ContextHandle context, uint32_t size);
  int (*destroy_mem)(ContextHandle context, Memory* memory);
  int (*set_io_mem)(ContextHandle context, Memory* memory, TensorAttributes* attributes);
  int (*mem_sync)(ContextHandle context, Memory* memory, MemorySync direction);
};

// What a code means, for people.
const char* explain(int code);

}  // namespace dreamlab::rknn
