#pragma once

// What a worker is given and what it gives back. No HTTP and no queue in here.
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/cancel.h"
#include "base/error.h"
#include "base/image.h"
#include "base/picture_size.h"
#include "pipeline/latents.h"
#include "pipeline/request.h"

namespace dreamlab {

struct StyleChoice {
  std::string style;  // an id of the registry
  int level = 1;      // 0: off; above the style's ladder: its last rung
};

// A picture as a client asks for it. What is not set is the mode's word, the environment's, or the model's.
struct JobRequest {
  std::string prompt;
  std::string negative_prompt;
  std::string size;                      // "WIDTHxHEIGHT"; "": default
  std::optional<int> steps;              // 1..50
  std::optional<double> guidance_scale;  // 0..20
  std::optional<uint64_t> seed;          // unset: drawn at random in 0..99,999,999
  std::string scheduler;                 // name, title or alias of a sampler; "": default
  std::optional<StyleChoice> style;
  std::string mode;  // "": the current one
  int clip_skip = 1;
  // Image-to-image and in-painting; brought to `size` by the worker.
  std::shared_ptr<const Image> init_image, mask;
  double strength = 0.75;

  // Of the picture, as far as the request itself decides it: `size`, else the initial picture's, rounded down to
  // multiples of 8. Throws Error(invalid_argument) for a `size` that is none.
  std::optional<PictureSize> own_size() const;
};

struct JobResult {
  std::vector<uint8_t> png;              // with its parameters in a text chunk
  uint64_t seed = 0;                     // that was used
  std::optional<Fingerprint> latents;    // of the final latents; run_job() leaves it out
  std::shared_ptr<const Image> picture;  // the same pixels, for whatever comes after
  std::string parameters;                // the text in the PNG
  GenerationTimings timings;             // of this job: steps that it shared count in full
  double encode_png_ms = 0;
};

using JobOutcome = std::variant<JobResult, Error>;

// One request on its way. Made by the service or a test, read by one worker; cancel() may come from any thread.
class Job {
 public:
  using Clock = std::chrono::steady_clock;
  using Deliver = std::function<void(JobOutcome)>;

  // deliver is called exactly once, from whichever thread ends the job: with the first result or error. It must not
  // throw; empty: nobody wants to know. A job that is destroyed before delivers Error(internal).
  Job(JobRequest request, Deliver deliver, bool with_latents = false);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  const JobRequest& request() const { return request_; }
  bool with_latents() const { return with_latents_; }
  Clock::time_point submitted() const { return submitted_; }
  CancelToken& cancel_token() { return cancel_; }
  const CancelToken& cancel_token() const { return cancel_; }

  // True where this call was the first to end the job.
  bool succeed(JobResult result);
  bool fail(const Error& error);
  bool ended() const;

 private:
  bool end(JobOutcome outcome);

  JobRequest request_;
  Clock::time_point submitted_ = Clock::now();
  bool with_latents_;
  CancelToken cancel_;
  mutable std::mutex mutex_;
  bool ended_ = false;
  Deliver deliver_;
};

}  // namespace dreamlab
