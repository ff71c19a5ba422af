#pragma once

// How long jobs are going to take, from how long their like took before: so that a worker does not take up so many
// together that none is done in time.
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <span>

#include "base/picture_size.h"

namespace dreamlab {

// What a model's work takes, by size of picture. For a size that has not been seen, by the pixels of the nearest one.
// Safe to use from several threads.
class WorkEstimate {
 public:
  static constexpr size_t kMaxSizes = 64;  // that are remembered

  void record_step(PictureSize size, int rows, double seconds);  // a call of that many rows
  void record_end(PictureSize size, double seconds);             // from the last step to the result

  // Whether any step was recorded.
  bool known() const;
  // Seconds. As long as none was recorded: 0 for a step; as long as a step of one row for an end.
  double step_of(PictureSize size, int rows) const;
  double end_of(PictureSize size) const;

 private:
  using BySize = std::map<int64_t, double>;  // pixels to seconds
  void record(BySize& known, PictureSize size, double seconds);
  std::optional<double> of(const BySize& known, PictureSize size) const;

  mutable std::mutex mutex_;
  BySize steps_, ends_;
};

// A job that a worker has taken up, or might: what is left of it.
struct WorkLeft {
  double step_s = 0, end_s = 0;  // a step; what follows the last
  int steps = 0;
  std::chrono::steady_clock::time_point deadline;
};

// Whether all of `active` that would be done in time, advancing together step by step, still are when `next` joins.
bool leaves_time(std::span<const WorkLeft> active, const WorkLeft& next, std::chrono::steady_clock::time_point now);

}  // namespace dreamlab
