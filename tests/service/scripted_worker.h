#pragma once

// A worker whose model is a script, for tests that need control over time: steps that wait, loads and steps that fail.
// What a job computes is a hash of its request and its steps, so that results can be told apart.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "service/pipeline_service.h"

namespace dreamlab {

// Shared by all workers of a test. Prompts give orders: "oom" fails with out_of_memory in its first step,
// "throw" with std::runtime_error, "bad_alloc" and "int" with those, "start fails" and "finish fails" where they say.
class Script {
 public:
  // From now on a step (a start, a load) waits until it is let through.
  void hold_steps() { set(&Script::hold_steps_, true); }
  void let_steps_go() { set(&Script::hold_steps_, false); }
  void let_one_step_go() {
    const std::lock_guard lock(mutex_);
    ++permits_;
    changed_.notify_all();
  }
  // From now on a step takes so long for each of its jobs.
  void take_per_row(std::chrono::milliseconds time) {
    const std::lock_guard lock(mutex_);
    per_row_ = time;
  }
  // Jobs are finished aside, by models that are made after this, and wait there as long as they are held.
  void finish_aside() { set(&Script::finish_aside_, true); }
  void hold_finishing() { set(&Script::hold_finishing_, true); }
  void let_finishing_go() { set(&Script::hold_finishing_, false); }
  void hold_loads() { set(&Script::hold_loads_, true); }
  void let_loads_go() { set(&Script::hold_loads_, false); }
  void fail_loads_of(const std::string& mode, bool fails = true) {
    const std::lock_guard lock(mutex_);
    if (fails) {
      failing_.insert(mode);
    } else {
      failing_.erase(mode);
    }
  }

  // Prompts of the jobs of each network call, in the order in which they began.
  std::vector<std::vector<std::string>> passes() const {
    const std::lock_guard lock(mutex_);
    return passes_;
  }
  std::vector<std::string> loads() const {
    const std::lock_guard lock(mutex_);
    return loads_;
  }
  // Waits until a step is being held. False: it did not come to that.
  bool wait_for_held_step() const {
    return wait([this] { return held_ > 0; });
  }
  bool wait_for_passes(size_t count) const {
    return wait([&] { return passes_.size() >= count; });
  }
  bool wait_for_finishing(int count) const {
    return wait([&] { return finishes_ >= count; });
  }
  // The most that were being finished at once.
  int most_finishing() const {
    const std::lock_guard lock(mutex_);
    return most_finishing_;
  }
  bool wait_for_load(const std::string& mode) const {
    return wait([&] { return std::find(loads_.begin(), loads_.end(), mode) != loads_.end(); });
  }
  int living_workers() const {
    const std::lock_guard lock(mutex_);
    return living_;
  }

  WorkerFactory factory();

 private:
  friend class ScriptedWorker;

  bool wait(const std::function<bool()>& happened) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), happened);
  }
  void set(bool Script::*flag, bool value) {
    const std::lock_guard lock(mutex_);
    this->*flag = value;
    if (!value) permits_ = 0;
    changed_.notify_all();
  }
  void load(const Mode& mode) {
    std::unique_lock lock(mutex_);
    loads_.push_back(mode.name);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_loads_; });
    if (failing_.count(mode.name) != 0) fail(ErrorKind::invalid_file, "{}: damaged", mode.name);
    ++living_;
  }
  void unload() {
    const std::lock_guard lock(mutex_);
    --living_;
  }
  // A step, held as ordered. Throws Error(cancelled) when the token is raised meanwhile.
  void step(std::vector<std::string> prompts, const CancelToken* cancel) {
    std::unique_lock lock(mutex_);
    const auto time = per_row_ * static_cast<int>(prompts.size());
    passes_.push_back(std::move(prompts));
    changed_.notify_all();
    if (time.count() > 0) {
      lock.unlock();
      std::this_thread::sleep_for(time);
      lock.lock();
    }
    if (!hold_steps_) return;
    ++held_;
    changed_.notify_all();
    while (hold_steps_ && permits_ == 0 && !(cancel != nullptr && cancel->cancelled())) {
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
    --held_;
    if (hold_steps_ && permits_ > 0) --permits_;
    changed_.notify_all();
    if (cancel != nullptr) cancel->throw_if_cancelled();
  }

  void finish() {
    std::unique_lock lock(mutex_);
    ++finishes_;
    most_finishing_ = std::max(most_finishing_, ++finishing_);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_finishing_; });
    --finishing_;
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool hold_steps_ = false, hold_loads_ = false, finish_aside_ = false, hold_finishing_ = false;
  int finishes_ = 0, finishing_ = 0, most_finishing_ = 0;
  std::chrono::milliseconds per_row_{0};
  int permits_ = 0, held_ = 0, living_ = 0;
  std::set<std::string> failing_;
  std::vector<std::string> loads_;
  std::vector<std::vector<std::string>> passes_;
};

