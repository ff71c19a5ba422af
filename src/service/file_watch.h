#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace dreamlab {

// Looks every so often whether a file has changed, and calls when it has and has stayed the same for one look: so that
// a file is not read while it is being written. A file that goes away is no change; what the call throws is logged.
class FileWatch {
 public:
  FileWatch(std::filesystem::path path, double interval_s, std::function<void()> on_change);
  ~FileWatch();

 private:
  // What tells two states of a file apart.
  struct State {
    std::filesystem::file_time_type written;
    uintmax_t bytes = 0;
    bool operator==(const State&) const = default;
  };
  std::optional<State> look() const;
  void run();

  const std::filesystem::path path_;
  const double interval_s_;
  const std::function<void()> on_change_;
  std::optional<State> reported_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace dreamlab
