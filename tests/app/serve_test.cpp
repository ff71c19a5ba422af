// `dreamlab serve` as an operator sees it: one line when it listens, one line when it cannot, and how it ends.
#include <gmock/gmock.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <optional>

#include "process.h"

namespace dreamlab {
namespace {

using boost::asio::ip::tcp;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

constexpr std::chrono::seconds kPatience{120};

// A server on a free port of this machine.
class ServeProcess {
 public:
  explicit ServeProcess(std::vector<std::string> flags, const std::map<std::string, std::string>& environment = {}) {
    flags.insert(flags.begin(), {"serve", "--host", "127.0.0.1", "--port", "0"});
    process_.emplace(flags, environment);
    const std::string line = process_->first_line_out(kPatience);
    EXPECT_THAT(line, MatchesRegex("listening on http://127.0.0.1:[0-9]+"));
    port_ = line.substr(line.rfind(':') + 1);
  }

  // The whole answer to a request of its own connection; "" where none came.
  std::string ask(const std::string& method, const std::string& target, const std::string& body = "") const {
    boost::asio::io_context io;
    tcp::socket socket(io);
    boost::system::error_code error;
    socket.connect({boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(std::stoi(port_))}, error);
    const std::string request = method + " " + target + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" +
                                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    boost::asio::write(socket, boost::asio::buffer(request), error);
    std::string answer;
    boost::asio::read(socket, boost::asio::dynamic_buffer(answer), error);
    return answer;
  }
  bool becomes_ready() const {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (ask("GET", "/ready").find(" 200 ") != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
  const std::string& port() const { return port_; }
  Process& process() { return *process_; }
  ProcessResult stop(int signal) {
    process_->signal(signal);
    return process_->finish();
  }

 private:
  std::optional<Process> process_;
  std::string port_;
};

TEST(Serve, ServesPicturesAndEndsOnSigterm) {
  ServeProcess server({"--model", model_file("tiny-sd15.safetensors"), "--cpu-dtype", "fp32"});
  ASSERT_TRUE(server.becomes_ready());
  const std::string answer =
      server.ask("POST", "/generate", R"({"prompt":"a cat","size":"64x64","num_inference_steps":2,"seed":42})");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("X-Seed: 42"));
  EXPECT_THAT(answer, HasSubstr("\x89PNG"));
  EXPECT_THAT(server.ask("GET", "/metrics"), HasSubstr(" 200 "));
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("\"POST /generate\" 200"));
}

TEST(Serve, AnswersRunningAndWaitingRequestsBeforeItEnds) {
  ServeProcess server({"--model", model_file("tiny-sd15.safetensors"), "--cpu-dtype", "fp32"});
  ASSERT_TRUE(server.becomes_ready());
  std::vector<std::future<std::string>> answers;
  for (int i = 0; i < 8; ++i) {
    answers.push_back(std::async(std::launch::async, [&] {
      return server.ask("POST", "/generate", R"({"prompt":"a cat","size":"512x512","num_inference_steps":50})");
    }));
  }
  const auto all_are_there = [&] {
    const std::string metrics = server.ask("GET", "/metrics");
    const size_t line = metrics.find("\ndreamlab_jobs_submitted_total{");
    return line != std::string::npos && metrics.find("} 8\n", line) == metrics.find("} ", line);
  };
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!all_are_there() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (auto& answer : answers) {
    const std::string text = answer.get();
    EXPECT_THAT(text, ::testing::AnyOf(StartsWith("HTTP/1.1 503"), StartsWith("HTTP/1.1 200"))) << result.err;
  }
}

TEST(Serve, WithoutAModelItStartsAndSaysHowToNameOne) {
  ServeProcess server({}, {{"LOG_FORMAT", "json"}, {"USE_SDXL", "0"}});  // which the one in the box is not
  EXPECT_THAT(server.ask("GET", "/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(server.ask("GET", "/ready"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(server.ask("POST", "/generate", R"({"prompt":"a cat"})"), StartsWith("HTTP/1.1 503"));
  const ProcessResult result = server.stop(SIGINT);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--model"));
  EXPECT_THAT(result.err, HasSubstr("\"path\":\"/health\""));
}

std::string body_of(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

TEST(Serve, WithoutANamedModelTheOneInTheBoxServes) {
  ServeProcess server({});
  ASSERT_TRUE(server.becomes_ready());
  const std::string answer = server.ask("POST", "/generate", R"({"prompt":"a majestic mountain landscape","seed":42})");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("\x89PNG"));
  // It has styles of its own.
  EXPECT_THAT(server.ask("GET", "/api/models/status"), HasSubstr("papercut"));
  const auto in_style = [&](int level) {
    return body_of(server.ask(
        "POST", "/generate",
        R"({"prompt":"a red ball","seed":1,"style_lora":{"style":"papercut","level":)" + std::to_string(level) + "}}"));
  };
  const std::string plain = body_of(server.ask("POST", "/generate", R"({"prompt":"a red ball","seed":1})"));
  EXPECT_THAT(plain, StartsWith("\x89PNG"));
  EXPECT_EQ(in_style(0), plain);
  EXPECT_THAT(in_style(3), StartsWith("\x89PNG"));
  EXPECT_NE(in_style(3), plain);
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_THAT(result.err, HasSubstr("no model is named: the small one in the box"));
}

TEST(Serve, SighupDoesNotEndIt) {
  ServeProcess server({});
  server.process().signal(SIGHUP);
  EXPECT_TRUE(server.process().waits_for("no modes file to read again", kPatience));
  EXPECT_THAT(server.ask("GET", "/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(server.stop(SIGTERM).exit_code, 0);
}

TEST(Serve, AFlagGoesBeforeItsVariable) {
  ServeProcess server({"--api-key", "flag"}, {{"API_KEY", "variable"}, {"PORT", "no port"}});
  EXPECT_THAT(server.ask("GET", "/api/modes"), StartsWith("HTTP/1.1 401"));
  EXPECT_EQ(server.stop(SIGTERM).exit_code, 0);
}

void expect_refused(const std::vector<std::string>& flags, const std::map<std::string, std::string>& environment,
                    int exit_code, const std::string& message) {
  std::vector<std::string> arguments = {"serve", "--host", "127.0.0.1"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  expect_refused_in_one_line(run_dreamlab(arguments, environment), exit_code, message);
}

TEST(Serve, WhatItCannotStartWithIsOneLine) {
  expect_refused({}, {{"PORT", "abc"}}, kUsage, "PORT=abc: not allowed; 0..65535 is");
  expect_refused({"--cuda-dtype", "fp8x"}, {}, kUsage, "CUDA_DTYPE=fp8x: not allowed; fp16, bf16, fp32 is");
  expect_refused({"--tls-cert", "/none.pem"}, {}, kUsage, "TLS_KEY");
  expect_refused({"--model", "/no/such.safetensors"}, {}, kFailed, "/no/such.safetensors");
  expect_refused({"--use-sdxl", "1", "--model", model_file("tiny-sd15.safetensors")}, {}, kFailed, "SDXL");
  expect_refused({"--sdxl-enabled", "1"}, {}, kUsage, "SDXL_MODEL");
  expect_refused({"--storage", "ftp://somewhere"}, {}, kUsage, "ftp");
  expect_refused({"--modes", "/no/modes.yaml"}, {}, kFailed, "/no/modes.yaml");
  ServeProcess server({});
  expect_refused({"--port", server.port()}, {}, kFailed, "PORT=" + server.port() + ": the port is in use");
  EXPECT_EQ(server.stop(SIGTERM).exit_code, 0);
}

TEST(Serve, HelpNamesEverySetting) {
  const ProcessResult help = run_dreamlab({"serve", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag :
       {"--model-root", "--sdxl-model", "--queue-max", "--sr-max-pixels", "--cors-origins", "[LOG_FORMAT]"})
    EXPECT_THAT(help.out, HasSubstr(flag));
}

}  // namespace
}  // namespace dreamlab
