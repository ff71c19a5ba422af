#include "server/test_server.h"

#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/log.h"
#include "golden_dir.h"
#include "server/routes.h"
#include "server/server.h"
#include "service/job_registry.h"
#include "worker/worker_factory.h"

namespace dreamlab {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;

constexpr auto kPatience = std::chrono::seconds(120);
constexpr const char* kFormBoundary = "----dreamlab-test-form";

http::request<http::string_body> make_request(const std::string& method, const std::string& target,
                                              const std::string& body,
                                              const std::map<std::string, std::string>& headers) {
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(target);
  request.version(11);
  request.set(http::field::host, "127.0.0.1");
  request.set(http::field::connection, "close");
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  for (const auto& [name, value] : headers) request.set(name, value);
  request.body() = body;
  request.prepare_payload();
  return request;
}

std::filesystem::path model_file(const std::string& name) {
  return golden_dir() / "models" / (name + ".safetensors");
}

std::shared_ptr<PipelineService> make_service(const std::shared_ptr<ModeRegistry>& modes, size_t queue_max) {
  ServiceOptions options;
  options.name = "test";
  options.queue_max = queue_max;
  options.tuning_s = 0;
  options.watch_modes_s = 0;
  return std::make_shared<PipelineService>(options, modes, [](const Mode& mode, int) {
    WorkerOptions worker;
    worker.model = mode.model;
    worker.styles = mode.styles;
    worker.size = mode.size;
    worker.dtype = "fp32";
    worker.threads = 2;
    if (mode.steps) worker.steps = *mode.steps;
    return make_worker(worker);
  });
}

std::shared_ptr<ModeRegistry> single_mode(const std::string& model) {
  Mode mode;
  if (!model.empty()) mode.model = model_file(model);
  return ModeRegistry::single(mode);
}

std::shared_ptr<ModeRegistry> write_modes(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "modes.yaml";
  std::ofstream(path)
      << "default: photo\n"
         "modes:\n"
         "  photo: {model: tiny-sd15.safetensors, size: 64x64, steps: 2, loras: [{style: ink, title: Ink, "
         "path: tiny-sd15-lora-kohya.safetensors, levels: [0.4, 0.8]}]}\n"
         "  wide: {model: tiny-sd2.safetensors, size: 96x64}\n"
         "  gone: {model: no-such-file.safetensors}\n";
  return ModeRegistry::from_file(path, golden_dir() / "models", golden_dir() / "models");
}

}  // namespace

// --- the client ---

std::string Answer::header(std::string_view lower_case_name) const {
  const auto entry = headers.find(lower_case_name);
  return entry == headers.end() ? "" : entry->second;
}

std::string Answer::detail() const {
  const auto document = nlohmann::json::parse(body, nullptr, false);
  return document.is_object() && document.contains("detail") ? document["detail"].get<std::string>() : "";
}

Image Answer::picture() const {
  return decode_image({reinterpret_cast<const uint8_t*>(body.data()), body.size()}, "answer").image;
}

Answer ask(int port, const std::string& method, const std::string& target, const std::string& body,
           const std::map<std::string, std::string>& headers) {
  boost::asio::io_context io;
  beast::tcp_stream stream(io);
  stream.expires_after(kPatience);
  stream.connect(tcp::endpoint(boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)));
  http::write(stream, make_request(method, target, body, headers));
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(uint64_t{256} << 20);
  if (method == "HEAD") parser.skip(true);
  http::read(stream, buffer, parser);
  Answer answer;
  answer.status = static_cast<int>(parser.get().result_int());
  for (const auto& field : parser.get()) {
    std::string name = field.name_string();
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    answer.headers[name] = field.value();
  }
  answer.body = std::move(parser.get().body());
  return answer;
}

void ask_and_leave(int port, const std::string& method, const std::string& target, const std::string& body,
                   size_t bytes) {
  boost::asio::io_context io;
  beast::tcp_stream stream(io);
  stream.connect(tcp::endpoint(boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)));
  http::write(stream, make_request(method, target, body, {}));
  std::string answer(bytes, '\0');
  if (bytes > 0) boost::asio::read(stream.socket(), boost::asio::buffer(answer));
  stream.close();
}