class ScriptedJob final : public ActiveJob {
 public:
  ScriptedJob(const Job& job, PictureSize size, int steps)
      : job(job), size_(size), steps_(steps), state(job.request().prompt) {}
  PictureSize size() const override { return size_; }
  int rows() const override { return job.request().guidance_scale.value_or(1) > 1 ? 2 : 1; }
  int step() const override { return step_; }
  int steps() const override { return steps_; }
  void advance() { state += '.' + std::to_string(++step_); }

  const Job& job;

 private:
  PictureSize size_;
  int step_ = 0, steps_;

 public:
  std::string state;
};

class ScriptedWorker final : public PipelineWorker {
 public:
  ScriptedWorker(Script& script, const Mode& mode) : script_(script), finishes_aside_(script.finish_aside_) {
    info_.worker = "SD";
    info_.model = mode.name.empty() ? "scripted" : mode.name;
    info_.default_size = mode.size.value_or(PictureSize{64, 64});
    info_.default_steps = mode.steps.value_or(3);
  }
  ~ScriptedWorker() override { script_.unload(); }

  const WorkerInfo& info() const override { return info_; }
  bool shares_calls() const override { return !finishes_aside_; }
  bool finishes_aside() const override { return finishes_aside_; }
  void check(const JobRequest& request) const override {
    if (request.prompt == "refused by " + info_.model) fail(ErrorKind::invalid_argument, "prompt: refused");
    if (request.steps && *request.steps > 50) fail(ErrorKind::invalid_argument, "steps {}", *request.steps);
  }
  std::unique_ptr<ActiveJob> start(const Job& job) override {
    check(job.request());
    if (job.request().prompt == "start fails") fail(ErrorKind::internal, "as ordered");
    const std::string& size = job.request().size;
    return std::make_unique<ScriptedJob>(job, size.empty() ? info_.default_size : parse_size(size),
                                         job.request().steps.value_or(info_.default_steps));
  }
  void advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) override {
    std::vector<std::string> prompts;
    for (ActiveJob* job : jobs) prompts.push_back(of(*job).job.request().prompt);
    script_.step(prompts, cancel);
    for (const std::string& prompt : prompts) obey(prompt);
    for (ActiveJob* job : jobs) of(*job).advance();
  }
  JobResult finish(ActiveJob& job) override {
    script_.finish();
    if (of(job).job.request().prompt == "finish fails") fail(ErrorKind::out_of_memory, "as ordered");
    const std::string text = info_.model + " " + of(job).state;
    JobResult result;
    result.png.assign(text.begin(), text.end());
    result.seed = of(job).job.request().seed.value_or(0);
    result.latents.emplace();
    result.timings.text_ms = 2000;
    result.timings.decode_ms = 3000;
    result.encode_png_ms = 4000;
    return result;
  }
  Image preview(const ActiveJob& job) override { return Image::blank(8, 8 + job.step()); }

 private:
  static ScriptedJob& of(ActiveJob& job) { return static_cast<ScriptedJob&>(job); }
  static void obey(const std::string& prompt) {
    if (prompt == "oom") fail(ErrorKind::out_of_memory, "out of memory as ordered");
    if (prompt == "throw") throw std::runtime_error("thrown as ordered");
    if (prompt == "bad_alloc") throw std::bad_alloc();
    if (prompt == "int") throw 7;
  }

  Script& script_;
  const bool finishes_aside_;
  WorkerInfo info_;
};

inline WorkerFactory Script::factory() {
  return [this](const Mode& mode, int) {
    load(mode);
    return std::make_shared<ScriptedWorker>(*this, mode);
  };
}

}  // namespace dreamlab
