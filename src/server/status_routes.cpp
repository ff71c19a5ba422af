// GET /health, /ready, /api/models/status, /api/vram.
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "server/async.h"
#include "server/route_modules.h"
#include "service/resident_memory.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

HttpResponse json_response(const json& document) {
  return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

double uptime_s(const ServerContext& context) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - context.started).count();
}

// --- /health, /ready ---

const std::shared_ptr<const ObjectRules>& health_rules() {
  static const auto rules =
      response_object("Health", "The process is alive.",
                      {choice("status", {"ok"}, "Always ok.").required(), text("version", "Of the program.").required(),
                       quantity("uptime_s", "Seconds since the start.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& ready_rules() {
  static const auto rules = response_object(
      "Ready", "The model is loaded.",
      {boolean("ready", "Always true; 503 else.").required(), text("model", "Name of the checkpoint.").required(),
       text("worker", "SD, SDXL or RKNN.").required()});
  return rules;
}

HttpResponse ready_response(const ServerContext& context) {
  const auto worker = context.sd->worker();
  if (!context.sd->ready() || !worker) {
    const std::string error = context.sd->load_error();
    fail(ErrorKind::unavailable, "{}", error.empty() ? "the model is still being loaded" : error);
  }
  return json_response({{"ready", true}, {"model", worker->info().model}, {"worker", worker->info().worker}});
}

// --- /api/models/status ---

const std::shared_ptr<const ObjectRules>& style_rules() {
  static const auto rules =
      response_object("Style", "A style that fits the model.",
                      {text("style", "Its id, for style_lora.").required(), text("title", "For people.").required(),
                       count("levels", "Rungs of its ladder.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& queue_rules() {
  static const auto rules =
      response_object("Queue", "The queue in front of a model.",
                      {count("waiting", "Jobs that wait.").required(), count("running", "Jobs that run.").required(),
                       count("max", "Jobs that may wait.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& defaults_rules() {
  static const auto rules =
      response_object("Defaults", "What holds for requests that do not say.",
                      {count("steps", "Denoising steps.").required(),
                       quantity("guidance_scale", "How strictly to follow the prompt.").required(),
                       text("scheduler", "The sampler.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& model_rules() {
  static const auto rules = response_object(
      "ModelStatus", "A model and the queue in front of it.",
      {boolean("ready", "Whether it is loaded.").required(),
       text("error", "Why it could not be loaded, or null.").nullable().required(),
       text("mode", "The current mode; null where there is no modes file.").nullable().required(),
       text("model", "Name of the checkpoint; this and the following: null until it is loaded.").nullable().required(),
       text("worker", "SD, SDXL or RKNN.").nullable().required(), text("family", "SD 1.x, ...").nullable().required(),
       text("device", "What computes.").nullable().required(), text("dtype", "bf16, ...").nullable().required(),
       count("cross_attention_dim", "768, 1024, 2048 or 1280.").nullable().required(),
       text("default_size", "WIDTHxHEIGHT of requests that name none.").nullable().required(),
       object("defaults", defaults_rules(), "What holds for requests that do not say.").nullable().required(),
       objects("styles", style_rules(), "Those that fit the model.").required(),
       object("queue", queue_rules(), "The queue.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& models_rules() {
  static const auto super_resolution = response_object(
      "SuperResolutionStatus", "The upscaler.",
      {text("model", "Its name.").required(), count("scale", "What a pass multiplies the sides by.").required(),
       object("queue", queue_rules(), "Its queue.").required()});
  static const auto rules = response_object(
      "ModelsStatus", "All models.",
      {object("sd", model_rules(), "Of /generate.").required(),
       object("sdxl", model_rules(), "Of /generate_sdxl; null where it is not enabled.").nullable().required(),
       object("superres", super_resolution, "Of /superres; null where it is not enabled.").nullable().required()});
  return rules;
}

json queue_json(size_t waiting, size_t running, size_t most) {
  return {{"waiting", waiting}, {"running", running}, {"max", most}};
}

json styles_json(const WorkerInfo& info) {
  json styles = json::array();
  for (const StyleInfo& style : info.styles)
    styles.push_back({{"style", style.id}, {"title", style.title}, {"levels", style.levels.size()}});
  return styles;
}

json model_json(const PipelineService& service) {
  const ServiceStatistics statistics = service.statistics();
  const std::string error = service.load_error(), mode = service.current_mode();
  json status = {{"ready", service.ready()},
                 {"error", error.empty() ? json() : json(error)},
                 {"mode", mode.empty() ? json() : json(mode)},
                 {"model", nullptr},
                 {"worker", nullptr},
                 {"family", nullptr},
                 {"device", nullptr},
                 {"dtype", nullptr},
                 {"cross_attention_dim", nullptr},
                 {"default_size", nullptr},
                 {"defaults", nullptr},
                 {"styles", json::array()},
                 {"queue", queue_json(statistics.queue_depth, statistics.active, statistics.queue_max)}};
  const auto worker = service.worker();
  if (!worker) return status;
  const WorkerInfo& info = worker->info();
  status.update({{"model", info.model},
                 {"worker", info.worker},
                 {"family", info.family},
                 {"device", info.device},
                 {"dtype", info.dtype},
                 {"cross_attention_dim", info.cross_attention_dim},
                 {"default_size", to_string(info.default_size)},
                 {"defaults",
                  {{"steps", info.default_steps},
                   {"guidance_scale", info.default_guidance},
                   {"scheduler", info.default_scheduler}}},
                 {"styles", styles_json(info)}});
  return status;
}

json super_resolution_json(const SuperResolutionService& service) {
  const SuperResolutionStatistics statistics = service.statistics();
  return {{"model", service.model()},
          {"scale", service.scale()},
          {"queue", queue_json(statistics.queue_depth, statistics.active, statistics.queue_max)}};
}

json models_json(const ServerContext& context) {
  return {{"sd", model_json(*context.sd)},
          {"sdxl", context.sdxl ? model_json(*context.sdxl) : json()},
          {"superres", context.super_resolution ? super_resolution_json(*context.super_resolution) : json()}};
}

// --- /api/vram ---

const std::shared_ptr<const ObjectRules>& gpu_memory_rules() {
  static const auto rules = response_object(
      "GpuMemory", "Memory of a GPU in bytes, and what holds it.",
      {count("total_bytes", "Of the GPU.").required(), count("free_bytes", "That nobody holds.").required(),
       count("limit_bytes", "That may be held here (VRAM_MAX); 0: all.").required(),
       count("weights_bytes", "Held for the model.").required(),
       count("activations_bytes", "Held for intermediate results, in use or kept for the next.").required(),
       count("recordings_bytes", "The same of passes that are repeated from recordings.").required(),
       count("workspace_bytes", "Held for scratch work.").required(),
       count("peak_bytes", "The most that was held at once.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& memory_rules() {
  static const auto rules = response_object(
      "Memory", "Memory in bytes, of the machine that computes.",
      {text("device", "What computes; null until a model is loaded.").nullable().required(),
       count("total_bytes", "Of the machine.").required(),
       count("available_bytes", "That could still be used.").required(),
       count("process_bytes", "Resident, of this process.").required(),
       count("process_peak_bytes", "The most that was.").required(),
       object("gpu", gpu_memory_rules(), "Of the GPU that computes; null on a CPU.").nullable().required()});
  return rules;
}

// A line "MemTotal:  1234 kB" of a file of /proc, in bytes; 0 where it is not there.
uint64_t proc_bytes(const char* path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) != 0) continue;
    std::istringstream rest(line.substr(key.size()));
    uint64_t kibibytes = 0;
    rest >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

json gpu_memory_json(const std::optional<DeviceMemory>& memory) {
  if (!memory) return {};
  return {{"total_bytes", memory->total},
          {"free_bytes", memory->free},
          {"limit_bytes", memory->limit},
          {"weights_bytes", memory->weights},
          {"activations_bytes", memory->activations},
          {"recordings_bytes", memory->recordings},
          {"workspace_bytes", memory->workspace},
          {"peak_bytes", memory->peak}};
}

json memory_json(const ServerContext& context) {
  const auto worker = context.sd->worker();
  return {{"device", worker ? json(worker->info().device) : json()},
          {"total_bytes", proc_bytes("/proc/meminfo", "MemTotal:")},
          {"available_bytes", available_bytes()},
          {"process_bytes", resident_bytes()},
          {"process_peak_bytes", proc_bytes("/proc/self/status", "VmHWM:")},
          {"gpu", gpu_memory_json(worker ? worker->memory() : std::nullopt)}};
}

}  // namespace

void register_status_routes(Router& router, const ContextPtr& context) {
  const std::string tag = "Status";
  add_route(
      router,
      {.method = "GET",
       .pattern = "/health",
       .handler = [context](HttpRequest&) -> awaitable<HttpResponse> {
         co_return json_response({{"status", "ok"}, {"version", context->version}, {"uptime_s", uptime_s(*context)}});
       },
       .needs_key = false},
      {.tag = tag,
       .summary = "Whether the process is alive",
       .responses = {{200, "It is.", {{"application/json", health_rules()}}}}});
  add_route(router,
            {.method = "GET",
             .pattern = "/ready",
             .handler = [context](HttpRequest&) -> awaitable<HttpResponse> { co_return ready_response(*context); }},
            {.tag = tag,
             .summary = "Whether the model is loaded",
             .responses = {{200, "It is.", {{"application/json", ready_rules()}}}},
             .errors = {503}});
  add_route(router,
            {.method = "GET",
             .pattern = "/api/models/status",
             .handler = [context](HttpRequest&) -> awaitable<HttpResponse> {
               co_return json_response(models_json(*context));
             }},
            {.tag = "Modes and models",
             .summary = "The models and their queues",
             .responses = {{200, "Their state.", {{"application/json", models_rules()}}}}});
  add_route(router,
            {.method = "GET",
             .pattern = "/api/vram",
             .handler = [context](HttpRequest&) -> awaitable<HttpResponse> {
               co_return json_response(memory_json(*context));
             }},
            {.tag = tag,
             .summary = "Memory",
             .details = "On a CPU the model lies in the machine's memory, on a GPU in that of its own.",
             .responses = {{200, "In bytes.", {{"application/json", memory_rules()}}}}});
}

}  // namespace dreamlab