// --- the server ---

class TestServer::Parts {
 public:
  explicit Parts(Router router) : server_(options()) { server_.start(std::move(router)); }
  Server& server() { return server_; }

 private:
  static ServerOptions options() {
    ServerOptions options;
    options.host = "127.0.0.1";
    return options;
  }
  Server server_;
};

TestServer::TestServer(const TestSetup& setup) {
  log::set_level(log::level::err);
  std::map<std::string, std::string> environment = setup.environment;
  // "file:" alone stands for a folder of this test.
  if (environment["STORAGE"] == "file:") environment["STORAGE"] = "file:" + folder_ / "stored";
  const Config config([&](std::string_view name) -> std::optional<std::string> {
    const auto entry = environment.find(std::string(name));
    return entry == environment.end() ? std::nullopt : std::optional(entry->second);
  });
  context_ = std::make_shared<ServerContext>(ServerContext{.config = config, .version = "1.2.3"});
  context_->modes = setup.modes ? write_modes(folder_.path()) : single_mode(setup.model);
  context_->sd = make_service(context_->modes, setup.queue_max);
  if (setup.sdxl) context_->sdxl = make_service(single_mode("tiny-sdxl"), setup.queue_max);
  if (*config.boolean("SR_ENABLED")) {
    SuperResolutionOptions options;
    options.max_pixels = *config.integer("SR_MAX_PIXELS");
    options.device.threads = 2;
    context_->super_resolution = std::make_shared<SuperResolutionService>(options);
  }
  context_->storage = open_storage(*config.text("STORAGE"), {});
  context_->jobs = std::make_shared<JobRegistry>();
  context_->blocking = std::make_shared<boost::asio::thread_pool>(2);
  Router router;
  register_routes(router, context_);
  parts_ = std::make_unique<Parts>(std::move(router));
}

TestServer::~TestServer() {
  context_->sd->shut_down();
  if (context_->sdxl) context_->sdxl->shut_down();
  if (context_->super_resolution) context_->super_resolution->shut_down();
  parts_->server().shut_down(std::chrono::seconds(10));
  parts_.reset();
  context_->blocking->join();
}

int TestServer::port() const {
  return parts_->server().port();
}

Answer TestServer::post_text(const std::string& target, const std::string& body) const {
  return ask(port(), "POST", target, body);
}

Answer TestServer::post_form(const std::string& target,
                             const std::vector<std::pair<std::string, std::string>>& fields) const {
  std::string body;
  for (const auto& [name, value] : fields) {
    body += std::string("--") + kFormBoundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"";
    if (name == "file") body += "; filename=\"picture\"\r\nContent-Type: application/octet-stream";
    body += "\r\n\r\n" + value + "\r\n";
  }
  body += std::string("--") + kFormBoundary + "--\r\n";
  return ask(port(), "POST", target, body,
             {{"Content-Type", std::string("multipart/form-data; boundary=") + kFormBoundary}});
}

bool TestServer::wait_until_ready() const {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    if (get("/ready").status == 200 && (!context_->sdxl || context_->sdxl->ready())) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

namespace {

std::vector<std::unique_ptr<TestServer>>& shared_servers() {
  static std::vector<std::unique_ptr<TestServer>> servers;
  return servers;
}

class EndOfSharedServers : public testing::Environment {
  void TearDown() override { shared_servers().clear(); }
};
[[maybe_unused]] const auto* const kEnd = testing::AddGlobalTestEnvironment(new EndOfSharedServers);

}  // namespace

TestServer& start_shared_server(const TestSetup& setup) {
  shared_servers().push_back(std::make_unique<TestServer>(setup));
  return *shared_servers().back();
}

nlohmann::json small_body() {
  return {{"prompt", "a majestic mountain landscape"}, {"size", "64x64"}, {"num_inference_steps", 2}, {"seed", 42}};
}

}  // namespace dreamlab
