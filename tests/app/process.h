#pragma once

// Runs the built program as a user does, in a directory of its own.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "golden_dir.h"
#include "temporary_directory.h"

namespace dreamlab {

// The exit codes that the contract names. Not those of the program's own source: they are what is tested.
constexpr int kFailed = 1, kUsage = 2;

// A file or directory of models/ in the golden data.
inline std::string model_file(const std::string& name) {
  return (golden_dir() / "models" / name).string();
}

struct ProcessResult {
  int exit_code = -1;  // 128 + signal for a process that a signal ended
  std::string out, err;
};

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// The program under way.
class Process {
 public:
  Process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment) {
    std::vector<char*> argv;
    std::string program = DREAMLAB_BINARY;
    argv.push_back(program.data());
    std::vector<std::string> copies = arguments;
    for (std::string& argument : copies) argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      redirect(STDOUT_FILENO, logs_ / "out");
      redirect(STDERR_FILENO, logs_ / "err");
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      execv(program.c_str(), argv.data());
      _exit(127);
    }
  }
  ~Process() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const { kill(child_, number); }

  // Whether `text` shows up on standard error in time.
  bool waits_for(const std::string& text, std::chrono::seconds limit) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      if (read_text(logs_ / "err").find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  // The first line on standard output, without its end; "" where none comes in time or the program has ended.
  std::string first_line_out(std::chrono::seconds limit) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      const std::string text = read_text(logs_ / "out");
      if (text.find('\n') != std::string::npos) return text.substr(0, text.find('\n'));
      siginfo_t state{};
      if (waitid(P_PID, child_, &state, WEXITED | WNOHANG | WNOWAIT) == 0 && state.si_pid == child_) return "";
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return "";
  }

  ProcessResult finish() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text(logs_ / "out"),
            read_text(logs_ / "err")};
  }

 private:
  static void redirect(int descriptor, const std::string& path) {
    if (freopen(path.c_str(), "w", descriptor == STDOUT_FILENO ? stdout : stderr) == nullptr) _exit(126);
  }

  TemporaryDirectory logs_;
  pid_t child_ = -1;
};

inline ProcessResult run_dreamlab(const std::vector<std::string>& arguments,
                                  const std::map<std::string, std::string>& environment = {}) {
  return Process(arguments, environment).finish();
}

// By the exit code and one line for a person, which contains `message`.
inline void expect_refused_in_one_line(const ProcessResult& result, int exit_code, const std::string& message) {
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_FALSE(result.err.empty());
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  EXPECT_NE(result.err.find(message), std::string::npos) << result.err << "expected: " << message;
  EXPECT_EQ(result.out, "");
}

}  // namespace dreamlab
