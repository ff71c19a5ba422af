#pragma once

#include <chrono>
#include <string>

#include "pipeline/request.h"

namespace dreamlab {

// The denoising steps on standard error: a bar that redraws itself on a terminal, one line a step elsewhere.
//   [##########..........]  2/4  10.12 s/step  0:20 left
class ProgressBar {
 public:
  // quiet: shows nothing.
  explicit ProgressBar(bool quiet);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(const StepProgress& progress);
  // What goes on beside the steps ("loading the model"); on a terminal only, where the next line takes its place.
  void note(const std::string& text);
  // Leaves the terminal's cursor on a line of its own.
  void close();

 private:
  void draw(const std::string& line);

  bool quiet_;
  bool terminal_;
  bool line_open_ = false;
  double total_ms_ = 0;
};

// "0:07", "12:34", "1:02:03"
std::string format_duration(double seconds);

}  // namespace dreamlab
