#pragma once

#include <atomic>

#include "base/error.h"

namespace dreamlab {

// A flag that one thread raises and the working thread reads between steps and blocks. Safe to raise from a signal
// handler.
class CancelToken {
 public:
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  // Throws Error(cancelled) once the token is raised.
  void throw_if_cancelled() const {
    if (cancelled()) fail(ErrorKind::cancelled, "cancelled");
  }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace dreamlab
