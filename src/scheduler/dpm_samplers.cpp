// DPM-Solver++ (Lu et al. 2022b), which integrates the network's estimate of the image over lambda exactly but for a
// polynomial in lambda.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

void require_dpm_solver(SolverType type) {
  if (type != SolverType::midpoint && type != SolverType::heun) {
    fail(ErrorKind::invalid_argument, "solver_type: DPM-Solver takes midpoint or heun");
  }
}

// What both solvers share: one step of order 1 to 3 from a sample at `from` to `to`.
class DpmSampler : public LambdaSampler {
 protected:
  DpmSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config)
      : LambdaSampler(config.prediction_type),
        order_(settings.solver_order),
        solver_(settings.solver_type),
        stochastic_(settings.algorithm_type == DpmAlgorithm::sde_dpmsolver_plus_plus),
        images_(static_cast<size_t>(settings.solver_order)) {
    require_dpm_solver(solver_);
    if (stochastic_ && order_ == 3) {
      fail(ErrorKind::invalid_argument, "solver_order: 3 asked for, sde-dpmsolver++ has 1 and 2");
    }
  }

  // Remembers the image that `output` estimates.
  void push_image(int index, std::span<const float> output, std::span<const float> sample) {
    const Level at = level(index);
    apply(estimate_clean(prediction_, at.alpha, at.sigma), sample, output, images_.push(sample.size()));
  }

  // Factors of the terms of the integral over a step of length h in lambda.
  struct Weights {
    double image;      // of the image at one end
    double slope;      // of its slope times h in a step of order 2
    double first;      // of its first derivative times h in a step of order 3
    double curvature;  // of its second derivative times h^2
  };

  Weights weights(double alpha, double h) const {
    const double decay = stochastic_ ? std::exp(-2.0 * h) : std::exp(-h);
    const double image = alpha * (1.0 - decay);
    const double first = alpha * (1.0 - (1.0 - decay) / (stochastic_ ? 2.0 * h : h));
    const double curvature = -alpha * ((decay - 1.0 + h) / (h * h) - 0.5);
    return {image, solver_ == SolverType::midpoint ? 0.5 * image : first, first, curvature};
  }

  // sample = its own share, plus noise where the method is stochastic. The images are added by the caller.
  Term sample_term(Level from, Level to, double h, std::span<const float> sample) const {
    const double decay = stochastic_ ? std::exp(-h) : 1.0;
    return {to.sigma / from.sigma * decay, sample};
  }

  void add_step_noise(Level to, double h, std::span<float> sample, NoiseSource& noise) {
    if (!stochastic_) return;
    noise_.resize(sample.size());
    noise.normals(noise_);  // the last step, too, draws: the stream has to move on as in diffusers
    add_terms({{1.0, sample}, {to.sigma * std::sqrt(1.0 - std::exp(-2.0 * h)), noise_}}, sample);
  }

  int order_;
  SolverType solver_;
  bool stochastic_;
  History images_;

 private:
  std::vector<float> noise_;
};

// Multistep: takes the derivatives from the images of the steps before.
class DpmMultistepSampler : public DpmSampler {
 public:
  DpmMultistepSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : DpmSampler(settings, config),
        lower_order_final_(settings.lower_order_final && steps < kFewSteps),
        first_order_final_(lower_order_final_ || settings.euler_at_final ||
                           settings.final_sigmas_type == FinalSigma::zero) {
    set_schedule(settings, settings.timestep_spacing, config, steps);
  }

