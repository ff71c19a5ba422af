// load_server PROGRAM MODEL [CLIENTS] [QUEUE]: what becomes of `dreamlab serve` under load. Prints figures; exits with
// 1 where one is not as promised:
//   - every request gets exactly one answer, of 200, 429 or 504
//   - memory after 2,000 requests is within 2 % of that after 200
//   - /health answers in under 50 ms (median) throughout
//   - 2,000 idle connections, and 50 clients that send a byte a second, do not slow others
//   - SIGTERM in the middle of it: exit 0, every open request answered
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "serve_process.h"

namespace dreamlab {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPicture = R"({"prompt": "a fox", "size": "64x64", "num_inference_steps": 2})";
constexpr const char* kLongPicture = R"({"prompt": "a fox", "size": "512x512", "num_inference_steps": 50})";

// An idle server measures, once, how many pictures at a time are best.
constexpr std::chrono::seconds kTuning{4};
// After which what a crowd needed at once is no longer held.
constexpr std::chrono::seconds kGone{6};

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

bool all_as_promised = true;

void report(bool as_promised, const std::string& line) {
  fmt::print("{} {}\n", as_promised ? "ok  " : "MISS", line);
  std::fflush(stdout);
  all_as_promised = all_as_promised && as_promised;
}

// Asks for /health all the time.
class HealthWatch {
 public:
  explicit HealthWatch(int port)
      : thread_([this, port] {
          while (!stop_) {
            const auto begin = Clock::now();
            if (ask_server(port, "GET", "/health").status != 200) ++failed_;
            times_.push_back(ms_since(begin));
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
          }
        }) {}
  ~HealthWatch() { stop(); }
  HealthWatch(const HealthWatch&) = delete;
  HealthWatch& operator=(const HealthWatch&) = delete;

  void tell(const std::string& during) {
    stop();
    const double median = quantile(times_, 0.5);
    report(median < 50 && failed_ == 0,
           fmt::format("/health during {}: median {:.1f} ms, 99 % {:.1f} ms, of {} requests {} failed", during, median,
                       quantile(times_, 0.99), times_.size(), failed_));
  }

