#pragma once

// What all routes that make pictures share: a group of jobs, super-resolution, storage.
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http.h"
#include "server/server_context.h"

namespace dreamlab {

struct RunOptions {
  bool with_latents = false;
  double timeout_s = 0;  // 0: the service's default
  bool previews = false;
  // Called once all jobs wait in the queue.
  std::function<void(const std::vector<std::shared_ptr<JobTicket>>&)> on_submitted;
};

struct GeneratedPictures {
  std::vector<JobResult> results;  // in the order of the requests
  std::string mode;                // that they were made in; "" where modes are not used
};

// Runs the jobs side by side. When one fails or the client leaves, the others are cancelled. Throws Error.
boost::asio::awaitable<GeneratedPictures> run_jobs(PipelineService& service, std::vector<JobRequest> requests,
                                                   RunOptions options, std::shared_ptr<Disconnect> disconnect);

// Throws Error(unavailable) where it is not enabled.
SuperResolutionService& super_resolution_of(const ServerContext& context);
boost::asio::awaitable<SuperResolutionResult> run_super_resolution(SuperResolutionService& service,
                                                                   SuperResolutionRequest request,
                                                                   std::shared_ptr<Disconnect> disconnect);
// Throws Error(invalid_argument) when a picture of that size would go over SR_MAX_PIXELS: before it is made.
void check_super_resolution(const ServerContext& context, PictureSize size, int magnitude);

// What the picture of a request will measure; nullopt while that is the business of a model that is not loaded.
std::optional<PictureSize> expected_size(const ServerContext& context, const PipelineService& service,
                                         const JobRequest& request);

// The name of the checkpoint that a mode of the service runs ("": the only one); "" while none is loaded.
std::string model_name(const ServerContext& context, const PipelineService& service, const std::string& mode);

// Puts the bytes into the storage and returns their key; nullopt where there is no storage or it fails, which is logged
// and costs nobody the picture.
boost::asio::awaitable<std::optional<std::string>> store_picture(const ServerContext& context,
                                                                 std::shared_ptr<const std::vector<uint8_t>> bytes,
                                                                 std::string content_type);

// Fit for a header: anything but printable ASCII becomes '?'.
std::string header_value(std::string_view text);

}  // namespace dreamlab
