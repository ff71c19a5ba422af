#pragma once

// The form of the log, and the line that each request leaves in it.
#include <cstdint>
#include <string>
#include <string_view>

namespace dreamlab {

enum class LogFormat { text, json };

// Of every line of the process, from now on. JSON: one object a line with time, level, message and, of a request, its
// fields.
void set_log_format(LogFormat format);
// "debug", "info", "warning", "error"
void set_log_level(std::string_view level);

struct RequestRecord {
  std::string id, client, method, path;
  int status = 0;
  uint64_t bytes = 0;  // of the answer's body
  double ms = 0;
};

// Levels: info; warning from status 500 on.
void log_request(const RequestRecord& record);

}  // namespace dreamlab
