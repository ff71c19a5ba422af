#include "scheduler/guidance.h"

#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

void require_same_size(size_t a, size_t b) {
  if (a != b) fail(ErrorKind::internal, "guidance: predictions of {} and {} elements", a, b);
}

// With n - 1 in the denominator, as torch.std.
double standard_deviation(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value);
  const double mean = sum / static_cast<double>(values.size());
  double squares = 0.0;
  for (const float value : values) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
  return std::sqrt(squares / (static_cast<double>(values.size()) - 1.0));
}

}  // namespace

void combine_guidance(std::span<const float> uncond, std::span<const float> cond, float scale, std::span<float> out) {
  require_same_size(uncond.size(), cond.size());
  require_same_size(uncond.size(), out.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = uncond[i] + scale * (cond[i] - uncond[i]);
}

void rescale_guidance(std::span<const float> cond, float rescale, std::span<float> guided) {
  require_same_size(cond.size(), guided.size());
  const double deviation = standard_deviation(guided);
  if (!(deviation > 0.0)) return;  // a constant prediction has nothing to scale
  const double ratio = standard_deviation(cond) / deviation;
  const float factor = static_cast<float>(rescale * ratio + (1.0 - rescale));
  for (float& value : guided) value *= factor;
}

}  // namespace dreamlab
