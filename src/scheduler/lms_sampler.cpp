#include <algorithm>
#include <cmath>

#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

// Linear multistep method in sigma (k-diffusion's sample_lms): integrates the polynomial through the last four slopes.
class LmsSampler : public SigmaSampler {
 public:
  LmsSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : SigmaSampler(config.prediction_type) {
    set_schedule(settings, config, steps);
  }

 private:
  static constexpr size_t kOrder = 4;

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    apply(derivative(sigma(index)), sample, output, slopes_.push(sample.size()));
    std::vector<Term> terms = {{1.0, sample}};
    for (size_t age = 0; age < slopes_.size(); ++age) {
      terms.push_back({weight(index, static_cast<int>(age)), slopes_[age]});
    }
    add_terms(terms, sample);
  }

  // The integral over the step of the Lagrange polynomial that is 1 at the slope of that age. Gauss's rule with two
  // points is exact for its degree, 3 at most.
  double weight(int index, int age) const {
    const double from = sigma(index);
    const double to = sigma(index + 1);
    const double middle = 0.5 * (from + to);
    const double half = 0.5 * (to - from);
    const double offset = half / std::sqrt(3.0);
    return half * (lagrange(index, age, middle - offset) + lagrange(index, age, middle + offset));
  }

  double lagrange(int index, int age, double at) const {
    double product = 1.0;
    for (int other = 0; other < static_cast<int>(slopes_.size()); ++other) {
      if (other == age) continue;
      product *= (at - sigma(index - other)) / (sigma(index - age) - sigma(index - other));
    }
    return product;
  }

  History slopes_{kOrder};
};

}  // namespace

std::unique_ptr<Sampler> make_lms(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<LmsSampler>(settings, config, steps);
}

}  // namespace dreamlab
