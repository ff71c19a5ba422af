// The web UI: pages for people, from the program itself.
#include "server/route_modules.h"
#include "server/ui_files.h"

namespace dreamlab {

namespace {

constexpr std::string_view kIndex = "/index.html";
// Its pages ask nobody but this server; pictures are also data URLs (previews) and blobs (results).
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

// Whether an encoding is in the list, and not with a weight of zero (RFC 9110, 12.5.3).
bool accepts_gzip(const HttpRequest& request) {
  const std::string accepted = request.header("accept-encoding");
  const size_t at = accepted.find("gzip");
  if (at == std::string::npos) return false;
  const std::string_view rest = std::string_view(accepted).substr(at + 4);
  return rest.rfind(";q=0", 0) != 0 || rest.find_first_of("123456789") < rest.find(',');
}

HttpResponse answer(const HttpRequest& request, const UiFile& file) {
  HttpResponse response;
  const bool is_index = file.path == kIndex;
  // A file's name says what is in it; the index names the files.
  response.headers = {{"Content-Type", std::string(file.content_type)},
                      {"ETag", std::string(file.etag)},
                      {"Vary", "Accept-Encoding"},
                      {"Cache-Control", is_index ? "no-cache" : "public, max-age=31536000, immutable"}};
  if (is_index) response.headers.emplace_back("Content-Security-Policy", kPolicy);
  if (request.header("if-none-match") == file.etag) {
    response.status = 304;
  } else if (accepts_gzip(request)) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body.assign(file.gzip.begin(), file.gzip.end());
  } else {
    response.body = file.unpacked();
  }
  return response;
}

}  // namespace

void register_ui_routes(Router& router) {
  add_route(router,
            {.method = "GET",
             .pattern = "/",
             .handler = [](HttpRequest& request) -> boost::asio::awaitable<HttpResponse> {
               co_return answer(request, *find_ui_file(kIndex));
             },
             .needs_key = false},
            {.tag = "Documents",
             .summary = "The web UI: pages to make pictures with",
             .responses = {{200, "The page.", {{"text/html; charset=utf-8", nullptr}}}}});
  add_route(router,
            {.method = "GET",
             .pattern = "/assets/{file}",
             .handler = [](HttpRequest& request) -> boost::asio::awaitable<HttpResponse> {
               const UiFile* const file = find_ui_file("/assets/" + request.parameters.at("file"));
               if (file == nullptr) throw HttpError(404, "the web UI has no such file");
               co_return answer(request, *file);
             },
             .needs_key = false},
            {.tag = "Documents",
             .summary = "What the pages of the web UI are made of",
             .parameters = {{"file", "A name that a page gives."}},
             .responses = {{200,
                            "The file.",
                            {{"text/javascript; charset=utf-8", nullptr},
                             {"text/css; charset=utf-8", nullptr},
                             {"image/svg+xml", nullptr}}}},
             .errors = {404}});
}

}  // namespace dreamlab
