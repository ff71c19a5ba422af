#include "server/errors.h"

#include <algorithm>
#include <new>

#include "base/log.h"

namespace dreamlab {

namespace {

struct ErrorStatus {
  ErrorKind kind;
  int status;
};

constexpr ErrorStatus kErrorStatus[] = {
    {ErrorKind::invalid_argument, 422}, {ErrorKind::invalid_file, 422}, {ErrorKind::unsupported, 422},
    {ErrorKind::unavailable, 503},      {ErrorKind::busy, 429},         {ErrorKind::timeout, 504},
    {ErrorKind::not_found, 404},        {ErrorKind::too_large, 413},    {ErrorKind::cancelled, 499},
    {ErrorKind::out_of_memory, 500},    {ErrorKind::internal, 500},
};

struct Reason {
  int status;
  std::string_view text;
};

constexpr Reason kReasons[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

constexpr const char* kRetryAfterSeconds = "1";

HttpResponse response_to(const Error& error) {
  HttpResponse response = HttpResponse::error(status_of(error.kind()), error.what());
  if (error.kind() == ErrorKind::busy) response.headers.emplace_back("Retry-After", kRetryAfterSeconds);
  return response;
}

HttpResponse response_to(const HttpError& error) {
  HttpResponse response = HttpResponse::error(error.status(), error.what());
  response.headers.insert(response.headers.end(), error.headers().begin(), error.headers().end());
  return response;
}

}  // namespace

int status_of(ErrorKind kind) {
  const auto* row = std::find_if(std::begin(kErrorStatus), std::end(kErrorStatus),
                                 [&](const ErrorStatus& candidate) { return candidate.kind == kind; });
  return row == std::end(kErrorStatus) ? 500 : row->status;
}

std::string_view reason_of(int status) {
  const auto* row = std::find_if(std::begin(kReasons), std::end(kReasons),
                                 [&](const Reason& candidate) { return candidate.status == status; });
  return row == std::end(kReasons) ? "Unknown" : row->text;
}

HttpResponse response_to(std::exception_ptr error, std::string_view request_id) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const HttpError& http_error) {
    return response_to(http_error);
  } catch (const Error& known) {
    if (status_of(known.kind()) == 500) log::error("request {}: {}", request_id, known.what());
    return response_to(known);
  } catch (const std::bad_alloc&) {
    log::error("request {}: out of memory", request_id);
    return HttpResponse::error(500, "out of memory");
  } catch (const std::exception& unknown) {
    log::error("request {}: {}", request_id, unknown.what());
  } catch (...) {
    log::error("request {}: an exception of no known type", request_id);
  }
  return HttpResponse::error(500, "internal error; the server's log has more under X-Request-Id");
}

}  // namespace dreamlab
