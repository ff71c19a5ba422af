#include <algorithm>
#include <cmath>

#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

// Antiderivatives by rho of the Lagrange polynomial in log rho that is 1 at b and 0 at the others.
double antiderivative(double rho, double b, double c) {
  return rho * (std::log(rho) - std::log(c) - 1.0) / (std::log(b) - std::log(c));
}

double antiderivative(double rho, double b, double c, double d) {
  const double t = std::log(rho);
  const double log_c = std::log(c);
  const double log_d = std::log(d);
  const double numerator = rho * (t * t - t * (log_c + log_d + 2.0) + log_c * log_d + log_c + log_d + 2.0);
  return numerator / ((std::log(b) - log_c) * (std::log(b) - log_d));
}

// DEIS (Zhang and Chen 2023), tAB in log rho: exponential integrator with the noise estimates extrapolated over
// log(sigma / alpha).
class DeisSampler : public LambdaSampler {
 public:
  DeisSampler(SamplerSettings settings, const NoiseScheduleConfig& config, int steps)
      : LambdaSampler(config.prediction_type),
        lower_order_final_(settings.lower_order_final && steps < kFewSteps),
        noises_(static_cast<size_t>(settings.solver_order)) {
    settings.final_sigmas_type = FinalSigma::sigma_min;  // log rho has no end at 0
    set_schedule(settings, settings.timestep_spacing, config, steps);
  }

 private:
  double rho(int index) const { return static_cast<double>(sigmas_[static_cast<size_t>(index)]); }

  int order_at(int index) const {
    const int left = total_calls() - index;
    const int known = static_cast<int>(noises_.size());
    return lower_order_final_ ? std::min(known, left) : known;
  }

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    const Level from = level(index);
    const Level to = level(index + 1);
    apply(estimate_noise(prediction_, from.alpha, from.sigma), sample, output, noises_.push(sample.size()));
    const Term kept{to.alpha / from.alpha, sample};
    const double s = rho(index);
    const double t = rho(index + 1);
    const int order = order_at(index);
    if (order == 1) {
      add_terms({kept, {to.alpha * (t - s), noises_[0]}}, sample);
    } else if (order == 2) {
      const double s1 = rho(index - 1);
      const auto integral = [&](double b, double c) { return antiderivative(t, b, c) - antiderivative(s, b, c); };
      add_terms({kept, {to.alpha * integral(s, s1), noises_[0]}, {to.alpha * integral(s1, s), noises_[1]}}, sample);
    } else {
      const double s1 = rho(index - 1);
      const double s2 = rho(index - 2);
      const auto integral = [&](double b, double c, double d) {
        return antiderivative(t, b, c, d) - antiderivative(s, b, c, d);
      };
      add_terms({kept,
                 {to.alpha * integral(s, s1, s2), noises_[0]},
                 {to.alpha * integral(s1, s2, s), noises_[1]},
                 {to.alpha * integral(s2, s, s1), noises_[2]}},
                sample);
    }
  }

  bool lower_order_final_;
  History noises_;
};

}  // namespace

std::unique_ptr<Sampler> make_deis(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<DeisSampler>(settings, config, steps);
}

}  // namespace dreamlab
