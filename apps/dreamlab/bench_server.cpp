// `dreamlab bench --server`: what a request costs beside the model's work.
#include "dreamlab/bench_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "dreamlab/median.h"
#include "dreamlab/server_parts.h"
#include "server/routes.h"
#include "service/pipeline_service.h"

namespace dreamlab {

namespace {

namespace http = boost::beast::http;
using boost::asio::ip::tcp;

// One connection that stays open, as an application's would.
class Client {
 public:
  explicit Client(int port) : stream_(io_) {
    stream_.connect(tcp::endpoint(boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)));
    stream_.socket().set_option(tcp::no_delay(true));
  }

  // Milliseconds from sending the request to the last byte of the picture.
  double ask(const std::string& body) {
    http::request<http::string_body> request(http::verb::post, "/generate", 11);
    request.set(http::field::host, "localhost");
    request.set(http::field::content_type, "application/json");
    request.body() = body;
    request.prepare_payload();
    const auto start = std::chrono::steady_clock::now();
    http::write(stream_, request);
    http::response_parser<http::string_body> parser;
    parser.body_limit(uint64_t{1} << 30);
    http::read(stream_, buffer_, parser);
    const auto end = std::chrono::steady_clock::now();
    if (parser.get().result_int() != 200)
      fail(ErrorKind::unavailable, "the server answered {}: {}", parser.get().result_int(), parser.get().body());
    return std::chrono::duration<double, std::milli>(end - start).count();
  }

 private:
  boost::asio::io_context io_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
};

Config server_config(const ServerBenchFlags& flags) {
  std::map<std::string, std::string> environment = {
      {"HOST", "127.0.0.1"}, {"PORT", "0"}, {"MODEL", flags.model}, {"CPU_DTYPE", flags.dtype}};
  if (flags.threads > 0) environment["THREADS"] = std::to_string(flags.threads);
  return Config([&](std::string_view name) -> std::optional<std::string> {
    const auto entry = environment.find(std::string(name));
    return entry == environment.end() ? std::nullopt : std::optional(entry->second);
  });
}

void wait_until_ready(const PipelineService& service) {
  while (!service.ready()) {
    if (const std::string error = service.load_error(); !error.empty()) fail(ErrorKind::unavailable, "{}", error);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// The service counts a job once it has handed it over, which may be after the answer has come.
ServiceStatistics statistics_after(const PipelineService& service, uint64_t succeeded) {
  for (;;) {
    const ServiceStatistics statistics = service.statistics();
    if (statistics.succeeded >= succeeded) return statistics;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

struct Costs {
  std::vector<double> request, text, denoise, decode, encode_png, overhead;

  void add(double request_ms, const ServiceStatistics& before, const ServiceStatistics& after) {
    const double text_ms = (after.text_s - before.text_s) * 1e3;
    const double denoise_ms = (after.denoise_s - before.denoise_s) * 1e3;
    const double decode_ms = (after.decode_s - before.decode_s) * 1e3;
    request.push_back(request_ms);
    text.push_back(text_ms);
    denoise.push_back(denoise_ms);
    decode.push_back(decode_ms);
    encode_png.push_back((after.encode_png_s - before.encode_png_s) * 1e3);
    overhead.push_back(request_ms - text_ms - denoise_ms - decode_ms);
  }
};

Costs measure(const PipelineService& service, int port, const ServerBenchFlags& flags) {
  Client client(port);
  Costs costs;
  ServiceStatistics before = service.statistics();
  for (int i = -1; i < flags.repeat; ++i) {  // the first one warms up
    // Other words each time: the text is encoded anew.
    const nlohmann::json body = {{"prompt", fmt::format("a majestic mountain landscape, variation {}", i)},
                                 {"size", flags.size},
                                 {"num_inference_steps", flags.steps},
                                 {"seed", 42}};
    const double ms = client.ask(body.dump());
    const ServiceStatistics after = statistics_after(service, before.succeeded + 1);
    if (i >= 0) costs.add(ms, before, after);
    before = after;
  }
  return costs;
}

}  // namespace

ServerBenchReport bench_server(const ServerBenchFlags& flags) {
  const Config config = server_config(flags);
  const std::shared_ptr<ServerContext> context = make_server_context(config);
  Router router;
  register_routes(router, context);
  Server server(server_options(config));
  server.start(std::move(router));
  wait_until_ready(*context->sd);
  const Costs costs = measure(*context->sd, server.port(), flags);

  const WorkerInfo info = context->sd->worker()->info();
  ServerBenchReport report{info.device, info.model, flags.size};
  report.steps = flags.steps;
  report.request = median(costs.request);
  report.text = median(costs.text);
  report.denoise = median(costs.denoise);
  report.decode = median(costs.decode);
  report.encode_png = median(costs.encode_png);
  report.overhead = median(costs.overhead);
  for (const auto& service : pipeline_services(*context)) service->shut_down();
  server.shut_down(std::chrono::seconds(2));
  return report;
}

void print(const ServerBenchReport& report, bool as_json) {
  if (as_json) {
    const nlohmann::json document = {
        {"device", report.device},       {"model", report.model},        {"size", report.size},
        {"steps", report.steps},         {"request_ms", report.request}, {"text_ms", report.text},
        {"denoise_ms", report.denoise},  {"decode_ms", report.decode},   {"encode_png_ms", report.encode_png},
        {"overhead_ms", report.overhead}};
    fmt::print("{}\n", document.dump(2));
    return;
  }
  fmt::print("{}; {}; {}, {} steps\n\n", report.device, report.model, report.size, report.steps);
  fmt::print("{:<12} {:>10}\n", "part", "ms");
  for (const auto& [name, ms] : {std::pair{"request", report.request},
                                 {"text", report.text},
                                 {"denoise", report.denoise},
                                 {"decode", report.decode},
                                 {"overhead", report.overhead},
                                 {"  of it PNG", report.encode_png}})
    fmt::print("{:<12} {:>10.2f}\n", name, ms);
}

}  // namespace dreamlab
