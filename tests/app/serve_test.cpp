// `dreamlab serve` as an operator sees it: one line when it listens, one line when it cannot, and how it ends.
#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <optional>

#include "plain_http_client.h"
#include "process.h"

namespace dreamlab {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

constexpr std::chrono::seconds kPatience{120};

// `dreamlab serve` with flags, on a free port of this machine; what it writes can be read.
class ServedProgram {
 public:
  explicit ServedProgram(std::vector<std::string> flags, const std::map<std::string, std::string>& environment = {}) {
    flags.insert(flags.begin(), {"serve", "--host", "127.0.0.1", "--port", "0"});
    process_.emplace(flags, environment);
    const std::string line = process_->first_line_out(kPatience);
    EXPECT_THAT(line, MatchesRegex("listening on http://127.0.0.1:[0-9]+"));
    port_ = std::atoi(line.c_str() + line.rfind(':') + 1);
  }

  PlainAnswer get(const std::string& path) const { return ask_server(port_, "GET", path); }
  PlainAnswer generate(const std::string& json) const { return ask_server(port_, "POST", "/generate", json); }
  bool becomes_ready() const {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (get("/ready").status == 200) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
  int port() const { return port_; }
  Process& process() { return *process_; }
  ProcessResult stop(int signal) {
    process_->signal(signal);
    return process_->finish();
  }

 private:
  std::optional<Process> process_;
  int port_ = 0;
};

TEST(Serve, ServesPicturesAndEndsOnSigterm) {
  ServedProgram server({"--model", model_file("tiny-sd15.safetensors"), "--cpu-dtype", "fp32"});
  ASSERT_TRUE(server.becomes_ready());
  const PlainAnswer answer = server.generate(R"({"prompt":"a cat","size":"64x64","num_inference_steps":2,"seed":42})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.value_of("X-Seed"), "42");
  EXPECT_THAT(answer.body, StartsWith("\x89PNG"));
  EXPECT_EQ(server.get("/metrics").status, 200);
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("\"POST /generate\" 200"));
}

TEST(Serve, AnswersRunningAndWaitingRequestsBeforeItEnds) {
  ServedProgram server({"--model", model_file("tiny-sd15.safetensors"), "--cpu-dtype", "fp32"});
  ASSERT_TRUE(server.becomes_ready());
  std::vector<std::future<PlainAnswer>> answers;
  for (int i = 0; i < 8; ++i) {
    answers.push_back(std::async(std::launch::async, [&] {
      return server.generate(R"({"prompt":"a cat","size":"512x512","num_inference_steps":50})");
    }));
  }
  const auto all_are_there = [&] {
    const std::string metrics = server.get("/metrics").body;
    const size_t line = metrics.find("\ndreamlab_jobs_submitted_total{");
    return line != std::string::npos && metrics.find("} 8\n", line) == metrics.find("} ", line);
  };
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!all_are_there() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (auto& answer : answers) {
    EXPECT_THAT(answer.get().status, AnyOf(503, 200)) << result.err;
  }
}

TEST(Serve, WithoutAModelItStartsAndSaysHowToNameOne) {
  ServedProgram server({}, {{"LOG_FORMAT", "json"}, {"USE_SDXL", "0"}});  // which the one in the box is not
  EXPECT_EQ(server.get("/health").status, 200);
  EXPECT_EQ(server.get("/ready").status, 503);
  EXPECT_EQ(server.generate(R"({"prompt":"a cat"})").status, 503);
  const ProcessResult result = server.stop(SIGINT);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--model"));
  EXPECT_THAT(result.err, HasSubstr("\"path\":\"/health\""));
}

TEST(Serve, WithoutANamedModelTheOneInTheBoxServes) {
  ServedProgram server({});
  ASSERT_TRUE(server.becomes_ready());
  const PlainAnswer answer = server.generate(R"({"prompt":"a majestic mountain landscape","seed":42})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, StartsWith("\x89PNG"));
  // It has styles of its own.
  EXPECT_THAT(server.get("/api/models/status").body, HasSubstr("papercut"));
  const auto in_style = [&](int level) {
    const std::string style = R"({"style":"papercut","level":)" + std::to_string(level) + "}";
    return server.generate(R"({"prompt":"a red ball","seed":1,"style_lora":)" + style + "}").body;
  };
  const std::string plain = server.generate(R"({"prompt":"a red ball","seed":1})").body;
  EXPECT_THAT(plain, StartsWith("\x89PNG"));
  EXPECT_EQ(in_style(0), plain);
  EXPECT_THAT(in_style(3), StartsWith("\x89PNG"));
  EXPECT_NE(in_style(3), plain);
  const ProcessResult result = server.stop(SIGTERM);
  EXPECT_THAT(result.err, HasSubstr("no model is named: the small one in the box"));
}

TEST(Serve, SighupDoesNotEndIt) {
  ServedProgram server({});
  server.process().signal(SIGHUP);
  EXPECT_TRUE(server.process().waits_for("no modes file to read again", kPatience));
  EXPECT_EQ(server.get("/health").status, 200);
  EXPECT_EQ(server.stop(SIGTERM).exit_code, 0);
}

TEST(Serve, AFlagGoesBeforeItsVariable) {
  ServedProgram server({"--api-key", "flag"}, {{"API_KEY", "variable"}, {"PORT", "no port"}});
  EXPECT_EQ(server.get("/api/modes").status, 401);
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
  ServedProgram server({});
  const std::string taken = std::to_string(server.port());
  expect_refused({"--port", taken}, {}, kFailed, "PORT=" + taken + ": the port is in use");
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
