#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>

namespace dreamlab {

struct ThreadPool::Loop {
  int64_t count;
  const std::function<void(int64_t, int)>* task;
  std::atomic<int64_t> next{0};
  int running = 0;  // helper threads inside the loop; guarded by mutex_
  std::exception_ptr error{};
  std::atomic<bool> failed{false};
  std::mutex error_mutex{};

  void run(int worker) {
    for (int64_t i = next.fetch_add(1); i < count && !failed.load(std::memory_order_relaxed); i = next.fetch_add(1)) {
      try {
        (*task)(i, worker);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        failed = true;
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = available_processors();
  for (int i = 1; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::parallel_for(int64_t count, const std::function<void(int64_t, int)>& task) {
  if (count <= 0) return;
  std::lock_guard one_loop(callers_);
  Loop loop{.count = count, .task = &task};
  if (count > 1 && !threads_.empty()) {
    {
      std::lock_guard lock(mutex_);
      loop_ = &loop;
      ++generation_;
    }
    wake_.notify_all();
  }
  loop.run(0);
  {
    // No helper may enter any more, and those inside must leave before `loop` goes away.
    std::unique_lock lock(mutex_);
    loop_ = nullptr;
    done_.wait(lock, [&] { return loop.running == 0; });
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stop_ || (loop_ != nullptr && generation_ != seen); });
    if (stop_) return;
    seen = generation_;
    Loop* loop = loop_;
    ++loop->running;
    lock.unlock();
    loop->run(worker);
    lock.lock();
    if (--loop->running == 0) done_.notify_all();
  }
}

ThreadPool& helper_threads() {
  constexpr int kMost = 16;  // such loops are too short for more
  static ThreadPool pool(std::min(kMost, available_processors()));
  return pool;
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace dreamlab
