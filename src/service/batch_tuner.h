#pragma once

// How many jobs of one size may share a network call, from what calls have taken.
//
// The rule, for each picture size. A call carries rows: one for a job, two for a job under classifier-free guidance.
// - What a row costs at n rows is the median (of two, the lesser) of the last kSamples calls with n rows, divided by n.
// The first call with
//   n rows is left out, since it also makes what later ones find ready; from kEnough calls on the cost is known.
// - n rows are worse where they are known to cost over kTolerance more a row than any fewer rows do. So are all
//   counts above them.
// - Up to twice the largest known count that is not worse is allowed: so that more is learned when there is demand.
//   As long as nothing is known, a job runs alone.
// - What was worse is forgotten after kForget calls, since something else may have kept the processors busy.
// - A count that ran out of memory is never tried again.
// Equal cost is in favor of the larger count: nothing is lost in all, and the first step of whoever came late is near.
#include <cstdint>
#include <map>
#include <vector>

#include "base/picture_size.h"

namespace dreamlab {

class BatchTuner {
 public:
  static constexpr int kMaxRows = 16, kSamples = 7, kEnough = 2, kForget = 100;
  static constexpr double kTolerance = 0.03;
  static constexpr size_t kMaxSizes = 64;  // that are remembered, those in use

  // batch_max: jobs that may share a call whatever is measured; 0: as measured.
  explicit BatchTuner(int batch_max) : batch_max_(batch_max) {}

  // Whether a job of new_rows may join `jobs` others of its size, which have `rows` rows. Alone it always may.
  bool has_room(PictureSize size, int jobs, int rows, int new_rows) const;
  // Rows that a call may carry now, at least 1.
  int limit(PictureSize size) const;
  // A call of that many rows took so long.
  void record(PictureSize size, int rows, double seconds);
  // A call of that many rows found no memory.
  void record_out_of_memory(PictureSize size, int rows);

  bool measures() const { return batch_max_ == 0; }
  int batch_max() const { return batch_max_; }

 private:
  struct Count {
    int calls = 0;
    std::vector<double> seconds;  // of the last calls but the first, oldest first
    bool known() const { return seconds.size() >= static_cast<size_t>(kEnough); }
    double median() const;
  };
  struct Size {
    std::map<int, Count> counts;  // by rows
    int most = kMaxRows;          // that memory allows
    int calls_since_forgotten = 0;
    uint64_t used = 0;
    // The smallest count that is worse than fewer, or kMaxRows + 1.
    int smallest_worse() const;
    int limit() const;
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
