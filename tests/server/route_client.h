#pragma once

// Asks the routes of a router without sockets.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <string>
#include <utility>

#include "server/errors.h"
#include "server/router.h"

namespace dreamlab {

// Never leaves.
class StayingClient final : public Disconnect {
 public:
  bool happened() const override { return false; }
  void on_disconnect(std::function<void()>) override {}
};

inline HttpResponse ask(const Router& router, const std::string& method, const std::string& path, std::string body = "",
                        std::map<std::string, std::string, std::less<>> headers = {}) {
  Router::Match match = router.find(method, path);
  if (match.route == nullptr) return HttpResponse::error(match.allowed.empty() ? 404 : 405, match.allowed);
  if (static_cast<int64_t>(body.size()) > match.route->max_body) return HttpResponse::error(413, "too large");
  HttpRequest request;
  request.method = method;
  request.path = path;
  request.parameters = match.parameters;
  request.headers = std::move(headers);
  request.body = std::move(body);
  request.disconnect = std::make_shared<StayingClient>();
  HttpResponse response;
  boost::asio::io_context io;
  boost::asio::co_spawn(io, match.route->handler(request), [&](std::exception_ptr error, HttpResponse answer) {
    response = error ? response_to(error, "test") : std::move(answer);
  });
  io.run();
  return response;
}

// "" where it is not there.
inline std::string header_of(const HttpResponse& response, const std::string& name) {
  for (const auto& [known, value] : response.headers) {
    if (known == name) return value;
  }
  return "";
}

}  // namespace dreamlab
