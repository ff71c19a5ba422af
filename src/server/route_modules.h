#pragma once

// The routes by subject, and what their files share.
#include <memory>
#include <string>

#include "server/errors.h"
#include "server/route_description.h"
#include "server/router.h"
#include "server/schema.h"
#include "server/server_context.h"

namespace dreamlab {

using ContextPtr = std::shared_ptr<ServerContext>;

void register_generate_routes(Router& router, const ContextPtr& context);
void register_superres_routes(Router& router, const ContextPtr& context);
void register_job_routes(Router& router, const ContextPtr& context);
void register_mode_routes(Router& router, const ContextPtr& context);
void register_openai_routes(Router& router, const ContextPtr& context);
void register_sdapi_routes(Router& router, const ContextPtr& context);
void register_status_routes(Router& router, const ContextPtr& context);
void register_ui_routes(Router& router);

// Switches the mode of requests that name none; returns once it is done. Throws Error: not_found for an unknown mode,
// and why the model could not be loaded.
boost::asio::awaitable<void> switch_mode(ContextPtr context, std::string name);

// Bodies that may hold pictures: an upload of kMaxUploadPixels, in base64.
constexpr int64_t kMaxPictureBody = int64_t{48} << 20;

// Adds a route that is in the OpenAPI document.
void add_route(Router& router, Route route, RouteDescription description);

// Parses a JSON body; what cannot be read at all becomes HttpError 400.
template <typename T>
T parse_body(const Schema<T>& schema, const HttpRequest& request) {
  try {
    return schema.parse_json(request.body);
  } catch (const RequestError& error) {
    if (error.status() == 400) throw HttpError(400, error.what());
    throw;
  }
}

// The same for multipart/form-data; 400 for another content type.
std::vector<FormPart> read_form(HttpRequest& request);

template <typename T>
T parse_form_body(const Schema<T>& schema, HttpRequest& request) {
  return schema.parse_form(read_form(request));
}

}  // namespace dreamlab
