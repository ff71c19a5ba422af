// POST /generate, POST /generate_sdxl.
#include "base/log.h"
#include "server/async.h"
#include "server/base64.h"
#include "server/generate_request.h"
#include "server/generated_picture.h"
#include "server/generation.h"
#include "server/route_modules.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;

// model: what X-Model says; "": the name of the checkpoint.
awaitable<HttpResponse> generate(ContextPtr context, std::shared_ptr<PipelineService> service, std::string model,
                                 HttpRequest& request) {
  GenerateBody body = parse_body(generate_schema(), request);
  if (!body.init_image_base64.empty() || !body.mask_base64.empty())
    co_await run_blocking(*context->blocking, [&body] { decode_pictures(body); });
  const FinishedPicture picture = co_await make_picture(context, service, std::move(body), {}, request.disconnect);
  co_return picture_response(picture, model);
}

RouteDescription description(std::string summary, std::string details) {
  RouteDescription described;
  described.tag = "Pictures";
  described.summary = std::move(summary);
  described.details = std::move(details);
  described.request = {{"application/json", generate_schema().rules()}};
  described.responses = {{200,
                          "The picture; its parameters are in a text chunk (PNG) or the EXIF comment (JPEG).",
                          {{"image/png", nullptr}, {"image/jpeg", nullptr}},
                          picture_headers()}};
  described.errors = {400, 413, 422, 429, 500, 503, 504};
  return described;
}

}  // namespace

void register_generate_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "POST",
             .pattern = "/generate",
             .handler = [context](HttpRequest& request) { return generate(context, context->sd, "", request); },
             .max_body = kMaxPictureBody},
            description("Make a picture", "Answers when it is finished. A client that leaves stops its picture."));
  add_route(router,
            {.method = "POST",
             .pattern = "/generate_sdxl",
             .handler = [context](HttpRequest& request) -> awaitable<HttpResponse> {
               if (!context->sdxl)
                 fail(ErrorKind::unavailable, "SDXL is not enabled on this server; SDXL_ENABLED=1 enables it");
               return generate(context, context->sdxl, "SDXL", request);
             },
             .max_body = kMaxPictureBody},
            description("Make a picture with the SDXL model that is served beside the other",
                        "503 where SDXL_ENABLED is off."));
}

}  // namespace dreamlab
