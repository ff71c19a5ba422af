#include "service/batch_tuner.h"

#include <algorithm>

namespace dreamlab {

namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

int BatchTuner::Size::on_trial() const {
  const int next = std::min({2 * std::max(allowed, alone), most, kMaxRows});
  return refused || next <= std::max(allowed, alone) ? 0 : next;
}

int BatchTuner::Size::limit() const {
  const bool turn_of_many = trial.many.rows < trial.few.rows;
  return std::max(1, std::min(most, std::max(allowed, turn_of_many ? on_trial() : 0)));
}

void BatchTuner::Size::add(int jobs, int rows, double seconds) {
  if (jobs == 1) alone = std::max(alone, rows);
  if (++calls_since_decision >= kForget) step_back();
  const int enough = on_trial();
  const bool first = made_ready.insert(rows).second;
  if (first || enough == 0 || rows < allowed) return;
  const bool large = jobs > 1 && rows > allowed;
  Side& mine = large ? trial.many : trial.few;
  const Side& other = large ? trial.few : trial.many;
  // Of what waits for the other side, the latest is nearest to it.
  if (other.rows == 0 && mine.rows >= enough) mine = {};
  mine.rows += rows;
  mine.seconds += seconds;
  if (large) trial.largest = std::max(trial.largest, rows);
  if (other.rows > 0 && std::min(mine.rows, other.rows) >= enough) compare();
}

void BatchTuner::Size::compare() {
  trial.ratios.push_back(trial.many.cost() / trial.few.cost());
  trial.many = trial.few = {};
  if (trial.ratios.size() == static_cast<size_t>(kRatios)) decide();
}

void BatchTuner::Size::decide() {
  const double cost = surplus * median(trial.ratios);
  refused = cost > 1 + kTolerance;
  if (!refused) {
    allowed = trial.largest;
    surplus = std::max(1.0, cost);
  }
  trial = {};
  calls_since_decision = 0;
}

void BatchTuner::Size::step_back() {
  allowed = std::max(1, allowed / 2);
  surplus = 1;
  refused = false;
  trial = {};
  calls_since_decision = 0;
}

bool BatchTuner::has_room(PictureSize size, int jobs, int rows, int new_rows) const {
  if (jobs == 0) return true;
  return batch_max_ > 0 ? jobs < batch_max_ : rows + new_rows <= limit(size);
}

int BatchTuner::limit(PictureSize size) const {
  const auto found = sizes_.find(size);
  return found == sizes_.end() ? Size{}.limit() : found->second.limit();
}

int BatchTuner::on_trial(PictureSize size) const {
  const auto found = sizes_.find(size);
  return found == sizes_.end() ? Size{}.on_trial() : found->second.on_trial();
}

void BatchTuner::record(PictureSize size, int jobs, int rows, double seconds) {
  size_of(size).add(jobs, rows, seconds);
}

void BatchTuner::record_out_of_memory(PictureSize size, int rows) {
  Size& known = size_of(size);
  known.most = std::max(1, std::min(known.most, rows - 1));
  known.allowed = std::min(known.allowed, known.most);
  known.trial = {};
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
