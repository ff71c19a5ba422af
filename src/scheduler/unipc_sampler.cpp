#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "scheduler/sampler_bases.h"
#include "scheduler/sampler_factories.h"

namespace dreamlab {
namespace {

constexpr int kMostOrder = 3;

// UniPC (Zhao et al. 2023) on image estimates: every step first corrects the sample with the output found there (UniC),
// then predicts the next one (UniP).
class UniPcSampler : public LambdaSampler {
 public:
  UniPcSampler(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps)
      : LambdaSampler(config.prediction_type),
        order_(settings.solver_order),
        solver_(settings.solver_type),
        lower_order_final_(settings.lower_order_final || settings.final_sigmas_type == FinalSigma::zero),
        images_(static_cast<size_t>(settings.solver_order) + 1) {
    if (solver_ != SolverType::bh1 && solver_ != SolverType::bh2) {
      fail(ErrorKind::invalid_argument, "solver_type: UniPC takes bh1 or bh2");
    }
    set_schedule(settings, settings.timestep_spacing, config, steps);
  }

 private:
  using Rhos = std::array<double, kMostOrder>;

  void do_step(int index, std::span<const float> output, std::span<float> sample, NoiseSource&) override {
    const Level at = level(index);
    apply(estimate_clean(prediction_, at.alpha, at.sigma), sample, output, images_.push(sample.size()));
    if (images_.size() > 1) correct(index, sample);
    const int wanted = lower_order_final_ ? std::min(order_, total_calls() - index) : order_;
    step_order_ = std::min(wanted, static_cast<int>(images_.size()));
    last_sample_.assign(sample.begin(), sample.end());
    predict(index, sample);
  }

  // From last_sample_ at index - 1 to `index` once more, now with the image found at `index` (images_[0]).
  void correct(int index, std::span<float> sample) {
    const Transition go(*this, index - 1, step_order_);
    const Rhos rhos = step_order_ == 1 ? Rhos{0.5} : go.solve(step_order_);
    // The differences are against images_[1]; images_[0] is the newest, at ratio 1.
    std::vector<Term> terms = {{go.sample, last_sample_}};
    double base = go.image;
    for (int k = 0; k < step_order_; ++k) {
      const bool newest = k == step_order_ - 1;
      const double factor =
          go.difference * rhos[static_cast<size_t>(k)] / (newest ? 1.0 : go.ratios[static_cast<size_t>(k)]);
      terms.push_back({factor, images_[newest ? 0 : static_cast<size_t>(k) + 2]});
      base -= factor;
    }
    terms.push_back({base, images_[1]});
    add_terms(terms, sample);
  }

  // From last_sample_ at `index` to index + 1.
  void predict(int index, std::span<float> sample) {
    const Transition go(*this, index, step_order_);
    std::vector<Term> terms = {{go.sample, last_sample_}};
    double base = go.image;
    if (step_order_ > 1) {
      const Rhos rhos = step_order_ == 2 ? Rhos{0.5} : go.solve(step_order_ - 1);
      for (int k = 0; k + 1 < step_order_; ++k) {
        const double factor = go.difference * rhos[static_cast<size_t>(k)] / go.ratios[static_cast<size_t>(k)];
        terms.push_back({factor, images_[static_cast<size_t>(k) + 1]});
        base -= factor;
      }
    }
    terms.push_back({base, images_[0]});
    add_terms(terms, sample);
  }

  // The step from `index` to index + 1 in numbers: what the sample, the image at `index` and the differences of images
  // count.
  struct Transition {
    Transition(const UniPcSampler& sampler, int index, int order) {
      const Level from = sampler.level(index);
      const Level to = sampler.level(index + 1);
      hh = from.lambda - to.lambda;
      sample = to.sigma / from.sigma;
      image = -to.alpha * std::expm1(hh);
      b_h = sampler.solver_ == SolverType::bh1 ? hh : std::expm1(hh);
      difference = -to.alpha * b_h;
      for (int k = 1; k < order; ++k) {
        ratios[static_cast<size_t>(k) - 1] = (sampler.level(index - k).lambda - from.lambda) / -hh;
      }
      ratios[static_cast<size_t>(order) - 1] = 1.0;
    }

    // The first `count` equations of R rho = b (Zhao et al. 2023, theorem 3.1), by Cramer's rule.
    Rhos solve(int count) const {
      Rhos b{};
      double phi = std::expm1(hh) / hh - 1.0;
      double factorial = 1.0;
      for (int i = 0; i < count; ++i) {
        b[static_cast<size_t>(i)] = phi * factorial / b_h;
        factorial *= i + 2;
        phi = phi / hh - 1.0 / factorial;
      }
      std::array<Rhos, kMostOrder> columns{};  // of R: powers 0, 1, 2 of each ratio
      for (size_t k = 0; k < kMostOrder; ++k) columns[k] = {1.0, ratios[k], ratios[k] * ratios[k]};
      if (count == 1) return {b[0]};
      if (count == 2) {
        const double whole = determinant2(columns[0], columns[1]);
        return {determinant2(b, columns[1]) / whole, determinant2(columns[0], b) / whole};
      }
      const double whole = determinant3(columns[0], columns[1], columns[2]);
      return {determinant3(b, columns[1], columns[2]) / whole, determinant3(columns[0], b, columns[2]) / whole,
              determinant3(columns[0], columns[1], b) / whole};
    }

    static double determinant2(const Rhos& p, const Rhos& q) { return p[0] * q[1] - p[1] * q[0]; }
    static double determinant3(const Rhos& p, const Rhos& q, const Rhos& r) {
      return p[0] * (q[1] * r[2] - q[2] * r[1]) - q[0] * (p[1] * r[2] - p[2] * r[1]) +
             r[0] * (p[1] * q[2] - p[2] * q[1]);
    }

    double hh;  // minus the step in lambda
    double sample;
    double image;
    double difference;
    double b_h;
    Rhos ratios{};
  };

  int order_;
  SolverType solver_;
  bool lower_order_final_;
  History images_;
  int step_order_ = 0;  // of the last prediction
  std::vector<float> last_sample_;
};

}  // namespace

std::unique_ptr<Sampler> make_unipc(const SamplerSettings& settings, const NoiseScheduleConfig& config, int steps) {
  return std::make_unique<UniPcSampler>(settings, config, steps);
}

}  // namespace dreamlab
