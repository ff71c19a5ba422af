#include "server/openapi.h"

#include <cctype>
#include <nlohmann/json.hpp>

#include "server/route_description.h"

namespace dreamlab {

using nlohmann::json;

namespace {

struct StatusText {
  int status;
  const char* description;
};
constexpr StatusText kErrorTexts[] = {
    {400, "The request cannot be read."},
    {401, "The API key is missing or wrong."},
    {404, "There is no such thing."},
    {409, "Not now: it is not in a state for that."},
    {413, "The body is larger than allowed."},
    {422, "A field is out of range: the text names the field, its value and what is allowed."},
    {429, "The queue is full: try again after `Retry-After` seconds."},
    {500, "It failed."},
    {502, "The storage cannot be reached."},
    {503, "Not ready, not enabled, or shutting down."},
    {504, "The time ran out; the work was stopped."},
};

const char* error_text(int status) {
  for (const StatusText& row : kErrorTexts) {
    if (row.status == status) return row.description;
  }
  fail(ErrorKind::internal, "status {} has no text in the OpenAPI document", status);
}

// "{key...}" is a pattern of the router; the document knows {key}.
std::string document_path(std::string pattern) {
  for (size_t at = 0; (at = pattern.find("...}", at)) != std::string::npos;) pattern.erase(at, 3);
  return pattern;
}

// "GET /api/jobs/{id}" -> "get_api_jobs_id".
std::string operation_id(const Route& route) {
  std::string id;
  for (const char c : route.method + " " + route.pattern) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      id += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!id.empty() && id.back() != '_')
      id += '_';
  }
  while (!id.empty() && id.back() == '_') id.pop_back();
  return id;
}

class Document {
 public:
  explicit Document(std::string_view version) {
    document_ = {
        {"openapi", "3.1.0"},
        {"info",
         {{"title", "Dream Lab"},
          {"version", version},
          {"description", "Pictures from Stable Diffusion models, by HTTP."}}},
        {"paths", json::object()},
        {"components",
         {{"schemas", json::object()}, {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
  }

  void add(const Route& route) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    document_["paths"][document_path(route.pattern)][method] = operation(route, *route.description);
  }

  std::string text() const { return document_.dump(); }

 private:
  json operation(const Route& route, const RouteDescription& description) {
    json operation = {{"operationId", operation_id(route)},
                      {"summary", description.summary},
                      {"tags", json::array({description.tag})},
                      {"responses", responses(route, description)}};
    if (!description.details.empty()) operation["description"] = description.details;
    for (const ParameterDescription& parameter : description.parameters)
      operation["parameters"].push_back({{"name", parameter.name},
                                         {"in", parameter.in_path ? "path" : "query"},
                                         {"required", parameter.in_path},
                                         {"description", parameter.description},
                                         {"schema", {{"type", "string"}}}});
    if (!description.request.empty())
      operation["requestBody"] = {{"required", true}, {"content", content(description.request)}};
    // The empty alternative: a server without API_KEY asks for none.
    operation["security"] = route.needs_key ? json::array({{{"key", json::array()}}, json::object()}) : json::array();
    return operation;
  }

  json responses(const Route& route, const RouteDescription& description) {
    json responses = json::object();
    for (const ResponseDescription& response : description.responses) {
      json made = {{"description", response.description}};
      if (!response.content.empty()) made["content"] = content(response.content);
      for (const HeaderDescription& header : response.headers)
        made["headers"][header.name] = {{"description", header.description}, {"schema", {{"type", "string"}}}};
      responses[std::to_string(response.status)] = std::move(made);
    }
    for (const int status : description.errors) add_error(responses, status);
    if (route.needs_key) add_error(responses, 401);
    return responses;
  }

  void add_error(json& responses, int status) {
    json made = {{"description", error_text(status)}, {"content", content({{"application/json", error_rules()}})}};
    if (status == 429)
      made["headers"]["Retry-After"] = {{"description", "Seconds."}, {"schema", {{"type", "integer"}}}};
    responses[std::to_string(status)] = std::move(made);
  }

  json content(const std::vector<ContentDescription>& contents) {
    json made = json::object();
    for (const ContentDescription& one : contents)
      made[one.media_type] = one.rules ? json{{"schema", reference(*one.rules)}} : json::object();
    return made;
  }

  json reference(const ObjectRules& rules) {
    document_["components"]["schemas"][rules.title] = json_schema(rules);
    return {{"$ref", "#/components/schemas/" + rules.title}};
  }

  json document_;
};

}  // namespace

const std::shared_ptr<const ObjectRules>& error_rules() {
  static const auto rules =
      response_object("Error", "What is wrong, in one line for a person.", {text("detail", "One line.").required()});
  return rules;
}

std::string openapi_document(const Router& router, std::string_view version) {
  Document document(version);
  for (const Route& route : router.routes()) {
    if (route.description) document.add(route);
  }
  return document.text();
}

}  // namespace dreamlab
