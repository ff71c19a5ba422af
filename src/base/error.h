#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace dreamlab {

// Whose fault an error is; decides the exit code and the HTTP status, never the text.
enum class ErrorKind {
  invalid_argument,  // a request, flag or variable is out of range
  invalid_file,      // a file is damaged, truncated, or not what it should be
  unsupported,       // understood, but not something this program does
  unavailable,       // a device, driver or file is not there
  out_of_memory,
  cancelled,
  busy,       // a queue is full: try again later
  timeout,    // a deadline has passed
  not_found,  // no such thing under that name
  too_large,  // more than a limit on sizes allows
  internal,   // our own mistake
};

// The one exception type of the project. what() is one line, fit to be shown to a person as it is.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

// throws Error: fail(ErrorKind::invalid_file, "{}: header of {} bytes is longer than the file", path, n)
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dreamlab
