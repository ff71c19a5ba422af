#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tensor/host_tensor.h"

namespace dreamlab {

// A tensor to be written: its values are asked for when its turn comes, so that a model need not fit into memory.
struct StoredTensor {
  std::string name;
  DType dtype;  // floating-point
  Shape shape;
  std::function<HostTensor()> values;  // of any floating-point dtype, as many elements
};

// Writes a .safetensors file that appears whole or not at all; returns its size in bytes. The layout is that of
// https://huggingface.co/docs/safetensors. Throws Error: unavailable (cannot be written), invalid_argument (a value is
// too large for f16).
uint64_t write_safetensors(const std::filesystem::path& path, std::vector<StoredTensor> tensors,
                           const std::map<std::string, std::string>& metadata);

}  // namespace dreamlab
