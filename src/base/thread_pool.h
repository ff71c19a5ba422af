#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dreamlab {

// A fixed set of threads that run the iterations of one loop at a time. The calling thread is one of them.
// What an iteration computes must not depend on which thread runs it: that is what keeps results equal for any thread
// count.
class ThreadPool {
 public:
  // threads: how many threads work on a loop, the caller included; 0 means one per processor this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const noexcept { return static_cast<int>(threads_.size()) + 1; }

  // Calls task(i, worker) for every i in [0, count), each once; worker is in [0, size()) and no two calls with the same
  // worker overlap. Iterations are handed out in ascending order. Returns when all are done. The first exception thrown
  // by a task is rethrown here, after the running iterations have ended. Loops do not nest; calls from several threads
  // queue up.
  void parallel_for(int64_t count, const std::function<void(int64_t index, int worker)>& task);

 private:
  struct Loop;
  void work(int worker);

  std::vector<std::thread> threads_;
  std::mutex callers_;  // one loop at a time
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Loop* loop_ = nullptr;
  uint64_t generation_ = 0;
  bool stop_ = false;
};

// Threads for loops of a few milliseconds that belong to no device: noise, picture files. Started at the first use.
ThreadPool& helper_threads();

// Processors this process may run on (its affinity mask), at least 1.
int available_processors();

}  // namespace dreamlab
