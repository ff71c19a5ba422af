#pragma once

// From callbacks and blocking calls to co_await. A handler's coroutine runs on the strand of its connection and comes
// back to it after each of these.
#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace dreamlab {

namespace async_detail {

// The same executor; as long as it is held, run() of its io_context does not return. Whoever posts to an io_context
// from another thread holds one meanwhile: else the context could be gone, with all that was waited for, before post()
// has returned.
inline boost::asio::any_io_executor working(const boost::asio::any_io_executor& executor) {
  return boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked);
}

// Resumes a suspended coroutine by its own executor, once, from any thread.
template <typename Handler>
class Resumption {
 public:
  explicit Resumption(Handler handler)
      : executor_(working(boost::asio::get_associated_executor(handler))), handler_(std::move(handler)) {}

  // True for the first caller, who then has to call resume().
  bool claim() { return !claimed_.exchange(true); }
  static void resume(std::shared_ptr<Resumption> self) {
    // Whoever keeps the callback for longer keeps nothing of the server's.
    const boost::asio::any_io_executor executor = std::move(self->executor_);
    boost::asio::post(executor, [self = std::move(self)] {
      Handler handler = std::move(self->handler_);
      std::move(handler)();
    });
  }

 private:
  boost::asio::any_io_executor executor_;
  Handler handler_;
  std::atomic<bool> claimed_{false};
};

}  // namespace async_detail

// Waits for something that calls back: start(done) begins it; done(value) may be called from any thread, at once or
// later, and must be called once (later calls are without effect). What start throws is thrown here.
//
//   JobOutcome outcome = co_await await_callback<JobOutcome>([&](auto done) {
//     options.on_done = std::move(done);
//     ticket = service.submit(request, std::move(options));
//   });
template <typename T, typename Start>
boost::asio::awaitable<T> await_callback(Start start) {
  struct Slot {
    std::optional<T> value;
    std::exception_ptr error;
  };
  auto slot = std::make_shared<Slot>();
  auto initiate = [slot, &start](auto handler) {
    using Resumption = async_detail::Resumption<decltype(handler)>;
    auto resumption = std::make_shared<Resumption>(std::move(handler));
    try {
      start(std::function<void(T)>([slot, resumption](T value) {
        if (!resumption->claim()) return;
        slot->value.emplace(std::move(value));
        Resumption::resume(resumption);
      }));
    } catch (...) {
      if (!resumption->claim()) return;
      slot->error = std::current_exception();
      Resumption::resume(resumption);
    }
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void()>(initiate,
                                                                                     boost::asio::use_awaitable);
  if (slot->error) std::rethrow_exception(slot->error);
  co_return std::move(*slot->value);
}

// Runs work() on the pool: whatever would hold up the server's threads. What it throws is thrown here.
//
//   Image picture = co_await run_blocking(*context->blocking, [&] { return decode_image(bytes, name).image; });
template <typename Work>
boost::asio::awaitable<std::invoke_result_t<Work&>> run_blocking(boost::asio::thread_pool& pool, Work work) {
  // GCC 12 copies a closure that is written within a co_await expression bit by bit, and destroys both. The caller
  // waits: references do.
  static_assert(std::is_trivially_copyable_v<Work>, "capture by reference");
  using Result = std::invoke_result_t<Work&>;
  using Stored = std::conditional_t<std::is_void_v<Result>, std::monostate, Result>;
  struct Task {
    explicit Task(Work w) : work(std::move(w)) {}
    Work work;
    std::optional<Stored> result;
    std::exception_ptr error;
  };
  auto task = std::make_shared<Task>(std::move(work));
  auto start = [task, &pool](std::function<void(bool)> done) {
    boost::asio::post(pool, [task, done = std::move(done)] {
      try {
        if constexpr (std::is_void_v<Result>) {
          task->work();
          task->result.emplace();
        } else {
          task->result.emplace(task->work());
        }
      } catch (...) {
        task->error = std::current_exception();
      }
      done(true);
    });
  };
  co_await await_callback<bool>(std::move(start));
  if (task->error) std::rethrow_exception(task->error);
  if constexpr (!std::is_void_v<Result>) co_return std::move(*task->result);
}

// Values from any thread for one coroutine, in order; for streams of events.
template <typename T>
class Mailbox {
 public:
  enum class Why { value, closed, timeout };
  struct Taken {
    Why why = Why::closed;
    std::optional<T> value;
  };

  void put(T value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    values_.push_back(std::move(value));
    wake();
  }
  // What is in the box can still be taken; what is put in later is dropped.
  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    wake();
  }

  // The next value, or why there is none. One coroutine at a time, whose executor is a strand.
  boost::asio::awaitable<Taken> take(std::chrono::steady_clock::duration timeout) {
    const boost::asio::any_io_executor executor = co_await boost::asio::this_coro::executor;
    auto timer = std::make_shared<boost::asio::steady_timer>(executor);
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    timer->expires_at(deadline);
    for (;;) {
      std::optional<Taken> taken = try_take(timer, deadline);
      if (taken) co_return std::move(*taken);
      boost::system::error_code ignored;
      co_await timer->async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
  }

 private:
  using Timer = std::shared_ptr<boost::asio::steady_timer>;

  std::optional<Taken> try_take(const Timer& timer, std::chrono::steady_clock::time_point deadline) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_ = nullptr;
    Taken taken;
    if (!values_.empty()) {
      taken.why = Why::value;
      taken.value = std::move(values_.front());
      values_.pop_front();
      return taken;
    }
    if (closed_) return taken;
    taken.why = Why::timeout;
    if (std::chrono::steady_clock::now() >= deadline) return taken;
    timer->expires_at(deadline);
    waiting_ = timer;
    return std::nullopt;
  }

  // With mutex_ held. Runs on the taker's strand, hence after it has begun to wait.
  void wake() {
    if (!waiting_) return;
    const boost::asio::any_io_executor executor = async_detail::working(waiting_->get_executor());
    boost::asio::post(executor, [timer = waiting_] { timer->cancel(); });
    waiting_ = nullptr;
  }

  std::mutex mutex_;
  std::deque<T> values_;
  bool closed_ = false;
  Timer waiting_;
};

}  // namespace dreamlab
