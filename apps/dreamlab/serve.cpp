// `dreamlab serve`: pictures over HTTP.
#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "dreamlab/commands.h"
#include "dreamlab/exit_codes.h"
#include "dreamlab/server_parts.h"
#include "server/http_statistics.h"
#include "server/request_log.h"
#include "server/routes.h"
#include "server/server.h"

namespace dreamlab {

namespace {

// For answers that are still on their way when every job has ended.
constexpr std::chrono::milliseconds kGrace{1500};

using Flags = std::map<std::string, std::optional<std::string>, std::less<>>;  // by setting: what its flag says

// "MODEL_ROOT": "--model-root"
std::string flag_of(const Setting& setting) {
  std::string flag = "--";
  for (const char c : setting.name) {
    flag += c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return flag;
}

std::string help_of(const Setting& setting) {
  std::string help(setting.help);
  if (setting.type != SettingType::text) help += fmt::format(" ({})", allowed_values(setting));
  if (!setting.fallback.empty()) help += fmt::format("; {} unless given", setting.fallback);
  return help + fmt::format(" [{}]", setting.name);
}

Config read_config(const Flags& flags) {
  return Config([&flags](std::string_view name) {
    const auto flag = flags.find(name);
    return flag != flags.end() && flag->second ? flag->second : Config::from_environment(name);
  });
}

// Signals that one thread waits for; blocked in it and in all threads that it starts.
class SignalWait {
 public:
  SignalWait() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
    std::signal(SIGPIPE, SIG_IGN);
  }
  ~SignalWait() { unblock(); }
  SignalWait(const SignalWait&) = delete;
  SignalWait& operator=(const SignalWait&) = delete;

  int next() {
    int signal = 0;
    while (sigwait(&signals_, &signal) != 0) {
    }
    return signal;
  }
  // A further one ends the process.
  void unblock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t signals_, before_;
};

void reload_modes(const ServerContext& context) {
  if (!context.modes->named()) {
    log::info("there is no modes file to read again");
    return;
  }
  try {
    context.sd->reload_modes();
    log::info("modes read again");
  } catch (const Error& error) {
    log::error("modes not read again: {}", error.what());
  }
}

// Every open request gets its answer: those that wait or run get 503 as their jobs end.
void shut_down(Server& server, const ServerContext& context) {
  server.stop_accepting();
  std::vector<std::future<void>> endings;
  for (const auto& service : pipeline_services(context)) {
    endings.push_back(std::async(std::launch::async, [service] { service->shut_down(); }));
  }
  if (context.super_resolution) {
    endings.push_back(std::async(std::launch::async, [&context] { context.super_resolution->shut_down(); }));
  }
  for (std::future<void>& ending : endings) ending.get();
  if (server.shut_down(kGrace)) return;
  log::warn("some requests did not end in time");
  // Whoever asked the process to end shall not wait for a stuck handler, and nothing is lost: files are written whole.
  log::default_logger()->flush();
  std::_Exit(kExitOk);
}

void serve(const Config& config) {
  // Of the C library's heap. One for each thread, as it comes, keeps what its thread once needed: with two, memory
  // stays where it is after the first requests. Large blocks are the system's, and go back to it at once: the threshold
  // would rise by itself until pictures and activations lay between small blocks.
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  SignalWait signals;
  set_log_level(*config.text("LOG_LEVEL"));
  set_log_format(*config.text("LOG_FORMAT") == "json" ? LogFormat::json : LogFormat::text);

  const auto statistics = std::make_shared<HttpStatistics>();
  ServerOptions options = server_options(config);
  options.on_answer = [statistics](int status, double seconds, uint64_t bytes) {
    statistics->count(status, seconds, bytes);
  };
  Server server(std::move(options));  // before anything is loaded: a port in use is one line, at once
  const std::shared_ptr<ServerContext> context = make_server_context(config);
  context->http = statistics;
  Router router;
  register_routes(router, context);
  server.start(std::move(router));
  fmt::print("listening on {}\n", server.url());
  std::fflush(stdout);

  while (signals.next() == SIGHUP) reload_modes(*context);
  signals.unblock();
  log::info("shutting down");
  shut_down(server, *context);
}

}  // namespace

void add_serve_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("serve", "Answer requests over HTTP");
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  auto flags = std::make_shared<Flags>();
  for (const Setting& setting : settings()) {
    command->add_option(flag_of(setting), (*flags)[std::string(setting.name)], help_of(setting));
  }
  command->callback([flags] { serve(read_config(*flags)); });
}

}  // namespace dreamlab