 private:
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::atomic<bool> stop_{false};
  std::vector<double> times_;
  int failed_ = 0;
  std::thread thread_;
};

// What became of requests, by status; -1: not whole.
using Outcomes = std::map<int, int>;

// So many requests by so many clients at a time. All clients are there from the first request to the last, also where
// there are more of them than requests: each holds a silent connection besides.
Outcomes ask_for_pictures(int port, int requests, int clients) {
  std::mutex mutex;
  Outcomes outcomes;
  std::atomic<int> left{requests};
  std::barrier all_there(clients);
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&] {
      const PlainConnection presence(port);
      all_there.arrive_and_wait();
      while (left-- > 0) {
        const PlainAnswer answer = ask_server(port, "POST", "/generate", kPicture);
        const std::lock_guard lock(mutex);
        ++outcomes[answer.status != 0 && !answer.whole ? -1 : answer.status];
      }
      all_there.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

void tell(const std::string& what, const Outcomes& outcomes, int requests) {
  std::string parts;
  int answered = 0;
  for (const auto& [status, count] : outcomes) {
    parts += fmt::format(" {}x {}", count, status);
    if (status == 200 || status == 429 || status == 504) answered += count;
  }
  report(answered == requests, what + ":" + parts);
}

double picture_ms(int port) {
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) {
    const auto begin = Clock::now();
    ask_server(port, "POST", "/generate", kPicture);
    times.push_back(ms_since(begin));
  }
  return quantile(times, 0.5);
}

// After one more picture, alone: the work space that a worker keeps is as large as its last batch was.
double resident_mib_at_rest(const ServeProcess& server) {
  ask_server(server.port(), "POST", "/generate", kPicture);
  std::this_thread::sleep_for(kGone);
  return server.resident_mib();
}

void crowd(const std::string& program, std::map<std::string, std::string> environment, int clients) {
  ServeProcess server(program, std::move(environment));
  if (!server.wait_until_ready()) throw std::runtime_error("the model does not load");
  std::this_thread::sleep_for(kTuning);
  HealthWatch health(server.port());
  // As many at a time from the start: what a crowd needs at once is no leak.
  tell("the first 200 requests", ask_for_pictures(server.port(), 200, clients), 200);
  const double early = resident_mib_at_rest(server);
  const auto begin = Clock::now();
  tell("1,800 more", ask_for_pictures(server.port(), 1800, clients), 1800);
  fmt::print("     in {:.1f} s\n", ms_since(begin) / 1000);
  const double late = resident_mib_at_rest(server);
  report(late < 1.02 * early, fmt::format("memory after 200 requests {:.1f} MiB, after 2,000 {:.1f} MiB ({:+.1f} %)",
                                          early, late, 100 * (late / early - 1)));
  health.tell(fmt::format("{} clients", clients));
}

void idle_and_slow(const std::string& program, const std::map<std::string, std::string>& environment) {
  ServeProcess server(program, environment);
  if (!server.wait_until_ready()) throw std::runtime_error("the model does not load");
  picture_ms(server.port());
  const double alone = picture_ms(server.port());
  std::vector<std::unique_ptr<PlainConnection>> idle;
  for (int i = 0; i < 2000; ++i) idle.push_back(std::make_unique<PlainConnection>(server.port()));
  const auto connected = std::count_if(idle.begin(), idle.end(), [](const auto& c) { return c->connected(); });
  std::atomic<bool> stop{false};
  std::thread slow([&] {
    std::vector<std::unique_ptr<PlainConnection>> clients;
    for (int i = 0; i < 50; ++i) clients.push_back(std::make_unique<PlainConnection>(server.port()));
    const std::string text = request_text("POST", "/generate", kPicture);
    for (size_t at = 0; !stop; ++at) {
      for (const auto& client : clients) client->send(text.substr(at % text.size(), 1));
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  });
  HealthWatch health(server.port());
  const double beside = picture_ms(server.port());
  stop = true;
  slow.join();
  report(connected == 2000, fmt::format("idle connections: {}", connected));
  report(beside < 1.5 * alone + 5,
         fmt::format("a picture beside them and 50 slow clients: {:.1f} ms; alone {:.1f} ms", beside, alone));
  health.tell("that");
}

void end_in_the_middle(const std::string& program, const std::map<std::string, std::string>& environment) {
  ServeProcess server(program, environment);
  if (!server.wait_until_ready()) throw std::runtime_error("the model does not load");
  constexpr int kClients = 60;
  std::mutex mutex;
  Outcomes outcomes;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&] {
      const PlainAnswer answer = ask_server(server.port(), "POST", "/generate", kLongPicture);
      const std::lock_guard lock(mutex);
      ++outcomes[answer.status != 0 && !answer.whole ? -1 : answer.status];
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const auto begin = Clock::now();
  const int code = server.end(SIGTERM);
  const double took = ms_since(begin);
  for (std::thread& thread : threads) thread.join();
  std::string parts;
  for (const auto& [status, count] : outcomes) parts += fmt::format(" {}x {}", count, status);
  report(code == 0, fmt::format("SIGTERM with {} open requests: exit {} after {:.0f} ms", kClients, code, took));
  report(outcomes[0] == 0 && outcomes[-1] == 0, "their answers:" + parts);
}

}  // namespace
}  // namespace dreamlab

int main(int argc, char** argv) {
  using namespace dreamlab;
  if (argc < 3) {
    fmt::print(stderr, "usage: load_server PROGRAM MODEL [CLIENTS] [QUEUE]\n");
    return 2;
  }
  const rlimit files{8192, 8192};
  ::setrlimit(RLIMIT_NOFILE, &files);
  const int clients = argc > 3 ? std::atoi(argv[3]) : 500;
  const std::map<std::string, std::string> environment = {{"MODEL", argv[2]}, {"QUEUE_MAX", argc > 4 ? argv[4] : "64"}};
  try {
    crowd(argv[1], environment, clients);
    idle_and_slow(argv[1], environment);
    end_in_the_middle(argv[1], environment);
  } catch (const std::exception& error) {
    fmt::print(stderr, "load_server: {}\n", error.what());
    return 1;
  }
  return all_as_promised ? 0 : 1;
}
