#include "scheduler/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace dreamlab {
namespace {

// torch.linspace in f32, which counts from both ends.
std::vector<float> linspace(double first, double last, int count) {
  const float begin = static_cast<float>(first);
  const float end = static_cast<float>(last);
  const float step = count > 1 ? (end - begin) / static_cast<float>(count - 1) : 0.0f;
  std::vector<float> values(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] = i < count / 2 || count == 1 ? begin + step * static_cast<float>(i)
                                                                 : end - step * static_cast<float>(count - 1 - i);
  }
  return values;
}

// Nichol and Dhariwal 2021, section 3.2.
std::vector<float> cosine_betas(int count) {
  constexpr double kOffset = 0.008;
  constexpr double kLargest = 0.999;
  const auto alpha_bar = [](double t) {
    const double cosine = std::cos((t + kOffset) / (1.0 + kOffset) * std::numbers::pi / 2.0);
    return cosine * cosine;
  };
  std::vector<float> betas(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const double ratio = alpha_bar(static_cast<double>(i + 1) / count) / alpha_bar(static_cast<double>(i) / count);
    betas[static_cast<size_t>(i)] = static_cast<float>(std::min(1.0 - ratio, kLargest));
  }
  return betas;
}

std::vector<float> make_betas(const NoiseScheduleConfig& config) {
  if (!config.trained_betas.empty()) return {config.trained_betas.begin(), config.trained_betas.end()};
  const int count = static_cast<int>(config.num_train_timesteps);
  if (config.beta_schedule == "linear") return linspace(config.beta_start, config.beta_end, count);
  if (config.beta_schedule == "squaredcos_cap_v2") return cosine_betas(count);
  if (config.beta_schedule != "scaled_linear") {
    fail(ErrorKind::unsupported,
         "beta_schedule \"{}\" is unknown; there are linear, scaled_linear and squaredcos_cap_v2",
         config.beta_schedule);
  }
  std::vector<float> betas = linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end), count);
  for (float& beta : betas) beta *= beta;
  return betas;
}

std::vector<float> cumulative_product_of_alphas(const std::vector<float>& betas) {
  std::vector<float> products;
  products.reserve(betas.size());
  double product = 1.0;  // PyTorch accumulates in f64
  for (const float beta : betas) {
    product *= static_cast<double>(1.0f - beta);
    products.push_back(static_cast<float>(product));
  }
  return products;
}

// Shifts and scales sqrt(alpha_cumprod) so that the last timestep is noise alone (Lin et al. 2023, algorithm 1).
std::vector<float> betas_of_zero_terminal_snr(const std::vector<float>& betas) {
  std::vector<float> roots = cumulative_product_of_alphas(betas);
  for (float& value : roots) value = std::sqrt(value);
  const float first = roots.front();
  const float last = roots.back();
  for (float& value : roots) {
    value -= last;
    value *= first / (first - last);
  }
  std::vector<float> rescaled;
  rescaled.reserve(roots.size());
  float previous = 1.0f;
  for (const float root : roots) {
    const float product = root * root;
    rescaled.push_back(1.0f - product / previous);
    previous = product;
  }
  return rescaled;
}

}  // namespace

NoiseSchedule::NoiseSchedule(const NoiseScheduleConfig& config) {
  if (config.trained_betas.empty() && (config.num_train_timesteps < 2 || config.num_train_timesteps > 1'000'000)) {
    fail(ErrorKind::invalid_file, "noise schedule: num_train_timesteps is {}, allowed are 2 to 1000000",
         config.num_train_timesteps);
  }
  std::vector<float> betas = make_betas(config);
  for (const float beta : betas) {
    if (!(beta > 0.0f && beta < 1.0f)) {
      fail(ErrorKind::invalid_file, "noise schedule: a beta is {}, allowed are numbers between 0 and 1", beta);
    }
  }
  if (config.rescale_betas_zero_snr) betas = betas_of_zero_terminal_snr(betas);
  alphas_cumprod_ = cumulative_product_of_alphas(betas);
}

std::vector<float> NoiseSchedule::sigmas() const {
  constexpr float kSmallestAlpha = 0x1p-24f;  // f16 still holds it
  std::vector<float> sigmas;
  sigmas.reserve(alphas_cumprod_.size());
  for (const float alpha : alphas_cumprod_) {
    const float positive = alpha > 0.0f ? alpha : kSmallestAlpha;
    sigmas.push_back(std::sqrt((1.0f - positive) / positive));
  }
  return sigmas;
}

}  // namespace dreamlab
