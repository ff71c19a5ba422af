#include "server/storage_routes.h"

#include <nlohmann/json.hpp>

#include "server/async.h"
#include "server/route_modules.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

constexpr const char* kUnknownType = "application/octet-stream";

Storage& storage_of(const ServerContext& context) {
  if (!context.storage) {
    fail(ErrorKind::unavailable,
         "storage is not enabled on this server; STORAGE=file:DIR or STORAGE=redis://HOST enables it");
  }
  return *context.storage;
}

awaitable<HttpResponse> get_object(ContextPtr context, HttpRequest& request) {
  Storage& storage = storage_of(*context);
  const std::string& key = request.parameters.at("key");
  std::optional<StoredObject> object = co_await run_blocking(*context->blocking, [&] { return storage.get(key); });
  if (!object) fail(ErrorKind::not_found, "nothing is stored under that key");
  HttpResponse response;
  response.headers = {{"Content-Type", object->content_type},
                      {"Cache-Control", "no-cache"},
                      // Whatever somebody has put there: a browser must not run it as a page of this server.
                      {"Content-Security-Policy", "default-src 'none'; sandbox"}};
  response.body.assign(object->bytes.begin(), object->bytes.end());
  co_return response;
}

awaitable<HttpResponse> put_object(ContextPtr context, HttpRequest& request) {
  Storage& storage = storage_of(*context);
  const std::string& key = request.parameters.at("key");
  std::string content_type = request.header("content-type");
  if (content_type.empty()) content_type = kUnknownType;
  co_await run_blocking(*context->blocking, [&] {
    const auto* bytes = reinterpret_cast<const uint8_t*>(request.body.data());
    storage.put(key, std::span(bytes, request.body.size()), content_type);
  });
  co_return HttpResponse::json(
      200, json({{"key", key}, {"bytes", request.body.size()}, {"content_type", content_type}}).dump());
}

awaitable<HttpResponse> storage_health(ContextPtr context) {
  Storage& storage = storage_of(*context);
  const std::string details = co_await run_blocking(*context->blocking, [&] { return storage.health(); });
  const json document = {{"status", "ok"}, {"kind", std::string(storage.kind())}, {"details", details}};
  co_return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

ParameterDescription key_parameter() {
  return {.name = "key", .description = "1..128 of A-Z a-z 0-9 . _ - without a leading dot."};
}

std::shared_ptr<const ObjectRules> put_rules() {
  return response_object(
      "Stored", "What was stored.",
      {text("key", "Its key.").required(), count("bytes", "Its size.").required(),
       text("content_type", "That comes back with it; application/octet-stream where none was sent.").required()});
}

std::shared_ptr<const ObjectRules> storage_health_rules() {
  return response_object("StorageHealth", "The storage works.",
                         {choice("status", {"ok"}, "Always ok; 503 else.").required(),
                          choice("kind", {"file", "redis"}, "Where objects are kept.").required(),
                          text("details", "For people.").required()});
}

}  // namespace

void register_storage_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "GET",
             .pattern = "/storage/health",
             .handler = [context](HttpRequest&) { return storage_health(context); }},
            {.tag = "Storage",
             .summary = "Whether the storage works",
             .responses = {{200, "It does.", {{"application/json", storage_health_rules()}}}},
             .errors = {503}});
  add_route(router,
            {.method = "GET",
             .pattern = "/storage/{key}",
             .handler = [context](HttpRequest& request) { return get_object(context, request); }},
            {.tag = "Storage",
             .summary = "What is stored under a key",
             .details = "Finished pictures tell their key in X-LCM-Image-Key.",
             .parameters = {key_parameter()},
             .responses = {{200, "The bytes, with the content type that they were stored with.", {{"*/*", nullptr}}}},
             .errors = {404, 422, 503}});
  add_route(router,
            {.method = "PUT",
             .pattern = "/storage/{key}",
             .handler = [context](HttpRequest& request) { return put_object(context, request); },
             .max_body = kMaxPictureBody},
            {.tag = "Storage",
             .summary = "Store bytes under a key",
             .details = "In place of what is there. They leave after STORAGE_TTL seconds, or when there is no room.",
             .parameters = {key_parameter()},
             .request = {{"*/*", nullptr}},
             .responses = {{200, "Stored.", {{"application/json", put_rules()}}}},
             .errors = {413, 422, 503}});
}

}  // namespace dreamlab
