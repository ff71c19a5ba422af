#include "server/routes.h"

#include "server/metrics_routes.h"
#include "server/openapi.h"
#include "server/route_modules.h"
#include "server/storage_routes.h"

namespace dreamlab {

void add_route(Router& router, Route route, RouteDescription description) {
  route.description = std::make_shared<const RouteDescription>(std::move(description));
  router.add(std::move(route));
}

std::vector<FormPart> read_form(HttpRequest& request) {
  const auto boundary = multipart_boundary(request.header("content-type"));
  if (!boundary)
    throw HttpError(400, "the body is no form; Content-Type: multipart/form-data with a boundary is needed");
  try {
    return parse_multipart(request.body, *boundary);
  } catch (const RequestError& error) {
    throw HttpError(error.status(), error.what());
  }
}

namespace {

HttpResponse text_response(std::string content_type, std::string body) {
  HttpResponse response;
  response.headers.emplace_back("Content-Type", std::move(content_type));
  response.body = std::move(body);
  return response;
}

void register_document_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "GET",
             .pattern = "/docs",
             .handler = [](HttpRequest&) -> boost::asio::awaitable<HttpResponse> {
               HttpResponse response = text_response("text/html; charset=utf-8", std::string(docs_page()));
               // The page asks nobody but this server.
               response.headers.emplace_back("Content-Security-Policy",
                                             "default-src 'none'; style-src 'unsafe-inline'; script-src "
                                             "'unsafe-inline'; connect-src 'self'; img-src blob: data:");
               co_return response;
             }},
            {.tag = "Documents",
             .summary = "This interface as a page, to read and to try",
             .responses = {{200, "The page.", {{"text/html; charset=utf-8", nullptr}}}}});
  // Last: the document is of the routes that are there by then, its own among them.
  const auto document = std::make_shared<std::string>();
  add_route(router,
            {.method = "GET",
             .pattern = "/openapi.json",
             .handler = [document](HttpRequest&) -> boost::asio::awaitable<HttpResponse> {
               co_return HttpResponse::json(200, *document);
             }},
            {.tag = "Documents",
             .summary = "This interface as an OpenAPI 3.1 document",
             .responses = {{200, "The document.", {{"application/json", nullptr}}}}});
  *document = openapi_document(router, context->version);
}

}  // namespace

void register_routes(Router& router, const std::shared_ptr<ServerContext>& context) {
  register_generate_routes(router, context);
  register_superres_routes(router, context);
  register_job_routes(router, context);
  register_mode_routes(router, context);
  register_openai_routes(router, context);
  register_sdapi_routes(router, context);
  register_status_routes(router, context);
  register_metrics_routes(router, context);
  register_storage_routes(router, context);
  register_ui_routes(router);
  register_document_routes(router, context);
}

}  // namespace dreamlab
