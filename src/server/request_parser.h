#pragma once

// From bytes to a request: HTTP/1.0 and HTTP/1.1 without sockets. Strict where leniency lets two parties read two
// different requests out of the same bytes (RFC 9112, section 11.2).
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http.h"

namespace dreamlab {

class RequestParser {
 public:
  // header_limit: bytes of request line and header fields together; 431 above.
  explicit RequestParser(size_t header_limit);
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;
  RequestParser& operator=(RequestParser&&) noexcept;

  enum class Stage { header, body, done };
  Stage stage() const;

  // Returns how many of the bytes it took; stops behind the header and behind the request. What it leaves while it
  // wants more has to be given again, with more behind it. Throws HttpError, after which the connection must close.
  size_t put(std::string_view bytes);

  // Bytes of the body, from now on; put() throws 413 above. Throws it where the header announces more.
  void set_body_limit(uint64_t bytes);

  // Whole once the header is: method, path, query, headers; what is known before. The body once the request is done.
  HttpRequest& request();
  const HttpRequest& request() const;
  // Of the header:
  const std::string& encoded_path() const;  // "*" of OPTIONS *
  bool is_http_1_1() const;
  bool keep_alive() const;  // never after put() threw
  bool expects_continue() const;
  bool has_body() const;
  std::optional<uint64_t> content_length() const;  // nullopt: chunked, or no body
  uint64_t body_received() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
