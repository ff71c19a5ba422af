#include "service/file_watch.h"

#include <chrono>

#include "base/log.h"
#include "service/caught_error.h"
#include "service/thread_name.h"

namespace dreamlab {

FileWatch::FileWatch(std::filesystem::path path, double interval_s, std::function<void()> on_change)
    : path_(std::move(path)), interval_s_(interval_s), on_change_(std::move(on_change)), reported_(look()) {
  thread_ = std::thread([this] {
    name_this_thread("file watch");
    run();
  });
}

FileWatch::~FileWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

std::optional<FileWatch::State> FileWatch::look() const {
  std::error_code error;
  State state;
  state.written = std::filesystem::last_write_time(path_, error);
  if (!error) state.bytes = std::filesystem::file_size(path_, error);
  return error ? std::nullopt : std::optional(state);
}

void FileWatch::run() {
  std::optional<State> before = reported_;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::duration<double>(interval_s_), [this] { return stop_; })) {
    lock.unlock();
    const std::optional<State> now = look();
    if (now && now == before && now != reported_) {
      reported_ = now;
      try {
        on_change_();
        log::info("{} was read again, since it has changed", path_.string());
      } catch (...) {
        log::error("{}", caught_error().what());
      }
    }
    before = now;
    lock.lock();
  }
}

}  // namespace dreamlab
