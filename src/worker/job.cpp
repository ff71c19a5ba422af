#include "worker/job.h"

#include <utility>

namespace dreamlab {

std::optional<PictureSize> JobRequest::own_size() const {
  if (!size.empty()) return parse_size(size);
  if (!init_image) return std::nullopt;
  return PictureSize{init_image->width / kSizeStep * kSizeStep, init_image->height / kSizeStep * kSizeStep};
}

Job::Job(JobRequest request, Deliver deliver, bool with_latents)
    : request_(std::move(request)), with_latents_(with_latents), deliver_(std::move(deliver)) {}

Job::~Job() {
  end(Error(ErrorKind::internal, "the job was dropped before it ended"));
}

bool Job::succeed(JobResult result) {
  return end(std::move(result));
}

bool Job::fail(const Error& error) {
  return end(error);
}

bool Job::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

bool Job::end(JobOutcome outcome) {
  Deliver deliver;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return false;
    ended_ = true;
    deliver = std::move(deliver_);
  }
  // Outside of the lock: whoever takes the result may look at the job.
  if (deliver) deliver(std::move(outcome));
  return true;
}

}  // namespace dreamlab
