#include "server/access.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "server/errors.h"

namespace dreamlab {

namespace {

constexpr size_t kMaxRequestId = 128;
constexpr size_t kRequestIdBytes = 16;
constexpr std::string_view kBearer = "bearer ";
constexpr const char* kPreflightSeconds = "600";
constexpr std::string_view kAllowedHeaders = "Authorization, Content-Type, X-API-Key, X-Request-Id";

bool is_id_character(unsigned char c) {
  return c < 0x80 && (std::isalnum(c) || c == '.' || c == '_' || c == '-');
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

std::string bearer_token(const std::string& authorization) {
  if (authorization.size() < kBearer.size()) return "";
  const bool is_bearer = std::equal(kBearer.begin(), kBearer.end(), authorization.begin(), [](char expected, char c) {
    return expected == std::tolower(static_cast<unsigned char>(c));
  });
  return is_bearer ? std::string(trim(std::string_view(authorization).substr(kBearer.size()))) : "";
}

// Headers that a script may see: ours. The standard ones of a simple answer it sees anyway.
std::string exposed_headers(const HttpResponse& response) {
  std::string names = "X-Request-Id, Retry-After";
  for (const auto& [name, value] : response.headers) {
    if (name.starts_with("X-")) names += ", " + name;
  }
  return names;
}

}  // namespace

ApiKey::ApiKey(std::string_view key) : needed_(!key.empty()), digest_(digest(key)) {}

ApiKey::Digest ApiKey::digest(std::string_view text) {
  Digest hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  return hash;
}

void ApiKey::check(const HttpRequest& request) const {
  if (!needed_) return;
  const std::string bearer = bearer_token(request.header("authorization"));
  const std::string given = bearer.empty() ? request.header("x-api-key") : bearer;
  const Digest hash = digest(given);
  if (CRYPTO_memcmp(hash.data(), digest_.data(), hash.size()) == 0) return;
  throw HttpError(401,
                  given.empty() ? "an API key is needed, as Authorization: Bearer KEY or X-API-Key: KEY"
                                : "the API key is not the right one",
                  {{"WWW-Authenticate", "Bearer"}});
}

CorsPolicy::CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {
  any_ = std::find(origins_.begin(), origins_.end(), "*") != origins_.end();
}

bool CorsPolicy::allows(std::string_view origin) const {
  return any_ || std::find(origins_.begin(), origins_.end(), origin) != origins_.end();
}

void CorsPolicy::apply(const HttpRequest& request, HttpResponse& response) const {
  if (origins_.empty()) return;
  if (!any_) response.headers.emplace_back("Vary", "Origin");
  const std::string origin = request.header("origin");
  if (origin.empty() || !allows(origin)) return;
  const std::string exposed = exposed_headers(response);
  response.headers.emplace_back("Access-Control-Allow-Origin", any_ ? "*" : origin);
  response.headers.emplace_back("Access-Control-Expose-Headers", exposed);
}

void CorsPolicy::apply_preflight(const HttpRequest& request, std::string_view allowed_methods,
                                 HttpResponse& response) const {
  const std::string origin = request.header("origin");
  if (origin.empty() || !allows(origin) || request.header("access-control-request-method").empty()) return;
  response.headers.emplace_back("Access-Control-Allow-Methods", allowed_methods);
  response.headers.emplace_back("Access-Control-Allow-Headers", kAllowedHeaders);
  response.headers.emplace_back("Access-Control-Max-Age", kPreflightSeconds);
}

std::string request_id_for(const HttpRequest& request) {
  const std::string given = request.header("x-request-id");
  if (!given.empty() && given.size() <= kMaxRequestId && std::all_of(given.begin(), given.end(), is_id_character)) {
    return given;
  }
  std::array<uint8_t, kRequestIdBytes> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    fail(ErrorKind::internal, "the system's random numbers cannot be read");
  }
  std::string id;
  for (const uint8_t byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

}  // namespace dreamlab
