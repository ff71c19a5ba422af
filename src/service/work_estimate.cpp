#include "service/work_estimate.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace dreamlab {

namespace {

int64_t pixels_of(PictureSize size) {
  return std::max<int64_t>(1, size.width * size.height);
}

// Until `job` is done, where all advance in turn: its own steps, as many of the others, and the ends of those that are
// done no later.
double seconds_until_done(const WorkLeft& job, std::span<const WorkLeft> all) {
  double sum = 0;
  for (const WorkLeft& other : all) {
    sum += std::min(job.steps, other.steps) * other.step_s;
    if (other.steps <= job.steps) sum += other.end_s;
  }
  return sum;
}

}  // namespace

void WorkEstimate::record_step(PictureSize size, int rows, double seconds) {
  record(steps_, size, seconds / std::max(1, rows));
}

void WorkEstimate::record_end(PictureSize size, double seconds) {
  record(ends_, size, seconds);
}

bool WorkEstimate::known() const {
  const std::lock_guard lock(mutex_);
  return !steps_.empty();
}

double WorkEstimate::step_of(PictureSize size, int rows) const {
  return rows * of(steps_, size).value_or(0);
}

double WorkEstimate::end_of(PictureSize size) const {
  const std::optional<double> end = of(ends_, size);
  return end ? *end : step_of(size, 1);
}

void WorkEstimate::record(BySize& known, PictureSize size, double seconds) {
  const std::lock_guard lock(mutex_);
  const auto [entry, added] = known.emplace(pixels_of(size), seconds);
  // The last ones count most, since the machine may do other work, too.
  if (!added) entry->second = (entry->second + seconds) / 2;
  if (known.size() > kMaxSizes) known.erase(std::prev(known.end()) == entry ? known.begin() : std::prev(known.end()));
}

std::optional<double> WorkEstimate::of(const BySize& known, PictureSize size) const {
  const std::lock_guard lock(mutex_);
  if (known.empty()) return std::nullopt;
  const int64_t pixels = pixels_of(size);
  auto nearest = known.lower_bound(pixels);
  if (nearest == known.end() || (nearest != known.begin() && nearest->first != pixels &&
                                 pixels - std::prev(nearest)->first < nearest->first - pixels)) {
    --nearest;
  }
  return nearest->second * static_cast<double>(pixels) / static_cast<double>(nearest->first);
}

bool leaves_time(std::span<const WorkLeft> active, const WorkLeft& next, std::chrono::steady_clock::time_point now) {
  std::vector<WorkLeft> all(active.begin(), active.end());
  all.push_back(next);
  return std::all_of(active.begin(), active.end(), [&](const WorkLeft& job) {
    const double left_s = std::chrono::duration<double>(job.deadline - now).count();
    return seconds_until_done(job, active) > left_s || seconds_until_done(job, all) <= left_s;
  });
}

}  // namespace dreamlab
