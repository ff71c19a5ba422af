#pragma once

// A Redis server of its own for a test, on a free port, without persistence.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dreamlab {

inline int free_port() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(listener);
  if (!bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

class RedisServer {
 public:
  explicit RedisServer(std::string password = "") : port_(free_port()), password_(std::move(password)) { start(); }
  ~RedisServer() { stop(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  int port() const { return port_; }
  std::string url(const std::string& database = "") const {
    const std::string login = password_.empty() ? "" : ":" + password_ + "@";
    return "redis://" + login + "127.0.0.1:" + std::to_string(port_) + database;
  }

  // The same port again, and nothing of what was stored.
  void start() {
    std::vector<std::string> arguments = {"redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1",
                                          "--save",       "",       "--appendonly",        "no",     "--dir",
                                          "/tmp"};
    if (!password_.empty()) arguments.insert(arguments.end(), {"--requirepass", password_});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = ::fork();
    if (child_ == 0) {
      const int nowhere = ::open("/dev/null", O_RDWR);
      ::dup2(nowhere, STDIN_FILENO);
      ::dup2(nowhere, STDOUT_FILENO);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    wait_until_it_listens();
  }
  void stop() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  // As one that hangs: connections are taken, nothing is answered.
  void freeze() const { ::kill(child_, SIGSTOP); }
  void thaw() const { ::kill(child_, SIGCONT); }

 private:
  void wait_until_it_listens() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (std::chrono::steady_clock::now() < end) {
      if (::waitpid(child_, nullptr, WNOHANG) == child_) {
        child_ = -1;
        throw std::runtime_error("redis-server does not run; apt-get install redis-server");
      }
      const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const bool connected = ::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
      ::close(client);
      if (connected) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("redis-server does not listen on port " + std::to_string(port_));
  }

  const int port_;
  const std::string password_;
  pid_t child_ = -1;
};

}  // namespace dreamlab
