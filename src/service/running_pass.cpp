#include "service/running_pass.h"

#include <algorithm>

namespace dreamlab {

RunningPass::Scope::Scope(RunningPass& pass, std::vector<const ServiceJob*> jobs) : pass_(pass) {
  const std::lock_guard lock(pass_.mutex_);
  pass_.jobs_ = std::move(jobs);
  pass_.token_ = &token_;
  pass_.raise_if_all_ended();
}

RunningPass::Scope::~Scope() {
  const std::lock_guard lock(pass_.mutex_);
  pass_.token_ = nullptr;
  pass_.jobs_.clear();
}

void RunningPass::look() {
  const std::lock_guard lock(mutex_);
  raise_if_all_ended();
}

void RunningPass::interrupt() {
  const std::lock_guard lock(mutex_);
  if (token_ != nullptr && jobs_.empty()) token_->cancel();
}

void RunningPass::raise_if_all_ended() {
  if (token_ == nullptr || jobs_.empty()) return;
  if (std::all_of(jobs_.begin(), jobs_.end(), [](const ServiceJob* job) { return job->ended(); })) token_->cancel();
}

}  // namespace dreamlab
