#include "server/http.h"

#include <nlohmann/json.hpp>

namespace dreamlab {

std::string HttpRequest::header(std::string_view lower_case_name) const {
  const auto entry = headers.find(lower_case_name);
  return entry == headers.end() ? std::string() : entry->second;
}

HttpResponse HttpResponse::json(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.headers.emplace_back("Content-Type", "application/json");
  response.body = std::move(text);
  return response;
}

HttpResponse HttpResponse::error(int status, std::string_view message) {
  const nlohmann::json document = {{"detail", message}};
  return json(status, document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace dreamlab
