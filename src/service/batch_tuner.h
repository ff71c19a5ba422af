#pragma once

// How many jobs of one size may share a network call, from what calls have taken.
//
// The rule, for each picture size. A call carries rows: one for a job, two for a job under classifier-free guidance.
// - So many rows may share a call, at first one; up to twice as many are on trial.
// - Processors that others use as well change their speed by a fifth within seconds. So calls of as many rows as they
//   may have and larger ones take turns, and only neighbors are compared: what a row costs on the one side, over at
//   least as many rows as are on trial, divided by what it costs on the other. The first call with n rows is left out,
//   since it also makes what later ones find ready.
// - The median of kRatios such ratios decides. Equal cost is in favor of the larger call: nothing is lost in all, and
//   the first step of whoever came late is near. But where a row costs over kTolerance more than at the best of the
//   smaller ones, no more rows are tried.
// - After kForget calls the last step is taken anew, from half the rows.
// - A count that ran out of memory is never tried again.
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/picture_size.h"

namespace dreamlab {

class BatchTuner {
 public:
  static constexpr int kMaxRows = 16, kRatios = 5, kForget = 100;
  static constexpr double kTolerance = 0.03;
  static constexpr size_t kMaxSizes = 64;  // that are remembered, those in use

  // batch_max: jobs that may share a call whatever is measured; 0: as measured.
  explicit BatchTuner(int batch_max) : batch_max_(batch_max) {}

  // Whether a job of new_rows may join `jobs` others of its size, which have `rows` rows. Alone it always may.
  bool has_room(PictureSize size, int jobs, int rows, int new_rows) const;
  // Rows that a call may carry now, at least 1.
  int limit(PictureSize size) const;
  // Rows that together would teach more than is known, or 0.
  int on_trial(PictureSize size) const;
  // A call of that many rows, of so many jobs, took so long.
  void record(PictureSize size, int jobs, int rows, double seconds);
  // A call of that many rows found no memory.
  void record_out_of_memory(PictureSize size, int rows);

  bool measures() const { return batch_max_ == 0; }
  int batch_max() const { return batch_max_; }

 private:
  // Calls of one kind, added up.
  struct Side {
    int rows = 0;
    double seconds = 0;
    double cost() const { return seconds / rows; }
  };
  struct Trial {
    Side few, many;
    int largest = 0;  // rows of a call
    std::vector<double> ratios;
  };
  struct Size {
    int allowed = 1;       // rows in a call
    double surplus = 1;    // what a row costs with so many, over the best of fewer
    bool refused = false;  // more than that
    int most = kMaxRows;   // that memory allows
    int alone = 1;         // rows of a single job, at most
    Trial trial;
    std::set<int> made_ready;  // counts of rows that have been called with
    int calls_since_decision = 0;
    uint64_t used = 0;

    int on_trial() const;
    int limit() const;
    void add(int jobs, int rows, double seconds);
    void compare();
    void decide();
    void step_back();
  };
  struct Less {
    bool operator()(PictureSize a, PictureSize b) const {
      return a.width != b.width ? a.width < b.width : a.height < b.height;
    }
  };
  Size& size_of(PictureSize size);

  const int batch_max_;
  std::map<PictureSize, Size, Less> sizes_;
  uint64_t uses_ = 0;
};

}  // namespace dreamlab
