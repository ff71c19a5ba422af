#include "scheduler/latent_math.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace dreamlab {

void add_terms(std::initializer_list<Term> terms, std::span<float> out) {
  add_terms(std::span<const Term>(terms.begin(), terms.size()), out);
}

void add_terms(std::span<const Term> terms, std::span<float> out) {
  constexpr size_t kBlock = 256;  // sums stay in registers and cache, and `out` may alias a summand
  std::array<float, kBlock> sums;
  for (size_t begin = 0; begin < out.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, out.size() - begin);
    sums.fill(0.0f);
    for (const Term& term : terms) {
      const float factor = static_cast<float>(term.factor);
      const float* values = term.values.data() + begin;
      for (size_t i = 0; i < count; ++i) sums[i] += factor * values[i];
    }
    std::copy_n(sums.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

Estimate estimate_clean(PredictionType type, double alpha, double sigma) {
  switch (type) {
    case PredictionType::epsilon:
      return {1.0 / alpha, -sigma / alpha};
    case PredictionType::v_prediction:
      return {alpha, -sigma};
    case PredictionType::sample:
      return {0.0, 1.0};
  }
  fail(ErrorKind::internal, "a prediction type has no name");
}

Estimate estimate_noise(PredictionType type, double alpha, double sigma) {
  switch (type) {
    case PredictionType::epsilon:
      return {0.0, 1.0};
    case PredictionType::v_prediction:
      return {sigma, alpha};
    case PredictionType::sample:
      return {1.0 / sigma, -alpha / sigma};
  }
  fail(ErrorKind::internal, "a prediction type has no name");
}

Estimate estimate_clean_exploding(PredictionType type, double sigma) {
  switch (type) {
    case PredictionType::epsilon:
      return {1.0, -sigma};
    case PredictionType::v_prediction:
      return {1.0 / (sigma * sigma + 1.0), -sigma / std::sqrt(sigma * sigma + 1.0)};
    case PredictionType::sample:
      return {0.0, 1.0};
  }
  fail(ErrorKind::internal, "a prediction type has no name");
}

void apply(Estimate estimate, std::span<const float> sample, std::span<const float> output, std::span<float> out) {
  add_terms({{estimate.sample, sample}, {estimate.output, output}}, out);
}

void clip(std::span<float> values, double limit) {
  const float bound = static_cast<float>(limit);
  for (float& value : values) value = std::clamp(value, -bound, bound);
}

}  // namespace dreamlab
