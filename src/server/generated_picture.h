#pragma once

// From the body of /generate to a finished, upscaled and stored picture.
#include "server/generate_request.h"
#include "server/generation.h"
#include "server/route_description.h"

namespace dreamlab {

struct FinishedPicture {
  std::shared_ptr<const std::vector<uint8_t>> bytes;  // of the file
  ImageFormat format = ImageFormat::png;
  uint64_t seed = 0;
  std::string model;  // name of the checkpoint
  std::string mode;   // "" where modes are not used
  std::optional<Fingerprint> latents;
  std::optional<SuperResolutionResult> upscaled;  // without its bytes
  std::optional<std::string> storage_key;
};

// body: with its pictures decoded. options: what with_latents and timeout_s say is the body's business. Throws Error.
boost::asio::awaitable<FinishedPicture> make_picture(std::shared_ptr<ServerContext> context,
                                                     std::shared_ptr<PipelineService> service, GenerateBody body,
                                                     RunOptions options, std::shared_ptr<Disconnect> disconnect);

// The part after a job is done: upscales and stores. The client's leaving or the token cancels.
boost::asio::awaitable<FinishedPicture> finish_picture(std::shared_ptr<ServerContext> context, JobResult result,
                                                       const GenerateBody& body, std::shared_ptr<Disconnect> disconnect,
                                                       std::shared_ptr<CancelToken> cancel = nullptr);

// The file with the headers of the contract. model: what X-Model says; "": the name of the checkpoint.
HttpResponse picture_response(const FinishedPicture& picture, const std::string& model);
std::vector<HeaderDescription> picture_headers();
// X-SuperRes, X-SR-*.
void add_super_resolution_headers(HttpResponse& response, const SuperResolutionResult& result, ImageFormat format);
std::vector<HeaderDescription> super_resolution_headers();

}  // namespace dreamlab
