#pragma once

// Who may call: the API key, and origins of browsers.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace dreamlab {

class ApiKey {
 public:
  explicit ApiKey(std::string_view key);  // "": every request is let through
  // Throws HttpError(401) unless the request has it as `Authorization: Bearer KEY` or `X-API-Key: KEY`. The time that
  // it takes says nothing about the key.
  void check(const HttpRequest& request) const;

 private:
  using Digest = std::array<uint8_t, 32>;
  static Digest digest(std::string_view text);

  bool needed_;
  Digest digest_;
};

// Cross-origin requests of browsers (the Fetch standard, CORS protocol).
class CorsPolicy {
 public:
  explicit CorsPolicy(std::vector<std::string> origins);
  // Adds what lets the origin of the request read the answer, where it may.
  void apply(const HttpRequest& request, HttpResponse& response) const;
  // The same for the answer to OPTIONS, where a browser asks what it may send.
  void apply_preflight(const HttpRequest& request, std::string_view allowed_methods, HttpResponse& response) const;

 private:
  bool allows(std::string_view origin) const;

  std::vector<std::string> origins_;
  bool any_ = false;
};

// The client's X-Request-Id where it is 1..128 characters of A-Z a-z 0-9 . _ -; else a new one.
std::string request_id_for(const HttpRequest& request);

}  // namespace dreamlab
