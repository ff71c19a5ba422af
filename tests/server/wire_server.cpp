#include "server/wire_server.h"

#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "server/async.h"
#include "server/errors.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;

HttpResponse text(std::string body) {
  HttpResponse response;
  response.headers.emplace_back("Content-Type", "text/plain");
  response.body = std::move(body);
  return response;
}

[[noreturn]] void throw_named(const std::string& what) {
  if (what == "busy") fail(ErrorKind::busy, "the queue is full");
  if (what == "invalid") fail(ErrorKind::invalid_argument, "size: \"7x7\" is no size");
  if (what == "timeout") fail(ErrorKind::timeout, "took too long");
  if (what == "unavailable") fail(ErrorKind::unavailable, "no model");
  if (what == "internal") fail(ErrorKind::internal, "our own mistake");
  if (what == "http") throw HttpError(415, "no such kind of body", {{"Accept", "image/png"}});
  if (what == "memory") throw std::bad_alloc();
  if (what == "number") throw 7;
  throw std::logic_error("a secret detail");
}

}  // namespace

void WireRoutes::add(Router& router, const std::string& method, const std::string& pattern,
                     std::function<awaitable<HttpResponse>(HttpRequest&)> handler, int64_t max_body) {
  Route route;
  route.method = method;
  route.pattern = pattern;
  route.handler = std::move(handler);
  route.needs_key = pattern != "/health";
  route.max_body = max_body;
  router.add(std::move(route));
}

Router WireRoutes::make() {
  Router router;
  add(router, "GET", "/health", [](HttpRequest&) -> awaitable<HttpResponse> { co_return text("ok"); });
  add(router, "POST", "/echo/{id}", [](HttpRequest& request) -> awaitable<HttpResponse> {
    co_return text(request.parameters["id"] + "\n" + request.query["q"] + "\n" + request.body);
  });
  add(router, "PUT", "/files/{key...}",
      [](HttpRequest& request) -> awaitable<HttpResponse> { co_return text(request.parameters["key"]); });
  add(router, "GET", "/files/list", [](HttpRequest&) -> awaitable<HttpResponse> { co_return text("the list"); });
  add(
      router, "POST", "/small", [](HttpRequest& request) -> awaitable<HttpResponse> { co_return text(request.body); },
      10);
  add(router, "GET", "/wait", [this](HttpRequest& request) { return wait(request); });
  add(router, "GET", "/throw/{what}", [](HttpRequest& request) -> awaitable<HttpResponse> {
    throw_named(request.parameters["what"]);
    co_return text("never");
  });
  add(router, "GET", "/stream/{pieces}", [](HttpRequest& request) -> awaitable<HttpResponse> {
    HttpResponse response;
    const int pieces = std::atoi(request.parameters["pieces"].c_str());
    response.stream = [pieces](BodyWriter& writer) -> awaitable<void> {
      for (int i = 0; i < pieces; ++i) {
        const std::string piece(1000, static_cast<char>('a' + i % 26));
        co_await writer.write(piece);
        co_await writer.write("");
      }
    };
    co_return response;
  });
  add(router, "GET", "/endless", [this](HttpRequest&) -> awaitable<HttpResponse> {
    HttpResponse response;
    response.stream = [this](BodyWriter& writer) -> awaitable<void> {
      count(waiting_);
      const std::string piece(50000, 'x');
      try {
        for (;;) co_await writer.write(piece);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) count(left_);
        throw;
      }
    };
    co_return response;
  });
  add(router, "GET", "/broken", [](HttpRequest&) -> awaitable<HttpResponse> {
    HttpResponse response;
    response.stream = [](BodyWriter& writer) -> awaitable<void> {
      co_await writer.write("half of it");
      throw std::runtime_error("broken");
    };
    co_return response;
  });
  add(router, "GET", "/large",
      [](HttpRequest&) -> awaitable<HttpResponse> { co_return text(std::string(16 << 20, 'L')); });
  add(router, "GET", "/blocking", [this](HttpRequest&) -> awaitable<HttpResponse> {
    const auto here = std::this_thread::get_id();
    auto work = [here] { return std::string(std::this_thread::get_id() == here ? "the same" : "another"); };
    std::string which = co_await run_blocking(pool_, std::move(work));
    co_return text(std::move(which));
  });
  add(router, "GET", "/headers", [](HttpRequest&) -> awaitable<HttpResponse> {
    HttpResponse response = text("");
    response.headers.emplace_back("X-Odd", "one\r\nX-Injected: two");
    response.headers.emplace_back("cache-control", "max-age=60");
    co_return response;
  });
  return router;
}

awaitable<HttpResponse> WireRoutes::wait(HttpRequest& request) {
  auto start = [&](std::function<void(bool)> done) {
    request.disconnect->on_disconnect([this, done] {
      count(left_);
      done(false);
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    releases_.push_back(done);
    ++waiting_;
    changed_.notify_all();
  };
  const bool released = co_await await_callback<bool>(start);
  if (!released) fail(ErrorKind::cancelled, "the client has left");
  co_return text("released");
}

void WireRoutes::count(int& value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++value;
  changed_.notify_all();
}

bool WireRoutes::wait_until(const int& value, int count) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, HttpClient::kPatience, [&] { return value >= count; });
}

bool WireRoutes::wait_until_waiting(int count) {
  return wait_until(waiting_, count);
}

bool WireRoutes::wait_until_left(int count) {
  return wait_until(left_, count);
}

void WireRoutes::release() {
  std::vector<std::function<void(bool)>> releases;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    releases.swap(releases_);
  }
  for (const auto& done : releases) done(true);
}

WireServer::WireServer(ServerOptions options)
    : security_(options.tls_cert.empty() ? HttpClient::Security::plain : HttpClient::Security::tls) {
  log::set_level(log::level::off);  // errors are a part of these tests
  options.host = "127.0.0.1";
  server = std::make_unique<Server>(std::move(options));
  server->start(routes.make());
}

TestCertificate::TestCertificate() {
  const std::string make =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout "
      "'" +
      key() + "' -out '" + certificate() + "' 2>/dev/null && openssl genpkey -algorithm EC -pkeyopt " +
      "ec_paramgen_curve:prime256v1 -out '" + other_key() + "' 2>/dev/null";
  if (std::system(make.c_str()) != 0) throw std::runtime_error("openssl made no certificate");
}

}  // namespace dreamlab
