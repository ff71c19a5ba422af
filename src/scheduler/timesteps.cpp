#include "scheduler/timesteps.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace dreamlab {
namespace {

std::vector<double> linspace(double last, int count) {
  std::vector<double> values(static_cast<size_t>(count), 0.0);
  const double step = last / std::max(count - 1, 1);
  for (int i = 1; i < count; ++i) values[static_cast<size_t>(i)] = i == count - 1 ? last : i * step;
  return values;
}

// From the last timestep down in equal strides, rounded to even.
std::vector<double> trailing(int steps, int train_timesteps) {
  const double ratio = static_cast<double>(train_timesteps) / steps;
  std::vector<double> values(static_cast<size_t>(steps));
  for (int i = 0; i < steps; ++i) values[static_cast<size_t>(i)] = std::nearbyint(train_timesteps - i * ratio) - 1.0;
  return values;
}

std::vector<double> ascending(const TimestepRule& rule, int count, int train_timesteps) {
  if (rule.spacing == TimestepSpacing::linspace) {
    std::vector<double> values = linspace(train_timesteps - 1.0, count);
    if (rule.whole) {
      for (double& value : values) value = std::nearbyint(value);
    }
    return values;
  }
  const int ratio = train_timesteps / count;
  std::vector<double> values(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) values[static_cast<size_t>(i)] = i * ratio + rule.steps_offset;
  return values;
}

}  // namespace

std::vector<double> spaced_timesteps(const TimestepRule& rule, int steps, int train_timesteps) {
  const bool from_the_end = rule.spacing == TimestepSpacing::trailing;
  const int left_out = rule.leaves_out_last && !from_the_end ? 1 : 0;
  const int offset = rule.spacing == TimestepSpacing::leading ? rule.steps_offset : 0;
  const int most = train_timesteps - std::max(left_out, offset);
  if (steps < 1 || steps > most) {
    fail(ErrorKind::invalid_argument, "steps: {} asked for, allowed are 1 to {}", steps, most);
  }
  if (from_the_end) return trailing(steps, train_timesteps);
  std::vector<double> values = ascending(rule, steps + left_out, train_timesteps);
  values.erase(values.begin(), values.begin() + left_out);
  std::reverse(values.begin(), values.end());
  return values;
}

SigmaSchedule sigmas_at(std::vector<double> timesteps, const std::vector<float>& training_sigmas) {
  SigmaSchedule schedule;
  schedule.timesteps = std::move(timesteps);
  const double last = static_cast<double>(training_sigmas.size()) - 1.0;
  for (const double timestep : schedule.timesteps) {
    const double position = std::clamp(timestep, 0.0, last);
    const size_t low = static_cast<size_t>(position);
    const size_t high = std::min(low + 1, training_sigmas.size() - 1);
    const double slope = static_cast<double>(training_sigmas[high]) - static_cast<double>(training_sigmas[low]);
    schedule.sigmas.push_back(slope * (position - static_cast<double>(low)) +
                              static_cast<double>(training_sigmas[low]));
  }
  return schedule;
}

SigmaSchedule karras_schedule(double largest, double smallest, int steps, const std::vector<float>& training_sigmas) {
  constexpr double kRho = 7.0;
  const double high = std::pow(largest, 1.0 / kRho);
  const double low = std::pow(smallest, 1.0 / kRho);
  SigmaSchedule schedule;
  for (const double ramp : linspace(1.0, steps)) {
    schedule.sigmas.push_back(std::pow(high + ramp * (low - high), kRho));
    schedule.timesteps.push_back(timestep_of_sigma(schedule.sigmas.back(), training_sigmas));
  }
  return schedule;
}

double timestep_of_sigma(double sigma, const std::vector<float>& training_sigmas) {
  constexpr double kSmallest = 1e-10;
  // f32 as in NumPy, where the table of logarithms decides the type: the result has only that precision.
  const float log_sigma = static_cast<float>(std::log(std::max(sigma, kSmallest)));
  const auto log_at = [&](size_t index) { return std::log(training_sigmas[index]); };
  size_t begin = 0;  // the last training level that is not above sigma is in [begin, end)
  size_t end = training_sigmas.size() - 1;
  while (end - begin > 1) {
    const size_t middle = (begin + end) / 2;
    (log_at(middle) <= log_sigma ? begin : end) = middle;
  }
  const float low = log_at(begin);
  const float high = log_at(begin + 1);
  const float weight = std::clamp((low - log_sigma) / (low - high), 0.0f, 1.0f);
  return static_cast<double>(1.0f - weight) * static_cast<double>(begin) +
         static_cast<double>(weight) * static_cast<double>(begin + 1);
}

}  // namespace dreamlab
