#pragma once

// What each network asks of its weights, as data: the names and shapes that follow from a configuration. Used to tell
// what is missing from a file, to make random weights, and to resolve the flattened module names of LoRA files.
#include <string>
#include <vector>

#include "tensor/shape.h"
#include "weights/model_config.h"

namespace dreamlab {

struct ExpectedTensor {
  std::string name;  // diffusers' module path and parameter: "down_blocks.0.resnets.1.conv1.weight"
  Shape shape;       // as PyTorch stores it: [out, in] for Linear, [out, in, kh, kw] for convolutions
};
using ExpectedTensors = std::vector<ExpectedTensor>;

ExpectedTensors expected_tensors(const UNetConfig& config);
ExpectedTensors expected_tensors(const VaeConfig& config);
ExpectedTensors expected_tensors(const TextEncoderConfig& config);
ExpectedTensors expected_tensors(const ControlNetConfig& config);
ExpectedTensors expected_tensors(const TaesdConfig& config);
ExpectedTensors expected_tensors(const RrdbNetConfig& config);
ExpectedTensors expected_tensors(const EspcnConfig& config);

}  // namespace dreamlab
