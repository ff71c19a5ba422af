#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace dreamlab {

// One tensor that was compared.
struct TensorResult {
  std::string tensor;
  double error =
      0;  // largest difference relative to the largest expected magnitude; infinite where something is not finite
  double bound = 0;
  bool passed() const { return error <= bound; }
};

// One case of a record file with one model file: what `dreamlab verify` prints a line about.
struct CaseResult {
  std::string record;  // "tiny-sd15/unet.safetensors"
  std::string name;    // "case0"
  std::string model;   // "models/tiny-sd15.ckpt"; empty where none is involved
  std::vector<TensorResult> tensors;
  std::string failure;  // why it failed whatever the figures say; empty if it did not

  bool passed() const;
  // The tensor nearest to its bound or farthest over it; nullptr where none was compared.
  const TensorResult* worst() const;
};

struct VerifyReport {
  std::vector<CaseResult> cases;
  int passed() const;
  int failed() const;
};

// "pass  tiny-sd15/unet.safetensors case0 (models/tiny-sd15.ckpt)  error 2.1e-06, bound 1.0e-04 (out)"
std::string line_of(const CaseResult& result);
nlohmann::json to_json(const VerifyReport& report);

}  // namespace dreamlab
