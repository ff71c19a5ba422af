#pragma once

// The thread that works with a model. At every turn it takes what it has room for from the queue, makes one denoising
// step for all of its jobs, and finishes those that are done. Where the model's worker allows it, a job is finished by
// a thread of its own, while this one takes the next.
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "service/model_slots.h"
#include "service/service_core.h"

namespace dreamlab {

class WorkerThread {
 public:
  WorkerThread(std::shared_ptr<ServiceCore> core, WorkerFactory factory, int index);
  // After the core was closed; waits for the thread.
  ~WorkerThread();

 private:
  // A job between two steps. The order of members is that of their lives.
  struct Active {
    std::shared_ptr<ServiceJob> job;
    std::shared_ptr<LoadedModel> model;
    std::unique_ptr<ActiveJob> state;
  };
  // Jobs that share a call: of one model and size, as many as the model's tuner and memory allow.
  using Group = std::vector<Active*>;

  void run();
  // False: the thread ends.
  bool turn();
  bool take_assignments();
  void load_current(const Mode& mode);
  void carry_out(const std::shared_ptr<ModeSwitch>& mode_switch);
  void start(const Assignment& assignment);
  std::shared_ptr<LoadedModel> load_for_job(const Mode& mode);
  Admission admission(const ServiceJob& job, const Mode& mode) const;
  // Whether those that are active are done in time all the same.
  bool leaves_time_for_active(const ServiceJob& job, const LoadedModel& model) const;
  void drop_ended();
  void step();
  bool may_join(const Active& active, const Group& group) const;
  void advance(const Group& group);
  void advance_one_by_one(const Group& group, const std::vector<int>& steps_before);
  void announce_step(Active& active, double seconds);
  void finish_done();
  void finish(Active& active);
  // By another thread, once that has finished the one before.
  void finish_aside(std::unique_ptr<Active> active);
  // Nothing is being finished aside after this.
  void wait_for_finishing();
  // Of what is measured in idle time.
  bool can_measure() const;
  void measure();

  const std::shared_ptr<ServiceCore> core_;
  const int index_;
  RunningPass& pass_;
  ModelSlots models_;
  std::vector<std::unique_ptr<Active>> active_;
  std::future<void> finishing_;  // of the job that is finished aside
  std::thread thread_;
};

}  // namespace dreamlab
