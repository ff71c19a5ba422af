// POST /v1/images/generations, GET /v1/models, GET /v1/models/{model}: the shapes of the OpenAI API.
#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>

#include "server/async.h"
#include "server/base64.h"
#include "server/generate_request.h"
#include "server/generation.h"
#include "server/route_modules.h"
#include "server/served_model.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

// Names that clients send because their own default is one; they stand for the current model.
constexpr std::string_view kForeignModels[] = {"dall-e", "gpt-image"};

struct ImagesBody {
  std::string prompt, model, size = "auto";
  int n = 1;
  std::string response_format = "b64_json", output_format = "png";
  int output_compression = 100;
  std::optional<uint64_t> seed;
};

const Schema<ImagesBody>& images_schema() {
  using S = Schema<ImagesBody>;
  using B = ImagesBody;
  const auto size_check = [](const std::string& size) {
    if (size != "auto") parse_size(size);
  };
  static const S schema(
      {.title = "ImagesRequest", .description = "Pictures to make.", .unknown = UnknownFields::ignore},
      {S::field(prompt_row().required(), &B::prompt),
       S::field(text("model", "A model of GET /v1/models; names that begin with dall-e or gpt-image: the current one.")
                    .length(0, 200)
                    .nullable(),
                &B::model),
       S::field(integer("n", 1, 10, "How many.").fallback(int64_t{1}).nullable(), &B::n),
       S::field(text("size", "WIDTHxHEIGHT in pixels, multiples of 8 up to 4096; auto: as the model likes it.")
                    .form("^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$", size_check)
                    .fallback("auto")
                    .example("512x512")
                    .nullable(),
                &B::size),
       S::field(choice("response_format", {"b64_json", "url"}, "url needs STORAGE.").fallback("b64_json").nullable(),
                &B::response_format),
       S::field(choice("output_format", {"png", "jpeg", "webp"}, "File format.").fallback("png").nullable(),
                &B::output_format),
       S::field(integer("output_compression", 0, 100, "Quality of JPEG and WebP.").fallback(int64_t{100}).nullable(),
                &B::output_compression),
       S::field(
           integer("seed", 0, 2147483647, "Of the first picture; the next ones count up. Default: random.").nullable(),
           &B::seed),
       S::unused(choice("quality", {"auto", "standard", "hd", "low", "medium", "high"}, "Without effect.").nullable()),
       S::unused(choice("style", {"vivid", "natural"}, "Without effect.").nullable()),
       S::unused(choice("background", {"auto", "opaque"}, "Pictures are opaque.").nullable()),
       S::unused(choice("moderation", {"auto", "low"}, "Without effect.").nullable()),
       S::unused(text("user", "Without effect.").nullable()),
       S::field(boolean("stream", "Only false: /api/jobs has events.").fallback(false).nullable(),
                [](ImagesBody&, FieldValue&& value) {
                  if (std::get<bool>(value))
                    throw RequestError(422, "stream", "stream is true; allowed: false (events are at /api/jobs)");
                })});
  return schema;
}

