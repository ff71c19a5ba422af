#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "weights/model_config.h"

namespace dreamlab {

// One summand: every element of `values` times `factor`, which counts as f32.
struct Term {
  double factor;
  std::span<const float> values;
};

// out = the sum of the terms, elementwise, added up in f32 from left to right. `out` may be one of the summands.
void add_terms(std::initializer_list<Term> terms, std::span<float> out);
void add_terms(std::span<const Term> terms, std::span<float> out);

// What a sample and a network output say about something, as factors of the two.
struct Estimate {
  double sample;
  double output;
};

// The clean image and the noise in a sample of variance-preserving form, x = alpha x0 + sigma epsilon with alpha^2 +
// sigma^2 = 1. "v" is alpha epsilon - sigma x0 (Salimans and Ho 2022).
Estimate estimate_clean(PredictionType type, double alpha, double sigma);
Estimate estimate_noise(PredictionType type, double alpha, double sigma);

// The clean image in a sample of variance-exploding form, x = x0 + sigma epsilon, whose network was given x /
// sqrt(sigma^2 + 1).
Estimate estimate_clean_exploding(PredictionType type, double sigma);

// out = estimate.sample * sample + estimate.output * output
void apply(Estimate estimate, std::span<const float> sample, std::span<const float> output, std::span<float> out);

// Limits values to [-limit, limit].
void clip(std::span<float> values, double limit);

}  // namespace dreamlab
