// GET /api/modes, POST /api/modes/switch, POST /api/modes/reload.
#include <fmt/format.h>

#include <exception>
#include <nlohmann/json.hpp>

#include "server/async.h"
#include "server/route_modules.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

struct SwitchBody {
  std::string mode;
};

const Schema<SwitchBody>& switch_schema() {
  using S = Schema<SwitchBody>;
  static const S schema({.title = "SwitchModeRequest", .description = "The mode to switch to."},
                        {S::field(text("mode", "Its name.").length(1, 200).required(), &SwitchBody::mode)});
  return schema;
}

const std::shared_ptr<const ObjectRules>& modes_rules() {
  static const auto style =
      response_object("ModeStyle", "A style of a mode.",
                      {text("style", "Its id.").required(), text("title", "For people.").required(),
                       count("levels", "Rungs of its ladder.").required()});
  static const auto mode =
      response_object("Mode", "A model with its styles and defaults.",
                      {text("name", "Its name.").required(), text("model", "Name of the checkpoint.").required(),
                       text("size", "WIDTHxHEIGHT, or null: the model's.").nullable().required(),
                       count("num_inference_steps", "Or null: DEFAULT_STEPS.").nullable().required(),
                       quantity("guidance_scale", "Or null: DEFAULT_GUIDANCE.").nullable().required(),
                       text("scheduler", "Or null: SCHEDULER.").nullable().required(),
                       objects("styles", style, "Those that the modes file gives it.").required()});
  static const auto rules = response_object(
      "Modes", "What the server can be switched between.",
      {text("current", "The mode of requests that name none; null where there is no modes file.").nullable().required(),
       text("default", "The mode that the server starts in.").nullable().required(),
       objects("modes", mode, "All of them.").required()});
  return rules;
}

json mode_json(const Mode& mode) {
  json styles = json::array();
  for (const StyleEntry& style : mode.styles)
    styles.push_back({{"style", style.id}, {"title", style.title}, {"levels", style.levels.size()}});
  return {{"name", mode.name},
          {"model", mode.model.stem().string()},
          {"size", mode.size ? json(to_string(*mode.size)) : json()},
          {"num_inference_steps", mode.steps ? json(*mode.steps) : json()},
          {"guidance_scale", mode.guidance ? json(*mode.guidance) : json()},
          {"scheduler", mode.scheduler.empty() ? json() : json(mode.scheduler)},
          {"styles", std::move(styles)}};
}

HttpResponse modes_response(const ServerContext& context) {
  json modes = json::array();
  const bool named = context.modes->named();
  if (named) {
    for (const Mode& mode : context.modes->modes()) modes.push_back(mode_json(mode));
  }
  const json document = {{"current", named ? json(context.sd->current_mode()) : json()},
                         {"default", named ? json(context.modes->default_mode()) : json()},
                         {"modes", std::move(modes)}};
  return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

void require_modes(const ServerContext& context) {
  if (!context.modes->named()) fail(ErrorKind::not_found, "this server has no modes; MODES names a file of them");
}

awaitable<HttpResponse> reload(ContextPtr context) {
  require_modes(*context);
  co_await run_blocking(*context->blocking, [&context] { context->sd->reload_modes(); });
  co_return modes_response(*context);
}

}  // namespace

awaitable<void> switch_mode(ContextPtr context, std::string name) {
  require_modes(*context);
  if (!context->modes->find(name)) {
    std::string names;
    for (const Mode& mode : context->modes->modes()) names += (names.empty() ? "" : ", ") + mode.name;
    fail(ErrorKind::not_found, "there is no mode \"{}\"; allowed: {}", name, names);
  }
  const auto error = co_await await_callback<std::exception_ptr>(
      [&](std::function<void(std::exception_ptr)> done) { context->sd->switch_mode(name, std::move(done)); });
  if (error) std::rethrow_exception(error);
}

void register_mode_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "GET",
             .pattern = "/api/modes",
             .handler = [context](HttpRequest&) -> awaitable<HttpResponse> { co_return modes_response(*context); }},
            {.tag = "Modes and models",
             .summary = "What the server can be switched between",
             .responses = {{200, "The modes.", {{"application/json", modes_rules()}}}}});
  add_route(router,
            {.method = "POST",
             .pattern = "/api/modes/switch",
             .handler = [context](HttpRequest& request) -> awaitable<HttpResponse> {
               const SwitchBody body = parse_body(switch_schema(), request);
               co_await switch_mode(context, body.mode);
               co_return modes_response(*context);
             }},
            {.tag = "Modes and models",
             .summary = "Switch the mode of requests that name none",
             .details = "Takes its place in the queue and answers once the model is loaded. Where it cannot be loaded, "
                        "the mode before goes on.",
             .request = {{"application/json", switch_schema().rules()}},
             .responses = {{200, "The modes, switched.", {{"application/json", modes_rules()}}}},
             .errors = {400, 404, 413, 422, 500, 503}});
  add_route(router,
            {.method = "POST",
             .pattern = "/api/modes/reload",
             .handler = [context](HttpRequest&) { return reload(context); }},
            {.tag = "Modes and models",
             .summary = "Read the modes file again",
             .details = "As SIGHUP does. A file that cannot be read changes nothing.",
             .responses = {{200, "The modes as they are now.", {{"application/json", modes_rules()}}}},
             .errors = {404, 422, 503}});
}

}  // namespace dreamlab
