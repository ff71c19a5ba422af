#include "server/request_log.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The process's log into a string, for the time of a test.
class RequestLog : public ::testing::Test {
 protected:
  RequestLog() : before_(log::default_logger()) {
    log::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_)));
  }
  ~RequestLog() override { log::set_default_logger(before_); }

  static RequestRecord record(int status) {
    RequestRecord made;
    made.id = "id-1";
    made.client = "127.0.0.1";
    made.method = "GET";
    made.path = "/a\nb \"c\"\x1b[31m";
    made.status = status;
    made.bytes = 12;
    made.ms = 3.5;
    return made;
  }

  std::ostringstream lines_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(RequestLog, TextHasOneLineARequestThatNoPathCanBreak) {
  set_log_format(LogFormat::text);
  log_request(record(200));
  const std::string line = lines_.str();
  EXPECT_THAT(line, HasSubstr("127.0.0.1 \"GET /a\\x0ab \\x22c\\x22\\x1b[31m\" 200 12 B 3.5 ms id=id-1"));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST_F(RequestLog, JsonHasTheFieldsOfARequestAndMessagesOfTheRest) {
  set_log_format(LogFormat::json);
  log_request(record(503));
  log::info("a \"message\"");
  std::istringstream lines(lines_.str());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const auto request = nlohmann::json::parse(line);
  EXPECT_EQ(request["request_id"], "id-1");
  EXPECT_EQ(request["path"], "/a\nb \"c\"\x1b[31m");
  EXPECT_EQ(request["status"], 503);
  EXPECT_EQ(request["bytes"], 12);
  EXPECT_EQ(request["ms"], 3.5);
  EXPECT_EQ(request["level"], "warning");
  ASSERT_TRUE(std::getline(lines, line));
  const auto message = nlohmann::json::parse(line);
  EXPECT_EQ(message["message"], "a \"message\"");
  EXPECT_EQ(message["level"], "info");
  EXPECT_FALSE(message.contains("path"));
  EXPECT_THAT(std::string(message["time"]), ::testing::MatchesRegex("....-..-..T..:..:..\\....Z"));
}

TEST_F(RequestLog, TheLevelDecidesWhatIsLogged) {
  set_log_format(LogFormat::text);
  set_log_level("warning");
  log_request(record(200));
  log_request(record(500));
  EXPECT_THAT(lines_.str(), HasSubstr(" 500 "));
  EXPECT_THAT(lines_.str(), Not(HasSubstr(" 200 ")));
}

}  // namespace
}  // namespace dreamlab
