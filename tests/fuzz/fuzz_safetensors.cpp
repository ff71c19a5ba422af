// Any bytes, as a safetensors file: the reader may only give tensors that lie inside the bytes, or throw Error.
#include "base/error.h"
#include "tensor_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamlab;
  const ExactCopy copy(data, size);
  try {
    touch(*read_safetensors(copy.bytes, copy.memory, "fuzz"));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) std::abort();
  }
  return 0;
}