 private:
  int order_at(int index) const {
    const int left = total_calls() - index;
    if (left == 1 && first_order_final_) return 1;
    const int known = std::min(order_, static_cast<int>(images_.size()));
    return left == 2 && lower_order_final_ ? std::min(known, 2) : known;
  }

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    push_image(index, output, sample);
    const Level to = level(index + 1);
    const Level from = level(index);
    const double h = to.lambda - from.lambda;
    const Weights weight = weights(to.alpha, h);
    const Term kept = sample_term(from, to, h, sample);
    const int order = order_at(index);
    if (order == 1) {
      add_terms({kept, {weight.image, images_[0]}}, sample);
    } else if (order == 2) {
      const double slope = weight.slope * h / (from.lambda - level(index - 1).lambda);
      add_terms({kept, {weight.image + slope, images_[0]}, {-slope, images_[1]}}, sample);
    } else {
      third_order(index, weight, kept, h, sample);
    }
    add_step_noise(to, h, sample, noise);
  }

  void third_order(int index, const Weights& weight, const Term& kept, double h, std::span<float> sample) {
    const double r0 = (level(index).lambda - level(index - 1).lambda) / h;
    const double r1 = (level(index - 1).lambda - level(index - 2).lambda) / h;
    // Divided differences d0 = (m0 - m1) / r0 and d1 = (m1 - m2) / r1; the derivatives are combinations of the two.
    const double first_d0 = 1.0 + r0 / (r0 + r1);
    const double first_d1 = -r0 / (r0 + r1);
    const double second = 1.0 / (r0 + r1);
    const double d0 = (weight.first * first_d0 + weight.curvature * second) / r0;
    const double d1 = (weight.first * first_d1 - weight.curvature * second) / r1;
    add_terms({kept, {weight.image + d0, images_[0]}, {d1 - d0, images_[1]}, {-d1, images_[2]}}, sample);
  }

  bool lower_order_final_;
  bool first_order_final_;
};

// Singlestep: groups of steps of order 1, 2, ... that all start from the group's first sample (diffusers' split of a
// k-stage method into k steps).
class DpmSinglestepSampler : public DpmSampler {
 public:
  DpmSinglestepSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : DpmSampler(settings, config) {
    set_schedule(settings, TimestepSpacing::linspace, config, steps);
    orders_ = step_orders(settings, steps);
  }

 private:
  static std::vector<int> step_orders(const SamplerSettings& settings, int steps) {
    const int order = settings.solver_order;
    std::vector<int> orders(static_cast<size_t>(steps));
    for (int i = 0; i < steps; ++i) orders[static_cast<size_t>(i)] = i % order + 1;
    // Only the first order is defined for a step to noise level 0.
    const bool to_zero = settings.final_sigmas_type == FinalSigma::zero;
    if (to_zero || (settings.lower_order_final && steps % order == 0)) orders.back() = 1;
    return orders;
  }

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource& noise) override {
    push_image(index, output, sample);
    const int order = std::min(orders_[static_cast<size_t>(index)], static_cast<int>(images_.size()));
    if (order == 1) group_start_.assign(sample.begin(), sample.end());
    const Level to = level(index + 1);
    const Level from = level(index - (order - 1));
    const double h = to.lambda - from.lambda;
    const Weights weight = weights(to.alpha, h);
    const Term kept = sample_term(from, to, h, group_start_);
    if (order == 1) {
      add_terms({kept, {weight.image, images_[0]}}, sample);
    } else if (order == 2) {
      const double slope = weight.slope * h / (level(index).lambda - from.lambda);
      add_terms({kept, {slope, images_[0]}, {weight.image - slope, images_[1]}}, sample);
    } else {
      third_order(index, weight, kept, h, sample);
    }
    add_step_noise(to, h, sample, noise);
  }

  void third_order(int index, const Weights& weight, const Term& kept, double h, std::span<float> sample) {
    const Level from = level(index - 2);
    const double r0 = (level(index).lambda - from.lambda) / h;
    const double r1 = (level(index - 1).lambda - from.lambda) / h;
    // Divided differences from the group's first image: d0 = (m1 - m2) / r1 and d1 = (m0 - m2) / r0.
    double on_d0 = 0.0;
    double on_d1 = weight.first;
    if (solver_ == SolverType::heun) {
      on_d0 = (weight.first * r0 - 2.0 * weight.curvature) / (r0 - r1);
      on_d1 = (-weight.first * r1 + 2.0 * weight.curvature) / (r0 - r1);
    }
    const double m1 = on_d0 / r1;
    const double m0 = on_d1 / r0;
    add_terms({kept, {m0, images_[0]}, {m1, images_[1]}, {weight.image - m0 - m1, images_[2]}}, sample);
  }

  std::vector<int> orders_;
  std::vector<float> group_start_;
};

}  // namespace

std::unique_ptr<Sampler> make_dpm_multi(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<DpmMultistepSampler>(settings, config, steps);
}

std::unique_ptr<Sampler> make_dpm_single(const SamplerSettings& settings, const NoiseScheduleConfig& config,
                                         int steps) {
  return std::make_unique<DpmSinglestepSampler>(settings, config, steps);
}

}  // namespace dreamlab
