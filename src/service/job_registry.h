#pragma once

// Jobs by their ids, for clients that submit one and come back for it: its state, its result for a while, and any
// number of listeners to its events.
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/cancel.h"
#include "service/pipeline_service.h"

namespace dreamlab {

// What a job leads to: a file, once all is done to the picture that was asked for.
struct JobFile {
  std::vector<uint8_t> bytes;
  std::string content_type;
  uint64_t seed = 0;
  std::string parameters;                      // as in the file's text
  std::map<std::string, std::string> details;  // what else there is to say about it
};

// Where a job stands. After `done` file is set, after `failed` and `cancelled` error.
struct JobRecord {
  using Clock = std::chrono::system_clock;
  std::string id, mode;
  JobProgress progress;
  std::shared_ptr<const JobFile> file;
  std::optional<Error> error;
  Clock::time_point submitted;
  std::optional<Clock::time_point> ended;
  bool has_ended() const { return ended.has_value(); }
};

// What is done to the picture after the workers are through with it, upscaling for example, on other threads. It calls
// done once, or throws Error; cancel is raised when the job is cancelled meanwhile.
using FinishJob = std::function<void(JobResult result, const std::shared_ptr<CancelToken>& cancel,
                                     std::function<void(std::variant<JobFile, Error>)> done)>;

struct JobRegistryOptions {
  // Of ended jobs: how long they are kept, how many, and the bytes of their files; the oldest leave first.
  double keep_s = 900;
  size_t max_ended = 256;
  uint64_t max_bytes = uint64_t{512} << 20;
  std::function<JobRecord::Clock::time_point()> now = JobRecord::Clock::now;
};

// Safe to use from several threads.
class JobRegistry {
 public:
  // Hears what becomes of one job, in order, each thing once: first where it stands, last its end. Called on threads of
  // the service's, the first time also by follow(), never two calls at a time; must not block.
  using Listener = std::function<void(const JobRecord&)>;
  // Letting go of it ends the calls: none is running or comes any more once it is gone (but for one that lets go of it
  // itself).
  class Subscription {
   public:
    virtual ~Subscription() = default;
  };

  explicit JobRegistry(JobRegistryOptions options = {});
  ~JobRegistry();

  // Throws what the service's submit() throws. previews: small pictures with the steps. finish: empty to keep the PNG.
  // with_latents: the result that `finish` sees has the latent fingerprint.
  JobRecord submit(PipelineService& service, JobRequest request, double timeout_s = 0, bool previews = false,
                   FinishJob finish = nullptr, bool with_latents = false);
  // nullopt: unknown, or no longer kept.
  std::optional<JobRecord> find(const std::string& id) const;
  // Null: unknown.
  std::unique_ptr<Subscription> follow(const std::string& id, Listener listener);
  // False: unknown. Without effect on a job that has ended.
  bool cancel(const std::string& id);
  size_t size() const;

 private:
  class Entry;
  class Shelf;

  const std::shared_ptr<Shelf> shelf_;
};

}  // namespace dreamlab
