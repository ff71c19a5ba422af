#include "server/generated_picture.h"

#include "server/async.h"
#include "server/base64.h"

namespace dreamlab {

using boost::asio::awaitable;

awaitable<FinishedPicture> make_picture(std::shared_ptr<ServerContext> context,
                                        std::shared_ptr<PipelineService> service, GenerateBody body, RunOptions options,
                                        std::shared_ptr<Disconnect> disconnect) {
  check_post_processing(*context, *service, body);
  options.with_latents = body.latents;
  options.timeout_s = body.timeout_s;
  std::vector<JobRequest> requests{body};
  GeneratedPictures made = co_await run_jobs(*service, std::move(requests), std::move(options), disconnect);
  FinishedPicture picture = co_await finish_picture(context, std::move(made.results.front()), body, disconnect);
  picture.mode = made.mode;
  picture.model = model_name(*context, *service, made.mode);
  co_return picture;
}

awaitable<FinishedPicture> finish_picture(std::shared_ptr<ServerContext> context, JobResult result,
                                          const GenerateBody& body, std::shared_ptr<Disconnect> disconnect,
                                          std::shared_ptr<CancelToken> cancel) {
  FinishedPicture picture;
  picture.seed = result.seed;
  picture.latents = result.latents;
  std::vector<uint8_t> bytes = std::move(result.png);
  if (body.superres) {
    SuperResolutionRequest request;
    request.picture = result.picture;
    request.magnitude = body.superres_magnitude;
    request.format = body.superres_format == "jpeg" ? ImageFormat::jpeg : ImageFormat::png;
    request.quality = body.superres_quality;
    request.texts = {{"parameters", result.parameters}};
    request.cancel = std::move(cancel);
    picture.format = request.format;
    picture.upscaled =
        co_await run_super_resolution(super_resolution_of(*context), std::move(request), std::move(disconnect));
    bytes = std::move(picture.upscaled->bytes);
  }
  picture.bytes = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  picture.storage_key = co_await store_picture(*context, picture.bytes, std::string(mime_type_of(picture.format)));
  co_return picture;
}

HttpResponse picture_response(const FinishedPicture& picture, const std::string& model) {
  HttpResponse response;
  auto& headers = response.headers;
  headers.emplace_back("Content-Type", mime_type_of(picture.format));
  headers.emplace_back("Cache-Control", "no-store");
  headers.emplace_back("X-Seed", std::to_string(picture.seed));
  headers.emplace_back("X-Model", header_value(model.empty() ? picture.model : model));
  if (!picture.mode.empty()) headers.emplace_back("X-Mode", header_value(picture.mode));
  if (picture.latents) headers.emplace_back("X-Latent-Fingerprint", encode_base64(*picture.latents));
  if (picture.storage_key) headers.emplace_back("X-LCM-Image-Key", *picture.storage_key);
  if (picture.upscaled)
    add_super_resolution_headers(response, *picture.upscaled, picture.format);
  else
    headers.emplace_back("X-SuperRes", "0");
  response.body.assign(picture.bytes->begin(), picture.bytes->end());
  return response;
}

void add_super_resolution_headers(HttpResponse& response, const SuperResolutionResult& result, ImageFormat format) {
  auto& headers = response.headers;
  headers.emplace_back("X-SuperRes", "1");
  headers.emplace_back("X-SR-Model", header_value(result.model));
  headers.emplace_back("X-SR-Passes", std::to_string(result.passes));
  headers.emplace_back("X-SR-Scale-Per-Pass", std::to_string(result.scale_per_pass));
  headers.emplace_back("X-SR-Format", name_of(format));
}

std::vector<HeaderDescription> super_resolution_headers() {
  return {{"X-SuperRes", "1 where the picture was upscaled, else 0."},
          {"X-SR-Model", "The upscaler. This and the following: where it was upscaled."},
          {"X-SR-Passes", "How often it was upscaled."},
          {"X-SR-Scale-Per-Pass", "What a pass multiplies the sides by."},
          {"X-SR-Format", "png or jpeg."},
          {"X-LCM-Image-Key", "The key of GET /storage/{key}, where it was stored."},
          {"Cache-Control", "no-store"}};
}

std::vector<HeaderDescription> picture_headers() {
  std::vector<HeaderDescription> headers = {
      {"X-Seed", "The seed that was used."},
      {"X-Model", "The model that made it."},
      {"X-Mode", "The mode that it was made in, where modes are used."},
      {"X-Latent-Fingerprint",
       "Where `latents` was true: the final latents, averaged to 4x8x8, 512 bytes of float16, "
       "in base64."}};
  for (HeaderDescription& header : super_resolution_headers()) headers.push_back(std::move(header));
  return headers;
}

}  // namespace dreamlab