const std::shared_ptr<const ObjectRules>& images_rules() {
  static const auto image = response_object("ImageData", "A picture.",
                                            {text("b64_json", "The file in base64, where it was asked for that way."),
                                             text("url", "Where it can be fetched, where it was asked for that way.")});
  static const auto rules = response_object(
      "ImagesResponse", "The pictures.",
      {count("created", "Seconds since 1970.").required(), objects("data", image, "In order.").required(),
       choice("output_format", {"png", "jpeg", "webp"}, "Of the files.").required(),
       text("size", "WIDTHxHEIGHT.").required(), choice("background", {"opaque"}, "Opaque.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& model_rules() {
  static const auto rules =
      response_object("Model", "A model.",
                      {text("id", "Its name.").required(), choice("object", {"model"}, "model").required(),
                       count("created", "When the server was started, in seconds since 1970.").required(),
                       text("owned_by", "dreamlab").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& models_rules() {
  static const auto rules = response_object("ModelList", "The models.",
                                            {choice("object", {"list"}, "list").required(),
                                             objects("data", model_rules(), "The current one first.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& openai_error_rules() {
  static const auto inner = response_object(
      "OpenAiErrorDetails", "What is wrong.",
      {text("message", "One line for a person.").required(), text("type", "Kind of error.").required(),
       text("param", "The field, or null.").nullable().required(), text("code", "Or null.").nullable().required()});
  static const auto rules =
      response_object("OpenAiError", "An error in OpenAI's shape.", {object("error", inner, "It.").required()});
  return rules;
}

// --- errors ---

struct ErrorType {
  int status;
  const char* type;
  const char* code;
};
constexpr ErrorType kErrorTypes[] = {{400, "invalid_request_error", nullptr},
                                     {404, "invalid_request_error", "model_not_found"},
                                     {413, "invalid_request_error", nullptr},
                                     {422, "invalid_request_error", nullptr},
                                     {429, "rate_limit_error", "rate_limit_exceeded"}};

HttpResponse openai_error(HttpResponse response, const std::string& param) {
  ErrorType type{response.status, "server_error", nullptr};
  for (const ErrorType& row : kErrorTypes) {
    if (row.status == response.status) type = row;
  }
  const json document = {{"error",
                          {{"message", json::parse(response.body).at("detail")},
                           {"type", type.type},
                           {"param", param.empty() ? json() : json(param)},
                           {"code", type.code == nullptr ? json() : json(type.code)}}}};
  response.body = document.dump(-1, ' ', false, json::error_handler_t::replace);
  return response;
}

// Answers what a handler throws in OpenAI's shape.
awaitable<HttpResponse> in_openai_shape(std::string request_id, awaitable<HttpResponse> handler) {
  std::exception_ptr error;
  std::string param;
  try {
    co_return co_await std::move(handler);
  } catch (const RequestError& request_error) {
    error = std::current_exception();
    param = request_error.field();
  } catch (const Error& known) {
    if (known.kind() == ErrorKind::cancelled) throw;  // nobody is there to read it
    error = std::current_exception();
    if (known.kind() == ErrorKind::not_found) param = "model";
  } catch (const std::exception&) {
    error = std::current_exception();
  }
  co_return openai_error(response_to(error, request_id), param);
}

// --- images ---

ImageFormat format_of(const std::string& name) {
  if (name == "jpeg") return ImageFormat::jpeg;
  return name == "webp" ? ImageFormat::webp : ImageFormat::png;
}

ServedModel chosen_model(const ServerContext& context, const std::string& name) {
  for (const std::string_view foreign : kForeignModels) {
    if (name.rfind(foreign, 0) == 0) return find_served_model(context, "");
  }
  return find_served_model(context, name);
}

// Where this server is, as the client sees it.
std::string origin_of(const ServerContext& context, const HttpRequest& request) {
  const bool secure = context.config.is_set("TLS_CERT") || request.header("x-forwarded-proto") == "https";
  return (secure ? "https://" : "http://") + request.header("host");
}

std::vector<uint8_t> encode(const JobResult& result, const ImagesBody& body) {
  const ImageFormat format = format_of(body.output_format);
  if (format == ImageFormat::png) return result.png;
  EncodeOptions options;
  options.quality = std::max(1, body.output_compression);
  options.texts = {{"parameters", result.parameters}};
  return encode_image(*result.picture, format, options);
}

std::vector<JobRequest> requests_of(const ImagesBody& body, const std::string& mode) {
  JobRequest request;
  request.prompt = body.prompt;
  request.mode = mode;
  if (body.size != "auto") request.size = body.size;
  std::vector<JobRequest> requests(static_cast<size_t>(body.n), request);
  if (body.seed) {
    for (size_t i = 0; i < requests.size(); ++i) requests[i].seed = *body.seed + i;
  }
  return requests;
}

awaitable<HttpResponse> generate_images(ContextPtr context, HttpRequest& request) {
  const ImagesBody body = parse_body(images_schema(), request);
  const bool as_url = body.response_format == "url";
  if (as_url && !context->storage)
    throw RequestError(
        422, "response_format",
        "response_format is \"url\", but this server keeps no pictures; allowed: b64_json, or set STORAGE");
  const ServedModel model = chosen_model(*context, body.model);
  GeneratedPictures made =
      co_await run_jobs(*model.service, requests_of(body, model.mode), RunOptions{}, request.disconnect);
  json data = json::array();
  for (JobResult& result : made.results) {
    const auto bytes = co_await run_blocking(
        *context->blocking, [&] { return std::make_shared<const std::vector<uint8_t>>(encode(result, body)); });
    if (!as_url) {
      data.push_back({{"b64_json", encode_base64(*bytes)}});
      continue;
    }
    const auto key = co_await store_picture(*context, bytes, std::string(mime_type_of(format_of(body.output_format))));
    if (!key)
      fail(ErrorKind::unavailable, "the picture could not be stored; response_format b64_json needs no storage");
    data.push_back({{"url", origin_of(*context, request) + "/storage/" + *key}});
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Image& first = *made.results.front().picture;
  const json document = {{"created", std::chrono::duration_cast<std::chrono::seconds>(now).count()},
                         {"data", std::move(data)},
                         {"output_format", body.output_format},
                         {"size", to_string(PictureSize{first.width, first.height})},
                         {"background", "opaque"}};
  HttpResponse response = HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
  response.headers.emplace_back("Cache-Control", "no-store");
  co_return response;
}

// --- models ---

int64_t start_time(const ServerContext& context) {
  const auto age = std::chrono::steady_clock::now() - context.started;
  const auto start = std::chrono::system_clock::now() - age;
  return std::chrono::duration_cast<std::chrono::seconds>(start.time_since_epoch()).count();
}

json model_json(const ServerContext& context, const ServedModel& model) {
  return {{"id", model.id}, {"object", "model"}, {"created", start_time(context)}, {"owned_by", "dreamlab"}};
}

awaitable<HttpResponse> list_models(ContextPtr context) {
  json data = json::array();
  for (const ServedModel& model : served_models(*context)) data.push_back(model_json(*context, model));
  const json document = {{"object", "list"}, {"data", std::move(data)}};
  co_return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

awaitable<HttpResponse> one_model(ContextPtr context, std::string id) {
  const json document = model_json(*context, find_served_model(*context, id));
  co_return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::vector<ResponseDescription> with_openai_errors(ResponseDescription success, const std::vector<int>& statuses) {
  std::vector<ResponseDescription> responses{std::move(success)};
  for (const int status : statuses)
    responses.push_back({status, "An error.", {{"application/json", openai_error_rules()}}});
  return responses;
}

}  // namespace

void register_openai_routes(Router& router, const ContextPtr& context) {
  const std::string tag = "As the OpenAI API";
  add_route(
      router,
      {.method = "POST",
       .pattern = "/v1/images/generations",
       .handler =
           [context](HttpRequest& request) { return in_openai_shape(request.id, generate_images(context, request)); }},
      {.tag = tag,
       .summary = "Make pictures",
       .details = "For clients of the OpenAI API. Unknown fields are ignored.",
       .request = {{"application/json", images_schema().rules()}},
       .responses = with_openai_errors({200, "The pictures.", {{"application/json", images_rules()}}},
                                       {400, 404, 422, 429, 500, 503, 504}),
       .errors = {413}});
  add_route(router,
            {.method = "GET",
             .pattern = "/v1/models",
             .handler = [context](HttpRequest& request) { return in_openai_shape(request.id, list_models(context)); }},
            {.tag = tag,
             .summary = "List the models",
             .responses = {{200, "The models.", {{"application/json", models_rules()}}}}});
  add_route(router,
            {.method = "GET",
             .pattern = "/v1/models/{model}",
             .handler =
                 [context](HttpRequest& request) {
                   return in_openai_shape(request.id, one_model(context, request.parameters.at("model")));
                 }},
            {.tag = tag,
             .summary = "One model",
             .parameters = {{"model", "Its id."}},
             .responses = with_openai_errors({200, "The model.", {{"application/json", model_rules()}}}, {404})});
}

}  // namespace dreamlab
