#pragma once

// What a worker's thread is computing right now, for other threads that may end it early.
#include <mutex>
#include <vector>

#include "base/cancel.h"
#include "service/service_job.h"

namespace dreamlab {

class RunningPass {
 public:
  // While one of these lives, its token is raised as soon as all the jobs of the pass have ended: one that goes on must
  // not pay for another that was cancelled.
  class Scope {
   public:
    // Without jobs: a pass for the worker's own sake, which interrupt() ends.
    Scope(RunningPass& pass, std::vector<const ServiceJob*> jobs);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    const CancelToken& token() const { return token_; }

   private:
    RunningPass& pass_;
    CancelToken token_;
  };

  // A job has ended somewhere.
  void look();
  // There is work to do.
  void interrupt();

 private:
  void raise_if_all_ended();

  std::mutex mutex_;
  CancelToken* token_ = nullptr;  // of the pass that is running
  std::vector<const ServiceJob*> jobs_;
};

}  // namespace dreamlab
