#pragma once

// From errors to answers.
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/http.h"

namespace dreamlab {

// An error of HTTP itself, with the status to answer by: 400, 401, 405, 415, ...
class HttpError : public std::runtime_error {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  HttpError(int status, const std::string& message, Headers headers = {})
      : std::runtime_error(message), status_(status), headers_(std::move(headers)) {}
  int status() const noexcept { return status_; }
  const Headers& headers() const noexcept { return headers_; }

 private:
  int status_;
  Headers headers_;
};

// 422 for what is out of range, 429 for a full queue, ...
int status_of(ErrorKind kind);
// "Not Found"; "Unknown" for a number that has no name.
std::string_view reason_of(int status);
// {"detail": ...} with the status of the error. What was not meant for people (anything but Error and HttpError) is
// answered by a general text and logged under the request's id.
HttpResponse response_to(std::exception_ptr error, std::string_view request_id);

}  // namespace dreamlab
