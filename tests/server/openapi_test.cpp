// The server against its own document: values in and out of range are made from /openapi.json and sent, and every
// answer must be one that the document describes.
#include "server/openapi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "server/base64.h"
#include "server/routes.h"
#include "server/test_server.h"
#include "server/ui_files.h"

namespace dreamlab {
namespace {

using nlohmann::json;

TestServer& documented_server() {
  static TestServer& server = start_shared_server(
      {.environment = {{"STORAGE", "file:"}, {"SR_MAX_PIXELS", "300000"}}, .sdxl = true, .modes = true});
  static const bool ready = server.wait_until_ready();
  if (!ready) throw std::runtime_error("the models were not loaded");
  return server;
}

const json& document() {
  static const json document = documented_server().get("/openapi.json").json();
  return document;
}

const json& resolve(const json& schema) {
  if (!schema.contains("$ref")) return schema;
  const std::string reference = schema.at("$ref");
  return document().at(json::json_pointer(reference.substr(1)));
}

// A list in a schema, empty where it is not there.
std::vector<json> list_of(const json& schema, const char* key) {
  const auto found = schema.find(key);
  if (found == schema.end()) return {};
  return found->get<std::vector<json>>();
}

// --- does a value keep to a schema? ---

bool is_of_type(const json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

std::vector<std::string> types_of(const json& schema) {
  const json& type = schema.at("type");
  return type.is_array() ? type.get<std::vector<std::string>>() : std::vector<std::string>{type.get<std::string>()};
}

// Every property must be documented, and every required one there.
void expect_matches(const json& value, const json& unresolved, const std::string& path) {
  const json& schema = resolve(unresolved);
  const std::vector<std::string> types = types_of(schema);
  EXPECT_TRUE(std::any_of(types.begin(), types.end(), [&](const std::string& type) { return is_of_type(value, type); }))
      << path << " is " << value.dump().substr(0, 80);
  if (value.is_null()) return;
  if (schema.contains("enum")) {
    EXPECT_THAT(schema.at("enum"), testing::Contains(value)) << path;
  }
  if (schema.contains("minimum") && value.is_number()) {
    EXPECT_GE(value.get<double>(), schema.at("minimum").get<double>()) << path;
    EXPECT_LE(value.get<double>(), schema.at("maximum").get<double>()) << path;
  }
  if (value.is_array() && schema.contains("items"))
    for (const json& element : value) expect_matches(element, schema.at("items"), path + "[]");
  if (!value.is_object() || !schema.contains("properties")) return;
  for (const auto& [name, field] : value.items()) {
    if (schema.at("properties").contains(name))
      expect_matches(field, schema.at("properties").at(name), path + "." + name);
    else
      ADD_FAILURE() << path << "." << name << " is not documented";
  }
  for (const json& name : list_of(schema, "required"))
    EXPECT_TRUE(value.contains(name)) << path << "." << name << " is missing";
}

// Of every answer, or of streams in general.
const std::set<std::string> kTransportHeaders = {"x-request-id", "x-content-type-options", "x-accel-buffering"};

void expect_documented(const Answer& answer, const json& operation, const std::string& what) {
  SCOPED_TRACE(what);
  const std::string status = std::to_string(answer.status);
  const json& responses = operation.at("responses");
  ASSERT_TRUE(responses.contains(status)) << status << " is not documented: " << answer.body.substr(0, 200);
  const json& response = responses.at(status);
  for (const auto& [name, value] : answer.headers) {
    if (name.rfind("x-", 0) != 0 || kTransportHeaders.count(name) > 0) continue;
    bool documented = false;
    const json described = response.contains("headers") ? response.at("headers") : json::object();
    for (const auto& [header, description] : described.items()) {
      std::string lower = header;
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      documented = documented || lower == name;
    }
    EXPECT_TRUE(documented) << name << " is not documented";
  }
  if (!response.contains("content")) return;
  const json& contents = response.at("content");
  const std::string type = answer.header("content-type");
  if (!contents.contains(type)) {
    EXPECT_TRUE(contents.contains("*/*")) << type << " is not documented";
    return;
  }
  if (contents.at(type).contains("schema")) expect_matches(answer.json(), contents.at(type).at("schema"), what);
}

// --- values from a schema ---

struct Values {
  std::vector<json> allowed, refused;
};

bool is_nullable(const json& schema) {
  const std::vector<std::string> types = types_of(schema);
  return std::find(types.begin(), types.end(), "null") != types.end();
}

Values values_of(const json& schema) {
  Values values;
  const std::string type = types_of(schema).front();
  if (is_nullable(schema))
    values.allowed.push_back(nullptr);
  else
    values.refused.push_back(nullptr);
  if (schema.contains("default")) values.allowed.push_back(schema.at("default"));
  if (schema.contains("examples")) values.allowed.push_back(schema.at("examples")[0]);
  if (type == "integer" || type == "number") {
    const json &smallest = schema.at("minimum"), &largest = schema.at("maximum");
    values.allowed.insert(values.allowed.end(), {smallest, largest});
    values.refused.insert(values.refused.end(), {"1", true, json::array(), smallest.get<double>() - 1,
                                                 largest.get<double>() + 1, 1e30, -1e30});
    if (type == "integer") values.refused.push_back(smallest.get<double>() + 0.5);
    if (schema.contains("multipleOf")) values.refused.push_back(smallest.get<int64_t>() + 1);
  } else if (type == "boolean") {
    values.allowed.insert(values.allowed.end(), {true, false});
    values.refused.insert(values.refused.end(), {0, "true"});
  } else if (type == "string") {
    for (const json& choice : list_of(schema, "enum")) values.allowed.push_back(choice);
    values.refused.insert(values.refused.end(), {1, json::object()});
    if (schema.contains("enum")) values.refused.push_back("no such choice");
    if (schema.contains("pattern")) values.refused.push_back("x");
    if (schema.contains("maxLength"))
      values.refused.push_back(std::string(schema.at("maxLength").get<size_t>() + 1, 'x'));
  } else if (type == "array") {
    values.refused.insert(values.refused.end(), {1, json::array({1})});
    if (schema.contains("maxItems"))
      values.refused.push_back(std::vector<std::string>(schema.at("maxItems").get<size_t>() + 1, "x"));
  } else {
    values.refused.insert(values.refused.end(), {1, "x", json::array()});
  }
  return values;
}

std::string tiny_png() {
  return encode_base64(encode_image(Image::blank(64, 64), ImageFormat::png));
}

// Bodies that are small and quick, for each route with a body.
json base_body(const std::string& path) {
  const json picture = {{"prompt", "p"}, {"size", "64x64"}, {"num_inference_steps", 1}, {"seed", 1}};
  const std::map<std::string, json> bodies = {
      {"/v1/images/generations", {{"prompt", "p"}, {"size", "64x64"}}},
      {"/sdapi/v1/txt2img", {{"prompt", "p"}, {"width", 64}, {"height", 64}, {"steps", 1}}},
      {"/sdapi/v1/img2img",
       {{"prompt", "p"},
        {"width", 64},
        {"height", 64},
        {"steps", 4},
        {"denoising_strength", 1},
        {"init_images", json::array({tiny_png()})}}},
      {"/sdapi/v1/options", json::object()},
      {"/api/modes/switch", {{"mode", "photo"}}}};
  const auto found = bodies.find(path);
  return found == bodies.end() ? picture : found->second;
}

// Fields whose largest values take long, or more of a model than the small ones have: what is sent instead.
const std::map<std::string, json> kCheaper = {{"clip_skip", 2}, {"n", 2},        {"batch_size", 2}, {"n_iter", 2},
                                              {"width", 128},   {"height", 128}, {"size", "72x64"}};

void check_field(const std::string& path, const json& operation, const std::string& name, const json& schema) {
  const Values values = values_of(schema);
  std::set<json> sent;
  for (json value : values.allowed) {
    const auto cheaper = kCheaper.find(name);
    if (cheaper != kCheaper.end() && !value.is_null() && value != schema.value("minimum", json()))
      value = cheaper->second;
    if (!sent.insert(value).second) continue;
    json body = base_body(path);
    body[name] = value;
    const Answer answer = documented_server().post(path, body);
    const std::string what = path + " " + name + "=" + value.dump().substr(0, 40);
    expect_documented(answer, operation, what);
    EXPECT_NE(answer.status, 400) << what;
    // Room for the upscaled picture, and steps enough for a strength, are other fields' business.
    if (name == "superres_magnitude" || name == "denoising_strength") continue;
    EXPECT_NE(answer.status, 422) << what << ": " << answer.body.substr(0, 200);
  }
  for (const json& value : values.refused) {
    json body = base_body(path);
    body[name] = value;
    const Answer answer = documented_server().post(path, body);
    const std::string what = path + " " + name + "=" + value.dump().substr(0, 40);
    EXPECT_EQ(answer.status, 422) << what << ": " << answer.body.substr(0, 200);
    EXPECT_THAT(answer.body, testing::HasSubstr(name)) << what;
    expect_documented(answer, operation, what);
  }
}

class DocumentedBodies : public testing::TestWithParam<const char*> {};

TEST_P(DocumentedBodies, AreTakenInRangeAndRefusedOutOfIt) {
  const std::string path = GetParam();
  const json& operation = document().at("paths").at(path).at("post");
  const json& schema = resolve(operation.at("requestBody").at("content").at("application/json").at("schema"));
  for (const auto& [name, field] : schema.at("properties").items()) {
    if (path == "/v1/images/generations" && name == "stream") continue;  // true is refused, as its description says
    check_field(path, operation, name, field);
  }
  for (const json& name : list_of(schema, "required")) {
    json body = base_body(path);
    body.erase(name.get<std::string>());
    EXPECT_EQ(documented_server().post(path, body).status, 422) << name;
  }
  json body = base_body(path);
  body["no_such_field"] = 1;
  const Answer answer = documented_server().post(path, body);
  if (schema.value("additionalProperties", json(true)) == false)
    EXPECT_EQ(answer.status, 422);
  else
    EXPECT_EQ(answer.status, 200);
  expect_documented(documented_server().post_text(path, "{"), operation, path + " malformed");
  EXPECT_EQ(documented_server().post_text(path, "{").status, 400);
}

INSTANTIATE_TEST_SUITE_P(OpenApi, DocumentedBodies,
                         testing::Values("/generate", "/generate_sdxl", "/api/jobs", "/v1/images/generations",
                                         "/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/options",
                                         "/api/modes/switch"));

TEST(OpenApi, EveryJsonBodyIsAmongThoseTested) {
  std::set<std::string> paths;
  for (const auto& [path, operations] : document().at("paths").items()) {
    for (const auto& [method, operation] : operations.items()) {
      if (operation.contains("requestBody") && operation.at("requestBody").at("content").contains("application/json"))
        paths.insert(path);
    }
  }
  EXPECT_THAT(paths, testing::UnorderedElementsAre("/generate", "/generate_sdxl", "/api/jobs", "/v1/images/generations",
                                                   "/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/options",
                                                   "/api/modes/switch"));
}

TEST(OpenApi, FormsAreTakenInRangeAndRefusedOutOfIt) {
  const json& operation = document().at("paths").at("/superres").at("post");
  const json& schema = resolve(operation.at("requestBody").at("content").at("multipart/form-data").at("schema"));
  const auto file = encode_image(Image::blank(8, 8), ImageFormat::png);
  const std::string picture(file.begin(), file.end());
  for (const auto& [name, field] : schema.at("properties").items()) {
    if (name == "file") continue;
    const Values values = values_of(field);
    for (const json& value : values.allowed) {
      const Answer answer = documented_server().post_form(
          "/superres", {{"file", picture}, {name, value.is_string() ? value.get<std::string>() : value.dump()}});
      EXPECT_EQ(answer.status, 200) << name << "=" << value << ": " << answer.body.substr(0, 200);
      expect_documented(answer, operation, "/superres");
    }
    for (const json& value : values.refused) {
      if (value == "1") continue;  // a form has texts only
      const Answer answer = documented_server().post_form("/superres", {{"file", picture}, {name, value.dump()}});
      EXPECT_EQ(answer.status, 422) << name << "=" << value;
      expect_documented(answer, operation, "/superres");
    }
  }
}

// What stands for the parameters of paths.
std::string path_with_values(std::string path) {
  const Answer job = documented_server().post("/api/jobs", base_body("/api/jobs"));
  const std::string id = job.json().at("id");
  documented_server().get("/api/jobs/" + id + "/events");  // until it is done
  const std::string asset(ui_files().front().path);
  const std::map<std::string, std::string> values = {
      {"{id}", id}, {"{key}", "a-key"}, {"{model}", "photo"}, {"{file}", asset.substr(asset.rfind('/') + 1)}};
  for (const auto& [parameter, value] : values) {
    const size_t at = path.find(parameter);
    if (at != std::string::npos) path.replace(at, parameter.size(), value);
  }
  return path;
}

TEST(OpenApi, EveryOtherRouteAnswersAsDocumented) {
  ask(documented_server().port(), "PUT", "/storage/a-key", "bytes", {{"Content-Type", "text/plain"}});
  for (const auto& [path, operations] : document().at("paths").items()) {
    for (const auto& [method, operation] : operations.items()) {
      if (method == "post" && operation.contains("requestBody")) continue;
      std::string upper = method;
      for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      const Answer answer =
          ask(documented_server().port(), upper, path_with_values(path), method == "put" ? "bytes" : "");
      EXPECT_LT(answer.status, 400) << upper << " " << path << ": " << answer.body;
      expect_documented(answer, operation, upper + " " + path);
      const size_t parameter = path.find('{');
      if (parameter == std::string::npos || method == "put") continue;
      const std::string unknown = path.substr(0, parameter) + "unknown" + path.substr(path.find('}') + 1);
      const Answer missing = ask(documented_server().port(), upper, unknown);
      EXPECT_EQ(missing.status, 404) << upper << " " << unknown;
      expect_documented(missing, operation, upper + " " + unknown);
    }
  }
}

TEST(OpenApi, DescribesEveryRoute) {
  Router router;
  register_routes(router, std::make_shared<ServerContext>());
  const json made = json::parse(openapi_document(router, "1.2.3"));
  EXPECT_EQ(made.at("openapi"), "3.1.0");
  EXPECT_EQ(made.at("info").at("version"), "1.2.3");
  const std::set<std::string> open = {"/health", "/", "/assets/{file}"};  // without the API key
  std::set<std::string> operation_ids;
  size_t operations = 0;
  for (const Route& route : router.routes()) EXPECT_NE(route.description, nullptr) << route.pattern;
  for (const auto& [path, methods] : made.at("paths").items()) {
    for (const auto& [method, operation] : methods.items()) {
      ++operations;
      operation_ids.insert(operation.at("operationId").get<std::string>());
      EXPECT_FALSE(operation.at("summary").get<std::string>().empty()) << path;
      EXPECT_EQ(operation.at("responses").contains("401"), !open.contains(path)) << path;
    }
  }
  EXPECT_EQ(operations, router.routes().size());
  EXPECT_EQ(operation_ids.size(), operations);
}

}  // namespace
}  // namespace dreamlab
