#pragma once

// A server whose routes show what HTTP makes of requests and answers, without models.
#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/http_client.h"
#include "server/server.h"
#include "temporary_directory.h"

namespace dreamlab {

// What its routes do and tests look at.
class WireRoutes {
 public:
  //   GET  /health                      "ok", without a key
  //   POST /echo/{id}                   id, query parameter q, and body, one a line
  //   PUT  /files/{key...}              the key
  //   GET  /files/list                  "the list"
  //   POST /small                       at most 10 bytes
  //   GET  /wait                        ends when the client leaves or release() is called
  //   GET  /throw/{what}                an error of that kind
  //   GET  /stream/{pieces}             that many pieces of 1,000 bytes
  //   GET  /endless                     pieces until the client leaves
  //   GET  /broken                      a piece, then an exception
  //   GET  /large                       16 MiB
  //   GET  /blocking                    what another thread says
  //   GET  /headers                     headers with line breaks and a Cache-Control of its own
  Router make();

  // Waits until that many requests are in /wait, or have been told that their client left.
  bool wait_until_waiting(int count);
  bool wait_until_left(int count);
  void release();

 private:
  boost::asio::awaitable<HttpResponse> wait(HttpRequest& request);
  void add(Router& router, const std::string& method, const std::string& pattern,
           std::function<boost::asio::awaitable<HttpResponse>(HttpRequest&)> handler, int64_t max_body = 64 << 20);
  bool wait_until(const int& value, int count);
  void count(int& value);

  boost::asio::thread_pool pool_{1};
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0, left_ = 0;
  std::vector<std::function<void(bool)>> releases_;
};

class WireServer {
 public:
  explicit WireServer(ServerOptions options = {});

  HttpClient client() const { return HttpClient(server->port(), security_); }
  int port() const { return server->port(); }

  WireRoutes routes;
  std::unique_ptr<Server> server;  // goes before what its routes work with

 private:
  HttpClient::Security security_;
};

// A certificate for this machine and its key, made by the openssl command; gone with the object.
class TestCertificate {
 public:
  TestCertificate();
  std::string certificate() const { return folder_ / "cert.pem"; }
  std::string key() const { return folder_ / "key.pem"; }
  std::string other_key() const { return folder_ / "other.pem"; }

 private:
  TemporaryDirectory folder_;
};

}  // namespace dreamlab
