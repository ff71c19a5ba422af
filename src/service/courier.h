#pragma once

// The thread from which a service calls out: everything that its users gave it to call. One thread keeps the calls of a
// job in order, holds no lock of the service's while it calls, and keeps slow listeners away from the workers.
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace dreamlab {

// Something that has calls to make. Scheduling one takes no memory, so that a result can be delivered when there is
// none left.
class Delivery {
 public:
  virtual ~Delivery() = default;

 protected:
  // Makes the pending calls. On the courier's thread.
  virtual void deliver() = 0;
  // Its deadline has passed. On the courier's thread.
  virtual void expire() {}

 private:
  friend class Courier;
  std::shared_ptr<Delivery> next_;
  bool scheduled_ = false;
};

class Courier {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Courier(const std::string& thread_name);
  // As stop().
  ~Courier();
  Courier(const Courier&) = delete;
  Courier& operator=(const Courier&) = delete;

  // deliver() will be called after this; once for several calls in a row.
  void schedule(std::shared_ptr<Delivery> delivery) noexcept;
  // expire() will be called at that time, unless forget() comes first.
  void remind(Clock::time_point time, const std::shared_ptr<Delivery>& delivery);
  void forget(Clock::time_point time, const Delivery* delivery) noexcept;
  // Delivers what is scheduled and ends the thread. What is scheduled later is delivered by the caller's own thread.
  void stop();

 private:
  void run();
  void call(Delivery& delivery, void (Delivery::*what)()) noexcept;
  // The first that is scheduled, or null. With mutex_ held.
  std::shared_ptr<Delivery> take_scheduled();
  std::shared_ptr<Delivery> take_expired();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<Delivery> first_;
  Delivery* last_ = nullptr;
  std::map<std::pair<Clock::time_point, const Delivery*>, std::weak_ptr<Delivery>> reminders_;
  bool stopping_ = false, stopped_ = false;
  std::once_flag stop_once_;
  std::thread thread_;
};

}  // namespace dreamlab
