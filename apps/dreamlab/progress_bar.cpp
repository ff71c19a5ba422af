#include "dreamlab/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace dreamlab {

namespace {

constexpr int kDefaultColumns = 80;
constexpr int kBarWidth = 30;

int terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultColumns;
  return size.ws_col;
}

std::string bar_of(int done, int all, int width) {
  const int filled = all > 0 ? width * done / all : width;
  return fmt::format("[{:#<{}}{:.<{}}]", "", filled, "", width - filled);
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::lround(std::max(0.0, seconds)));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60, rest = whole % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest) : fmt::format("{}:{:02}", minutes, rest);
}

ProgressBar::ProgressBar(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  close();
}

void ProgressBar::show(const StepProgress& progress) {
  if (quiet_) return;
  total_ms_ += progress.step_ms;
  const double mean_s = total_ms_ / 1000 / std::max(1, progress.step);
  const std::string left = format_duration(mean_s * (progress.steps - progress.step));
  if (!terminal_) {
    fmt::print(stderr, "step {}/{}  {:.2f} s  {} left\n", progress.step, progress.steps, progress.step_ms / 1000, left);
    return;
  }
  const std::string text = fmt::format("  {}/{}  {:.2f} s/step  {} left", progress.step, progress.steps, mean_s, left);
  const int room = terminal_columns() - static_cast<int>(text.size()) - 3;
  draw(room >= 10 ? bar_of(progress.step, progress.steps, std::min(room, kBarWidth)) + text : text);
}

void ProgressBar::note(const std::string& text) {
  if (!quiet_ && terminal_) draw(text + " ...");
}

void ProgressBar::draw(const std::string& line) {
  fmt::print(stderr, "\r\x1b[K{}", line);  // ESC [K: erase to the end of the line
  std::fflush(stderr);
  line_open_ = true;
}

void ProgressBar::close() {
  if (line_open_) fmt::print(stderr, "\n");
  line_open_ = false;
}

}  // namespace dreamlab
