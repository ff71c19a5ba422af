#include "server/request_log.h"

#include <fmt/chrono.h>
#include <spdlog/formatter.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"

namespace dreamlab {

namespace {

// The request that the line being formatted is about. spdlog formats on the thread that logs.
thread_local const RequestRecord* current_record = nullptr;

// A client writes paths: what could break a line, or a terminal, is escaped.
std::string printable(std::string_view text) {
  std::string shown;
  for (const unsigned char c : text) {
    if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
      shown += fmt::format("\\x{:02x}", c);
    } else {
      shown += static_cast<char>(c);
    }
  }
  return shown;
}

std::string timestamp(spdlog::log_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(ms / 1000)), ms % 1000);
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    nlohmann::ordered_json object;
    object["time"] = timestamp(line.time);
    const auto level = spdlog::level::to_string_view(line.level);
    object["level"] = std::string(level.data(), level.size());
    if (current_record != nullptr) {
      add_fields(*current_record, object);
    } else {
      object["message"] = std::string(line.payload.data(), line.payload.size());
    }
    const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }

 private:
  static void add_fields(const RequestRecord& record, nlohmann::ordered_json& object) {
    object["message"] = "request";
    object["request_id"] = record.id;
    object["client"] = record.client;
    object["method"] = record.method;
    object["path"] = record.path;
    object["status"] = record.status;
    object["bytes"] = record.bytes;
    object["ms"] = record.ms;
  }
};

}  // namespace

void set_log_format(LogFormat format) {
  if (format == LogFormat::json) {
    log::set_formatter(std::make_unique<JsonFormatter>());
  } else {
    log::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  }
}

void set_log_level(std::string_view level) {
  log::set_level(log::level::from_str(std::string(level)));
}

void log_request(const RequestRecord& record) {
  const auto level = record.status >= 500 ? log::level::warn : log::level::info;
  if (!log::default_logger_raw()->should_log(level)) return;
  current_record = &record;
  log::log(level, "{} \"{} {}\" {} {} B {:.1f} ms id={}", record.client, printable(record.method),
           printable(record.path), record.status, record.bytes, record.ms, record.id);
  current_record = nullptr;
}

}  // namespace dreamlab
