// Any bytes, as what a client sends: the parser may only make whole requests of them or throw HttpError, it reads the
// same requests however the bytes are cut up, and routes are found or not without a word.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/errors.h"
#include "server/request_parser.h"
#include "server/router.h"

namespace dreamlab {
namespace {

constexpr size_t kMaxHeader = 4096, kMaxBody = 1024;

const Router& router() {
  static const Router made = [] {
    Router routes;
    for (const char* pattern :
         {"/", "/health", "/jobs/{id}", "/jobs/{id}/events", "/storage/health", "/storage/{key...}"}) {
      Route route;
      route.method = "GET";
      route.pattern = pattern;
      routes.add(std::move(route));
    }
    return routes;
  }();
  return made;
}

void check(const RequestParser& parser) {
  const HttpRequest& request = parser.request();
  if (request.method.empty() || request.path.empty() || request.body.size() > kMaxBody) std::abort();
  const Router::Match match = router().find(request.method, parser.encoded_path());
  if (match.route != nullptr && match.allowed.empty()) std::abort();
  for (const auto& [name, value] : request.headers) {
    if (name.find_first_of("\r\n") != std::string::npos || value.find_first_of("\r\n") != std::string::npos)
      std::abort();
  }
}

// The whole requests as text to be compared. step: how many bytes arrive at a time.
std::string read_all(std::string_view bytes, size_t step) {
  std::string story, input;
  RequestParser parser(kMaxHeader);
  try {
    while (!bytes.empty()) {
      input += bytes.substr(0, step);
      bytes.remove_prefix(std::min(step, bytes.size()));
      for (bool moves = true; moves && !input.empty();) {
        const auto before = parser.stage();
        const size_t used = parser.put(input);
        if (used > input.size()) std::abort();
        input.erase(0, used);
        const auto stage = parser.stage();
        if (before == RequestParser::Stage::header && stage != before) parser.set_body_limit(kMaxBody);
        moves = used > 0 || stage != before;
        if (stage != RequestParser::Stage::done) continue;
        check(parser);
        story += parser.request().method + " " + parser.request().path + " " + parser.request().body + "\n";
        const bool goes_on = parser.keep_alive();
        parser = RequestParser(kMaxHeader);
        if (!goes_on) return story;
      }
    }
  } catch (const HttpError& error) {
    if (error.status() < 400 || error.status() > 599) std::abort();
  }
  return story;
}

}  // namespace
}  // namespace dreamlab

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = dreamlab::read_all(bytes, std::max<size_t>(size, 1));
  if (size <= 2048 && dreamlab::read_all(bytes, 1) != whole) std::abort();
  return 0;
}
