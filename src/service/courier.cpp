#include "service/courier.h"

#include <exception>

#include "base/log.h"
#include "service/thread_name.h"

namespace dreamlab {

Courier::Courier(const std::string& thread_name) {
  thread_ = std::thread([this, thread_name] {
    name_this_thread(thread_name);
    run();
  });
}

Courier::~Courier() {
  stop();
}

void Courier::schedule(std::shared_ptr<Delivery> delivery) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!stopped_) {
      if (delivery->scheduled_) return;
      delivery->scheduled_ = true;
      Delivery* added = delivery.get();
      (last_ == nullptr ? first_ : last_->next_) = std::move(delivery);
      last_ = added;
      wake_.notify_one();
      return;
    }
  }
  call(*delivery, &Delivery::deliver);
}

void Courier::remind(Clock::time_point time, const std::shared_ptr<Delivery>& delivery) {
  const std::lock_guard lock(mutex_);
  const auto added = reminders_.emplace(std::pair(time, delivery.get()), delivery).first;
  if (added == reminders_.begin()) wake_.notify_one();
}

void Courier::forget(Clock::time_point time, const Delivery* delivery) noexcept {
  const std::lock_guard lock(mutex_);
  reminders_.erase(std::pair(time, delivery));
}

void Courier::stop() {
  std::call_once(stop_once_, [this] {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_one();
    }
    thread_.join();
  });
}

std::shared_ptr<Delivery> Courier::take_scheduled() {
  std::shared_ptr<Delivery> delivery = std::move(first_);
  if (!delivery) return nullptr;
  first_ = std::move(delivery->next_);
  if (!first_) last_ = nullptr;
  delivery->scheduled_ = false;
  return delivery;
}

std::shared_ptr<Delivery> Courier::take_expired() {
  while (!reminders_.empty() && reminders_.begin()->first.first <= Clock::now()) {
    const std::shared_ptr<Delivery> delivery = reminders_.begin()->second.lock();
    reminders_.erase(reminders_.begin());
    if (delivery) return delivery;
  }
  return nullptr;
}

void Courier::call(Delivery& delivery, void (Delivery::*what)()) noexcept {
  try {
    (delivery.*what)();
  } catch (const std::exception& error) {
    log::error("a listener threw: {}", error.what());
  } catch (...) {
    log::error("a listener threw something that is no exception");
  }
}

void Courier::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    void (Delivery::*what)() = &Delivery::expire;
    std::shared_ptr<Delivery> delivery = take_expired();
    if (!delivery) {
      what = &Delivery::deliver;
      delivery = take_scheduled();
    }
    if (delivery) {
      lock.unlock();
      call(*delivery, what);
      delivery.reset();
      lock.lock();
    } else if (stopping_) {
      stopped_ = true;
      return;
    } else if (reminders_.empty()) {
      wake_.wait(lock);
    } else {
      wake_.wait_until(lock, Clock::time_point(reminders_.begin()->first.first));
    }
  }
}

}  // namespace dreamlab
