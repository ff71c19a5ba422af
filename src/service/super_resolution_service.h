#pragma once

// A bounded queue in front of the upscaler. Knows nothing of HTTP.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/cancel.h"
#include "base/error.h"
#include "base/image.h"
#include "pipeline/upscaler.h"

namespace dreamlab {

struct SuperResolutionRequest {
  std::shared_ptr<const Image> picture;
  int magnitude = 2;  // passes, 1..3
  ImageFormat format = ImageFormat::png;
  int quality = 92;              // 1..100
  std::vector<ImageText> texts;  // to write into the file
  // Raised from outside to cancel; made, and returned by submit(), where it is null.
  std::shared_ptr<CancelToken> cancel = nullptr;
};

struct SuperResolutionResult {
  std::vector<uint8_t> bytes;  // the file
  int64_t width = 0, height = 0;
  std::string model;  // "lanczos", or the file's name
  int passes = 0, scale_per_pass = 0;
  double run_ms = 0;
};

using SuperResolutionOutcome = std::variant<SuperResolutionResult, Error>;

struct SuperResolutionOptions {
  std::string model_path;           // as UpscalerOptions::path
  int workers = 1;                  // pictures at a time, each with a network of its own
  size_t queue_max = 32;            // that wait, besides those that are being worked on
  double timeout_s = 120;           // from submission to result
  int64_t max_pixels = 24'000'000;  // of any pass
  DeviceChoice device = {};         // of each worker; 0 threads: the processors divided among them
  NpuUpscalerOptions npu = {};
};

struct SuperResolutionStatistics {
  size_t queue_depth = 0, queue_max = 0, active = 0;
  uint64_t succeeded = 0, failed = 0, cancelled = 0, timed_out = 0, turned_away = 0;
  double run_s = 0;  // that workers were busy
};

class SuperResolutionService {
 public:
  // Loads the model; throws Error where it cannot.
  explicit SuperResolutionService(const SuperResolutionOptions& options);
  ~SuperResolutionService();

  // Throws Error, before any work: invalid_argument (a pass goes over max_pixels, a magnitude or quality out of range,
  // transparency for JPEG), busy, unavailable. on_done is called exactly once, with Error(timeout) or Error(cancelled)
  // as soon as that is so, whether the picture waits or is worked on; from the service's threads, or from shut_down().
  // It must not block. The returned token cancels.
  std::shared_ptr<CancelToken> submit(SuperResolutionRequest request,
                                      std::function<void(SuperResolutionOutcome)> on_done);

  const std::string& model() const;
  int scale() const;
  SuperResolutionStatistics statistics() const;
  // Takes nothing new, ends what waits or runs by Error(unavailable) and returns when every on_done has been called.
  // Not to be called from an on_done.
  void shut_down();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
