#pragma once

// A server with real models on a free port of this machine, and a client for it.
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/image.h"
#include "server/server_context.h"
#include "temporary_directory.h"

namespace dreamlab {

struct Answer {
  int status = 0;
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case
  std::string body;

  std::string header(std::string_view lower_case_name) const;
  nlohmann::json json() const { return nlohmann::json::parse(body); }
  std::string detail() const;  // of {"detail": ...}; "" of anything else
  Image picture() const;
};

// A request of its own connection to a port of this machine. Throws boost::system::system_error.
Answer ask(int port, const std::string& method, const std::string& target, const std::string& body = "",
           const std::map<std::string, std::string>& headers = {});

// Sends a request and leaves once `bytes` of the answer have come (0: at once).
void ask_and_leave(int port, const std::string& method, const std::string& target, const std::string& body,
                   size_t bytes = 0);

struct TestSetup {
  std::map<std::string, std::string> environment = {};  // of the Config
  std::string model = "tiny-sd15";                      // a golden model; "": none
  bool sdxl = false;                                    // tiny-sdxl beside it
  bool modes = false;  // instead of the model: "photo" (tiny-sd15, style "ink"), "wide" (tiny-sd2), "gone" (no file)
  size_t queue_max = 64;
};

class TestServer {
 public:
  explicit TestServer(const TestSetup& setup = {});
  ~TestServer();

  int port() const;
  ServerContext& context() { return *context_; }
  Answer get(const std::string& target) const { return ask(port(), "GET", target); }
  Answer post(const std::string& target, const nlohmann::json& body) const { return post_text(target, body.dump()); }
  Answer post_text(const std::string& target, const std::string& body) const;
  // multipart/form-data; a field named "file" is a file.
  Answer post_form(const std::string& target, const std::vector<std::pair<std::string, std::string>>& fields) const;
  bool wait_until_ready() const;

 private:
  class Parts;
  TemporaryDirectory folder_;  // of the modes file and the stored pictures
  std::shared_ptr<ServerContext> context_;
  std::unique_ptr<Parts> parts_;
};

// Runs from its first use to the end of the last test; static objects would outlive those of the libraries it uses.
TestServer& start_shared_server(const TestSetup& setup = {});

// Small and quick: {"prompt": ..., "size": "64x64", "num_inference_steps": 2, "seed": 42}.
nlohmann::json small_body();

}  // namespace dreamlab
