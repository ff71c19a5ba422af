#include "service/batch_tuner.h"

#include <algorithm>
#include <limits>

namespace dreamlab {

double BatchTuner::Count::median() const {
  std::vector<double> sorted = seconds;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

int BatchTuner::Size::smallest_worse() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [rows, count] : counts) {
    if (!count.known()) continue;
    const double cost = count.median() / rows;
    if (cost > least * (1 + kTolerance)) return rows;
    least = std::min(least, cost);
  }
  return kMaxRows + 1;
}

int BatchTuner::Size::limit() const {
  const int worse = smallest_worse();
  int largest_known = 0;
  for (const auto& [rows, count] : counts) {
    if (count.known() && rows < worse) largest_known = std::max(largest_known, rows);
  }
  return std::max(1, std::min({2 * largest_known, worse - 1, most, kMaxRows}));
}

bool BatchTuner::has_room(PictureSize size, int jobs, int rows, int new_rows) const {
  if (jobs == 0) return true;
  return batch_max_ > 0 ? jobs < batch_max_ : rows + new_rows <= limit(size);
}

int BatchTuner::limit(PictureSize size) const {
  const auto found = sizes_.find(size);
  return found == sizes_.end() ? Size{}.limit() : found->second.limit();
}

void BatchTuner::record(PictureSize size, int rows, double seconds) {
  Size& known = size_of(size);
  Count& count = known.counts[rows];
  if (count.calls++ > 0) count.seconds.push_back(seconds);
  if (count.seconds.size() > static_cast<size_t>(kSamples)) count.seconds.erase(count.seconds.begin());
  const int worse = known.smallest_worse();
  if (worse > kMaxRows) {
    known.calls_since_forgotten = 0;
  } else if (++known.calls_since_forgotten >= kForget) {
    known.counts.erase(known.counts.lower_bound(worse), known.counts.end());
    known.calls_since_forgotten = 0;
  }
}

void BatchTuner::record_out_of_memory(PictureSize size, int rows) {
  Size& known = size_of(size);
  known.most = std::max(1, std::min(known.most, rows - 1));
}

BatchTuner::Size& BatchTuner::size_of(PictureSize size) {
  if (sizes_.size() >= kMaxSizes && sizes_.find(size) == sizes_.end()) {
    sizes_.erase(std::min_element(sizes_.begin(), sizes_.end(),
                                  [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }
  Size& known = sizes_[size];
  known.used = ++uses_;
  return known;
}

}  // namespace dreamlab
