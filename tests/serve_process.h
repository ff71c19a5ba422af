#pragma once

// `dreamlab serve` under way on a free port.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "plain_http_client.h"

namespace dreamlab {

class ServeProcess {
 public:
  // Returns once the server has said where it listens. log: what it writes on standard error goes there.
  ServeProcess(const std::string& program, std::map<std::string, std::string> environment,
               const std::string& log = "/dev/null") {
    environment.try_emplace("HOST", "127.0.0.1");
    environment.try_emplace("PORT", "0");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execl(program.c_str(), program.c_str(), "serve", nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    out_ = ::fdopen(ends[0], "r");
    char line[256] = "";
    if (std::fgets(line, sizeof line, out_) == nullptr) {
      end(SIGKILL);
      throw std::runtime_error(program + " serve does not listen; see " + log);
    }
    const std::string text = line;
    port_ = std::atoi(text.c_str() + text.rfind(':') + 1);
  }
  ~ServeProcess() {
    if (child_ > 0) end(SIGKILL);
    std::fclose(out_);
  }
  ServeProcess(const ServeProcess&) = delete;
  ServeProcess& operator=(const ServeProcess&) = delete;

  int port() const { return port_; }

  bool wait_until_ready() const {
    for (int i = 0; i < 6000; ++i) {
      if (ask_server(port_, "GET", "/ready").status == 200) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  double resident_mib() const {
    std::ifstream status("/proc/" + std::to_string(child_) + "/status");
    for (std::string word; status >> word;) {
      double kib = 0;
      if (word == "VmRSS:" && status >> kib) return kib / 1024;
    }
    return 0;
  }

  void signal(int number) const { ::kill(child_, number); }
  // The exit code, or 128 + signal.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(child_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int end(int number) {
    signal(number);
    return wait();
  }

 private:
  pid_t child_ = -1;
  FILE* out_ = nullptr;
  int port_ = 0;
};

}  // namespace dreamlab
