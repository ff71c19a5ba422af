#include "verify/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dreamlab {
namespace {

// How much of its bound a result uses up; comparable between bounds, and over 1 when it failed.
double strain(const TensorResult& result) {
  if (result.error == 0) return 0;
  return result.bound > 0 ? result.error / result.bound : 1e300;
}

}  // namespace

bool CaseResult::passed() const {
  return failure.empty() &&
         std::all_of(tensors.begin(), tensors.end(), [](const TensorResult& tensor) { return tensor.passed(); });
}

const TensorResult* CaseResult::worst() const {
  const auto found = std::max_element(tensors.begin(), tensors.end(), [](const TensorResult& a, const TensorResult& b) {
    return strain(a) < strain(b);
  });
  return found == tensors.end() ? nullptr : &*found;
}

int VerifyReport::passed() const {
  return static_cast<int>(std::count_if(cases.begin(), cases.end(), [](const CaseResult& c) { return c.passed(); }));
}

int VerifyReport::failed() const {
  return static_cast<int>(cases.size()) - passed();
}

std::string line_of(const CaseResult& result) {
  std::string line = fmt::format("{}  {}", result.passed() ? "pass" : "FAIL", result.record);
  if (!result.name.empty()) line += " " + result.name;
  if (!result.model.empty()) line += " (" + result.model + ")";
  if (const TensorResult* worst = result.worst()) {
    line += fmt::format("  error {:.1e}, bound {:.1e} ({})", worst->error, worst->bound, worst->tensor);
  }
  if (!result.failure.empty()) line += "  " + result.failure;
  return line;
}

nlohmann::json to_json(const VerifyReport& report) {
  nlohmann::json cases = nlohmann::json::array();
  for (const CaseResult& result : report.cases) {
    nlohmann::json tensors = nlohmann::json::array();
    for (const TensorResult& tensor : result.tensors) {
      tensors.push_back({{"tensor", tensor.tensor}, {"error", tensor.error}, {"bound", tensor.bound}});
    }
    cases.push_back({{"record", result.record},
                     {"case", result.name},
                     {"model", result.model},
                     {"passed", result.passed()},
                     {"failure", result.failure},
                     {"tensors", tensors}});
  }
  return {{"passed", report.passed()}, {"failed", report.failed()}, {"cases", cases}};
}

}  // namespace dreamlab
