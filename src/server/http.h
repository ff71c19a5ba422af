#pragma once

// What a route sees of HTTP. Sockets, TLS and chunking stay in connection.cpp.
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cancel.h"

namespace dreamlab {

// Raised when the client leaves before its answer. Listeners run on the server's threads, once, at once where it is
// raised already.
class Disconnect {
 public:
  virtual ~Disconnect() = default;
  virtual bool happened() const = 0;
  virtual void on_disconnect(std::function<void()> listener) = 0;
};

struct HttpRequest {
  std::string method;                                          // "GET"
  std::string path;                                            // decoded, without the query
  std::map<std::string, std::string, std::less<>> parameters;  // captured by the route: "{id}"
  std::map<std::string, std::string, std::less<>> query;       // decoded
  std::map<std::string, std::string, std::less<>> headers;     // names in lower case
  std::string body;
  std::string id;      // also in X-Request-Id
  std::string client;  // address, for the log
  std::shared_ptr<Disconnect> disconnect;

  // "" where it is not there.
  std::string header(std::string_view lower_case_name) const;
};

// Writes the body of an answer piece by piece (chunked). write() waits for the socket; it throws Error(cancelled) when
// the client is gone.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  virtual boost::asio::awaitable<void> write(std::string_view piece) = 0;
};

struct HttpResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // Instead of a body: called after the header has gone out.
  std::function<boost::asio::awaitable<void>(BodyWriter&)> stream;

  static HttpResponse json(int status, std::string text);  // text: a whole JSON document
  // {"detail": message}
  static HttpResponse error(int status, std::string_view message);
};

// May throw Error (its kind gives the status, ErrorStatus in errors.h) or HttpError.
using Handler = std::function<boost::asio::awaitable<HttpResponse>(HttpRequest&)>;

}  // namespace dreamlab
