// POST /superres, POST /v1/superres.
#include <span>

#include "server/async.h"
#include "server/generated_picture.h"
#include "server/route_modules.h"
#include "server/superres_form.h"
#include "server/uploaded_picture.h"

namespace dreamlab {

const Schema<SuperResForm>& superres_schema() {
  using S = Schema<SuperResForm>;
  using F = SuperResForm;
  static const S schema(
      {.title = "SuperResForm", .description = "A picture to upscale."},
      {S::field(file("file", "A PNG, JPEG or WebP file.").required(), &F::file),
       S::field(integer("magnitude", 1, 3, "Passes of the upscaler.").fallback(int64_t{2}), &F::magnitude),
       S::field(choice("out_format", {"png", "jpeg"}, "File format of the result.").fallback("png"), &F::out_format),
       S::field(integer("quality", 1, 100, "JPEG quality of the result.").fallback(int64_t{92}), &F::quality)});
  return schema;
}

namespace {

using boost::asio::awaitable;

awaitable<HttpResponse> upscale(ContextPtr context, HttpRequest& request) {
  SuperResolutionService& service = super_resolution_of(*context);
  const SuperResForm form = parse_form_body(superres_schema(), request);
  SuperResolutionRequest job;
  job.picture = co_await run_blocking(*context->blocking, [&form] {
    const auto* bytes = reinterpret_cast<const uint8_t*>(form.file.data());
    return decode_uploaded_picture(std::span(bytes, form.file.size()), "file");
  });
  job.magnitude = form.magnitude;
  job.format = form.out_format == "jpeg" ? ImageFormat::jpeg : ImageFormat::png;
  job.quality = form.quality;
  const ImageFormat format = job.format;
  SuperResolutionResult result = co_await run_super_resolution(service, std::move(job), request.disconnect);
  const auto bytes = std::make_shared<const std::vector<uint8_t>>(std::move(result.bytes));
  const std::optional<std::string> key = co_await store_picture(*context, bytes, std::string(mime_type_of(format)));
  HttpResponse response;
  response.headers.emplace_back("Content-Type", mime_type_of(format));
  response.headers.emplace_back("Cache-Control", "no-store");
  add_super_resolution_headers(response, result, format);
  if (key) response.headers.emplace_back("X-LCM-Image-Key", *key);
  response.body.assign(bytes->begin(), bytes->end());
  co_return response;
}

}  // namespace

void register_superres_routes(Router& router, const ContextPtr& context) {
  for (const char* pattern : {"/superres", "/v1/superres"})
    add_route(router,
              {.method = "POST",
               .pattern = pattern,
               .handler = [context](HttpRequest& request) { return upscale(context, request); },
               .max_body = kMaxPictureBody},
              {.tag = "Pictures",
               .summary = "Upscale a picture",
               .details = "EXIF orientation is honored. A result, or any pass, over SR_MAX_PIXELS is refused.",
               .request = {{"multipart/form-data", superres_schema().rules()}},
               .responses = {{200,
                              "The upscaled picture.",
                              {{"image/png", nullptr}, {"image/jpeg", nullptr}},
                              super_resolution_headers()}},
               .errors = {400, 413, 422, 429, 500, 503, 504}});
}

}  // namespace dreamlab
