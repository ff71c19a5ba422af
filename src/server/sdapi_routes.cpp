// /sdapi/v1: the shapes of AUTOMATIC1111's web UI.
#include <fmt/format.h>

#include <cmath>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>

#include "scheduler/sampler.h"
#include "server/async.h"
#include "server/base64.h"
#include "server/generate_request.h"
#include "server/generation.h"
#include "server/prompt_loras.h"
#include "server/route_modules.h"
#include "server/served_model.h"
#include "server/uploaded_picture.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

constexpr int64_t kLargestSeed = 4294967295;
constexpr uint64_t kRandomSeeds = 100'000'000;

// --- requests ---

struct OverrideSettings {
  std::optional<std::string> checkpoint;
  std::optional<int> clip_skip;
};

struct SdapiBody : JobRequest {
  int width = 0, height = 0;  // 0: default
  std::string sampler_name, sampler_index, schedule = "Automatic";
  int64_t wanted_seed = -1;  // -1: random
  int batch_size = 1, n_iter = 1;
  bool send_images = true;
  std::optional<OverrideSettings> overrides;
  std::vector<std::string> init_images;
  std::string mask_base64;
};

const Schema<OverrideSettings>& override_schema() {
  using S = Schema<OverrideSettings>;
  static const S schema(
      {.title = "OverrideSettings", .description = "Options for one request.", .unknown = UnknownFields::ignore},
      {S::field(text("sd_model_checkpoint", "A model of /sdapi/v1/sd-models.").nullable(),
                &OverrideSettings::checkpoint),
       S::field(integer("CLIP_stop_at_last_layers", 1, 12, "Clip skip.").nullable(), &OverrideSettings::clip_skip)});
  return schema;
}

std::vector<Schema<SdapiBody>::Field> common_fields() {
  using S = Schema<SdapiBody>;
  using B = SdapiBody;
  return {
      S::field(prompt_row().fallback("").nullable(), &B::prompt),
      S::field(text("negative_prompt", "What to keep away from.").length(0, 20'000).fallback("").nullable(),
               &B::negative_prompt),
      S::field(integer("steps", 1, 50, "Denoising steps. Default: the mode's or DEFAULT_STEPS.").nullable(), &B::steps),
      S::field(number("cfg_scale", 0, 20, "Guidance. Default: the mode's or DEFAULT_GUIDANCE.").nullable(),
               &B::guidance_scale),
      S::field(integer("width", kSizeStep, kMaxPictureSide, "In pixels. Default: the model's.")
                   .multiples(kSizeStep)
                   .nullable(),
               &B::width),
      S::field(integer("height", kSizeStep, kMaxPictureSide, "In pixels. Default: the model's.")
                   .multiples(kSizeStep)
                   .nullable(),
               &B::height),
      S::field(integer("seed", -1, kLargestSeed, "Of the first picture; the next ones count up. -1: random.")
                   .fallback(int64_t{-1})
                   .nullable(),
               &B::wanted_seed),
      S::field(text("sampler_name", "A sampler of /sdapi/v1/samplers. Default: the mode's or SCHEDULER.").nullable(),
               &B::sampler_name),
      S::field(text("sampler_index", "The same; counts where sampler_name is not given.").nullable(),
               &B::sampler_index),
      S::field(text("scheduler", "A schedule of /sdapi/v1/schedulers.").fallback("Automatic").nullable(), &B::schedule),
      S::field(integer("batch_size", 1, 16, "Pictures side by side.").fallback(int64_t{1}).nullable(), &B::batch_size),
      S::field(integer("n_iter", 1, 16, "Batches one after the other.").fallback(int64_t{1}).nullable(), &B::n_iter),
      S::field(boolean("send_images", "Whether the pictures are in the answer.").fallback(true).nullable(),
               &B::send_images),
      S::nullable(S::nested("override_settings", override_schema(), &B::overrides, "Options for this request."))};
}

const Schema<SdapiBody>& txt2img_schema() {
  static const Schema<SdapiBody> schema({.title = "StableDiffusionTxt2Img",
                                         .description = "Pictures to make. Unknown fields are ignored.",
                                         .unknown = UnknownFields::ignore},
                                        common_fields());
  return schema;
}

const Schema<SdapiBody>& img2img_schema() {
  using S = Schema<SdapiBody>;
  using B = SdapiBody;
  static const auto make_fields = [] {
    std::vector<S::Field> fields = common_fields();
    fields.push_back(
        S::field(texts("init_images", "One picture to start from, in base64 or as a data URL.").length(1, 1).required(),
                 &B::init_images));
    fields.push_back(
        S::field(text("mask", "Bright where it is to be painted anew; as init_images.").nullable(), &B::mask_base64));
    fields.push_back(
        S::field(number("denoising_strength", 0.01, 1, "How much the picture may change.").fallback(0.75).nullable(),
                 &B::strength));
    return fields;
  };
  static const S schema({.title = "StableDiffusionImg2Img",
                         .description = "A picture to change. Unknown fields are ignored.",
                         .unknown = UnknownFields::ignore},
                        make_fields());
  return schema;
}

// --- samplers and schedules ---

// The web UI names the method and the schedule of noise levels apart; here "DPM++ 2M Karras" is one sampler.
struct ScheduleRow {
  const char* name;
  const char* label;
};
constexpr ScheduleRow kSchedules[] = {{"automatic", "Automatic"}, {"karras", "Karras"}};
constexpr std::string_view kKarras = " Karras";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool is_automatic(const std::string& schedule) {
  return schedule.empty() || schedule == kSchedules[0].name || schedule == kSchedules[0].label;
}

bool is_karras(const std::string& schedule) {
  return schedule == kSchedules[1].name || schedule == kSchedules[1].label;
}

// Throws RequestError for what is not among the samplers.
std::string sampler_of(const SdapiBody& body) {
  const std::string& name = body.sampler_name.empty() ? body.sampler_index : body.sampler_name;
  if (!is_automatic(body.schedule) && !is_karras(body.schedule))
    throw RequestError(422, "scheduler", fmt::format("scheduler is \"{}\"; allowed: Automatic, Karras", body.schedule));
  if (name.empty() || name == kSchedules[0].label) return "";
  try {
    const SamplerEntry& entry = find_sampler(name);
    if (!is_karras(body.schedule) || ends_with(entry.title, kKarras)) return std::string(entry.name);
    return std::string(find_sampler(std::string(entry.title) + std::string(kKarras)).name);
  } catch (const Error& error) {
    throw RequestError(422, "sampler_name", fmt::format("sampler_name: {}", error.what()));
  }
}

// --- pictures ---

// What /sdapi/v1/progress tells of: the request that came last.
class ProgressBoard {
 public:
  struct Shown {
    double progress = 0;
    double eta_s = 0;
    int jobs = 0, jobs_done = 0;
    int step = 0, steps = 0;
    std::shared_ptr<const Image> preview;
  };

  // pictures: of the whole request; done: before these tickets.
  void show(int pictures, int done, std::vector<std::shared_ptr<JobTicket>> tickets) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (done == 0) started_ = std::chrono::steady_clock::now();
    pictures_ = pictures;
    done_ = done;
    tickets_ = std::move(tickets);
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    pictures_ = done_ = 0;
    tickets_.clear();
  }

  Shown shown() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    Shown shown;
    shown.jobs = pictures_;
    shown.jobs_done = done_;
    double share = done_;
    for (const auto& ticket : tickets_) {
      const JobProgress progress = ticket->progress();
      if (progress.steps > 0) share += static_cast<double>(progress.step) / progress.steps;
      if (progress.state == JobState::done) ++shown.jobs_done;
      if (progress.step >= shown.step) {
        shown.step = progress.step;
        shown.steps = progress.steps;
      }
      if (progress.preview) shown.preview = progress.preview;
    }
    if (pictures_ == 0) return shown;
    shown.progress = std::min(1.0, share / pictures_);
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (shown.progress > 0) shown.eta_s = spent / shown.progress - spent;
    return shown;
  }

 private:
  mutable std::mutex mutex_;
  int pictures_ = 0, done_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::vector<std::shared_ptr<JobTicket>> tickets_;
};
using BoardPtr = std::shared_ptr<ProgressBoard>;

// Clears the board however a request ends.
class OnBoard {
 public:
  explicit OnBoard(BoardPtr board) : board_(std::move(board)) {}
  ~OnBoard() { board_->clear(); }
  OnBoard(const OnBoard&) = delete;
  OnBoard& operator=(const OnBoard&) = delete;

 private:
  BoardPtr board_;
};

void decode_pictures(SdapiBody& body) {
  if (!body.init_images.empty()) body.init_image = decode_base64_picture(body.init_images.front(), "init_images");
  if (!body.mask_base64.empty()) body.mask = decode_base64_picture(body.mask_base64, "mask");
  body.init_images.clear();
  body.mask_base64 = {};
}

// Fills in what the web UI names differently.
void complete(SdapiBody& body, const ServerContext& context, const ServedModel& model) {
  body.mode = model.mode;
  body.scheduler = sampler_of(body);
  if (body.overrides && body.overrides->clip_skip) body.clip_skip = *body.overrides->clip_skip;
  if (const auto worker = model.service->worker()) take_prompt_loras(body, worker->info());
  if (body.width > 0 || body.height > 0) {
    const PictureSize usual = expected_size(context, *model.service, body).value_or(PictureSize{512, 512});
    body.size = to_string({body.width > 0 ? body.width : usual.width, body.height > 0 ? body.height : usual.height});
  }
  if (body.wanted_seed < 0) body.wanted_seed = static_cast<int64_t>(std::random_device()() % kRandomSeeds);
}

json parameters_json(const SdapiBody& body, const Image& picture) {
  return {{"prompt", body.prompt},
          {"negative_prompt", body.negative_prompt},
          {"seed", body.wanted_seed},
          {"steps", body.steps ? json(*body.steps) : json()},
          {"cfg_scale", body.guidance_scale ? json(*body.guidance_scale) : json()},
          {"width", picture.width},
          {"height", picture.height},
          {"sampler_name", body.scheduler.empty() ? json() : json(find_sampler(body.scheduler).title)},
          {"scheduler", body.schedule},
          {"batch_size", body.batch_size},
          {"n_iter", body.n_iter},
          {"denoising_strength", body.init_image ? json(body.strength) : json()}};
}

struct MadePictures {
  std::vector<JobResult> results;
  std::string mode;
};

json info_json(const SdapiBody& body, const MadePictures& made, const std::string& model) {
  json seeds = json::array(), texts = json::array(), prompts = json::array(), negative_prompts = json::array(),
       subseeds = json::array();
  for (const JobResult& result : made.results) {
    seeds.push_back(result.seed);
    texts.push_back(result.parameters);
    prompts.push_back(body.prompt);
    negative_prompts.push_back(body.negative_prompt);
    subseeds.push_back(-1);
  }
  json info = parameters_json(body, *made.results.front().picture);
  info.update({{"all_prompts", std::move(prompts)},
               {"all_negative_prompts", std::move(negative_prompts)},
               {"all_seeds", seeds},
               {"seed", seeds.front()},
               {"subseed", -1},
               {"all_subseeds", std::move(subseeds)},
               {"subseed_strength", 0},
               {"restore_faces", false},
               {"face_restoration_model", nullptr},
               {"sd_model_name", model},
               {"sd_model_hash", nullptr},
               {"sd_vae_name", nullptr},
               {"sd_vae_hash", nullptr},
               {"seed_resize_from_w", -1},
               {"seed_resize_from_h", -1},
               {"extra_generation_params", json::object()},
               {"index_of_first_image", 0},
               {"infotexts", std::move(texts)},
               {"styles", json::array()},
               {"clip_skip", body.clip_skip},
               {"is_using_inpainting_conditioning", body.mask != nullptr},
               {"version", "dreamlab"}});
  return info;
}

awaitable<MadePictures> make_batches(const SdapiBody& body, const ServedModel& model, BoardPtr board,
                                     std::shared_ptr<Disconnect> disconnect) {
  const OnBoard on_board(board);
  const int pictures = body.batch_size * body.n_iter;
  MadePictures made;
  for (int batch = 0; batch < body.n_iter; ++batch) {
    std::vector<JobRequest> requests(static_cast<size_t>(body.batch_size), body);
    for (size_t i = 0; i < requests.size(); ++i)
      requests[i].seed = static_cast<uint64_t>(body.wanted_seed) + made.results.size() + i;
    RunOptions options;
    options.previews = true;
    options.on_submitted = [board, pictures, done = static_cast<int>(made.results.size())](const auto& tickets) {
      board->show(pictures, done, tickets);
    };
    GeneratedPictures some = co_await run_jobs(*model.service, std::move(requests), std::move(options), disconnect);
    for (JobResult& result : some.results) made.results.push_back(std::move(result));
    made.mode = some.mode;
  }
  co_return made;
}

awaitable<HttpResponse> make_pictures(ContextPtr context, const Schema<SdapiBody>& schema, BoardPtr board,
                                      HttpRequest& request) {
  SdapiBody body = parse_body(schema, request);
  co_await run_blocking(*context->blocking, [&body] { decode_pictures(body); });
  const std::string checkpoint =
      body.overrides && body.overrides->checkpoint ? *body.overrides->checkpoint : std::string();
  const ServedModel model = find_served_model(*context, checkpoint);
  complete(body, *context, model);
  const MadePictures made = co_await make_batches(body, model, board, request.disconnect);
  std::string document = co_await run_blocking(*context->blocking, [&] {
    json images = json::array();
    if (body.send_images) {
      for (const JobResult& result : made.results) images.push_back(encode_base64(result.png));
    }
    const json info = info_json(body, made, model_name(*context, *model.service, made.mode));
    const json answer = {{"images", std::move(images)},
                         {"parameters", parameters_json(body, *made.results.front().picture)},
                         {"info", info.dump(-1, ' ', false, json::error_handler_t::replace)}};
    return answer.dump(-1, ' ', false, json::error_handler_t::replace);
  });
  HttpResponse response = HttpResponse::json(200, std::move(document));
  response.headers.emplace_back("Cache-Control", "no-store");
  co_return response;
}

const std::shared_ptr<const ObjectRules>& pictures_rules() {
  static const auto rules = response_object(
      "StableDiffusionImages", "The pictures.",
      {texts("images", "PNG files in base64.").required(), map("parameters", "What they were made with.").required(),
       text("info", "A JSON document with seed, all_seeds, infotexts, ...").required()});
  return rules;
}

// --- lists ---

HttpResponse json_response(const json& document) {
  return HttpResponse::json(200, document.dump(-1, ' ', false, json::error_handler_t::replace));
}

json models_json(const ServerContext& context) {
  json models = json::array();
  for (const ServedModel& model : served_models(context)) {
    if (model.service != context.sd) continue;  // what cannot be switched to
    models.push_back({{"title", model.id},
                      {"model_name", model.id},
                      {"hash", nullptr},
                      {"sha256", nullptr},
                      {"filename", model.path.filename().string()},
                      {"config", nullptr}});
  }
  return models;
}

json samplers_json() {
  json rows = json::array();
  for (const SamplerEntry& entry : samplers()) {
    json aliases = json::array({entry.name});
    for (const std::string_view alias : entry.aliases) aliases.push_back(alias);
    rows.push_back({{"name", entry.title}, {"aliases", std::move(aliases)}, {"options", json::object()}});
  }
  return rows;
}

json schedulers_json() {
  json rows = json::array();
  for (const ScheduleRow& row : kSchedules)
    rows.push_back({{"name", row.name},
                    {"label", row.label},
                    {"aliases", nullptr},
                    {"default_rho", -1.0},
                    {"need_inner_model", false}});
  return rows;
}

json loras_json(const ServerContext& context) {
  json rows = json::array();
  const auto worker = context.sd->worker();
  if (!worker) return rows;
  for (const StyleInfo& style : worker->info().styles)
    rows.push_back(
        {{"name", style.id}, {"alias", style.title}, {"path", ""}, {"metadata", {{"levels", style.levels}}}});
  return rows;
}

const std::shared_ptr<const ObjectRules>& sd_models_rules() {
  static const auto rules = response_array(
      "SdModels", "",
      {text("title", "For options and override_settings.").required(), text("model_name", "The same.").required(),
       text("hash", "null").nullable().required(), text("sha256", "null").nullable().required(),
       text("filename", "Of the checkpoint.").required(), text("config", "null").nullable().required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& samplers_rules() {
  static const auto rules =
      response_array("Samplers", "",
                     {text("name", "For sampler_name.").required(), texts("aliases", "Other names of it.").required(),
                      map("options", "Empty.").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& schedulers_rules() {
  static const auto rules =
      response_array("Schedulers", "",
                     {text("name", "For scheduler.").required(), text("label", "The same, for people.").required(),
                      texts("aliases", "null").nullable().required(), quantity("default_rho", "-1").required(),
                      boolean("need_inner_model", "false").required()});
  return rules;
}

const std::shared_ptr<const ObjectRules>& loras_rules() {
  static const auto rules = response_array(
      "Loras", "",
      {text("name", "For <lora:name:strength> in a prompt.").required(), text("alias", "Its title.").required(),
       text("path", "Empty.").required(), map("metadata", "levels: its ladder of strengths.").required()});
  return rules;
}

// --- options ---

struct OptionsBody {
  std::optional<std::string> checkpoint;
};

const Schema<OptionsBody>& options_schema() {
  using S = Schema<OptionsBody>;
  static const S schema(
      {.title = "SdOptions",
       .description = "Options to change. Others than these are ignored.",
       .unknown = UnknownFields::ignore},
      {S::field(text("sd_model_checkpoint", "A model to switch to, of /sdapi/v1/sd-models.").nullable(),
                &OptionsBody::checkpoint)});
  return schema;
}

json options_json(const ServerContext& context) {
  const std::vector<ServedModel> models = served_models(context);
  return {{"sd_model_checkpoint", models.empty() ? json() : json(models.front().id)},
          {"sd_checkpoint_hash", ""},
          {"sd_vae", "Automatic"},
          {"CLIP_stop_at_last_layers", 1},
          {"samples_format", "png"}};
}

const std::shared_ptr<const ObjectRules>& options_rules() {
  static const auto rules = response_object(
      "SdOptionsNow", "The options.",
      {text("sd_model_checkpoint", "The current model.").nullable().required(),
       text("sd_checkpoint_hash", "Empty.").required(), text("sd_vae", "Automatic.").required(),
       count("CLIP_stop_at_last_layers", "Clip skip.").required(), text("samples_format", "png").required()});
  return rules;
}

awaitable<HttpResponse> set_options(ContextPtr context, HttpRequest& request) {
  const OptionsBody body = parse_body(options_schema(), request);
  if (body.checkpoint && !body.checkpoint->empty()) {
    const ServedModel model = find_served_model(*context, *body.checkpoint);
    if (model.service != context->sd)
      fail(ErrorKind::not_found, "model \"{}\" cannot be switched to; it is at /generate_sdxl", model.id);
    if (!model.mode.empty() && model.mode != context->sd->current_mode()) co_await switch_mode(context, model.mode);
  }
  co_return HttpResponse::json(200, "null");
}

// --- progress ---

awaitable<HttpResponse> progress(ContextPtr context, BoardPtr board, HttpRequest& request) {
  const ProgressBoard::Shown shown = board->shown();
  json picture = nullptr;
  const auto skip = request.query.find("skip_current_image");
  if (shown.preview && (skip == request.query.end() || skip->second != "true"))
    picture = co_await run_blocking(*context->blocking,
                                    [&shown] { return encode_base64(encode_image(*shown.preview, ImageFormat::png)); });
  co_return json_response({{"progress", shown.progress},
                           {"eta_relative", shown.eta_s},
                           {"state",
                            {{"skipped", false},
                             {"interrupted", false},
                             {"stopping_generation", false},
                             {"job", shown.jobs > 0 ? "txt2img" : ""},
                             {"job_count", shown.jobs},
                             {"job_timestamp", "0"},
                             {"job_no", shown.jobs_done},
                             {"sampling_step", shown.step},
                             {"sampling_steps", shown.steps}}},
                           {"current_image", std::move(picture)},
                           {"textinfo", nullptr}});
}

const std::shared_ptr<const ObjectRules>& progress_rules() {
  static const auto state = response_object(
      "SdProgressState", "What is being done.",
      {boolean("skipped", "false").required(), boolean("interrupted", "false").required(),
       boolean("stopping_generation", "false").required(), text("job", "Empty where nothing is.").required(),
       count("job_count", "Pictures of the request.").required(), text("job_timestamp", "0").required(),
       count("job_no", "Pictures that are finished.").required(), count("sampling_step", "Steps done.").required(),
       count("sampling_steps", "Steps in all.").required()});
  static const auto rules =
      response_object("SdProgress", "Of the txt2img or img2img request that came last.",
                      {number("progress", 0, 1, "The share that is done.").required(),
                       quantity("eta_relative", "Seconds that are left.").required(),
                       object("state", state, "What is being done.").required(),
                       text("current_image", "A small PNG in base64, or null.").nullable().required(),
                       text("textinfo", "null").nullable().required()});
  return rules;
}

void add_list(Router& router, const std::string& pattern, const std::string& summary,
              const std::shared_ptr<const ObjectRules>& rules, std::function<json()> make) {
  add_route(router,
            {.method = "GET",
             .pattern = pattern,
             .handler = [make = std::move(make)](HttpRequest&) -> awaitable<HttpResponse> {
               co_return json_response(make());
             }},
            {.tag = "As AUTOMATIC1111's web UI",
             .summary = summary,
             .responses = {{200, "A list.", {{"application/json", rules}}}}});
}

}  // namespace

void register_sdapi_routes(Router& router, const ContextPtr& context) {
  const std::string tag = "As AUTOMATIC1111's web UI";
  const auto board = std::make_shared<ProgressBoard>();
  struct PictureRoute {
    const char* pattern;
    const char* summary;
    const Schema<SdapiBody>& schema;
  };
  for (const PictureRoute& row : {PictureRoute{"/sdapi/v1/txt2img", "Make pictures", txt2img_schema()},
                                  PictureRoute{"/sdapi/v1/img2img", "Change a picture", img2img_schema()}})
    add_route(router,
              {.method = "POST",
               .pattern = row.pattern,
               .handler = [context, board, &schema = row.schema](
                              HttpRequest& request) { return make_pictures(context, schema, board, request); },
               .max_body = kMaxPictureBody},
              {.tag = tag,
               .summary = row.summary,
               .request = {{"application/json", row.schema.rules()}},
               .responses = {{200, "The pictures.", {{"application/json", pictures_rules()}}}},
               .errors = {400, 404, 413, 422, 429, 500, 503, 504}});
  add_list(router, "/sdapi/v1/sd-models", "List the models", sd_models_rules(),
           [context] { return models_json(*context); });
  add_list(router, "/sdapi/v1/samplers", "List the samplers", samplers_rules(), [] { return samplers_json(); });
  add_list(router, "/sdapi/v1/schedulers", "List the schedules", schedulers_rules(), [] { return schedulers_json(); });
  add_list(router, "/sdapi/v1/loras", "List the styles", loras_rules(), [context] { return loras_json(*context); });
  add_list(router, "/sdapi/v1/options", "The options", options_rules(), [context] { return options_json(*context); });
  add_route(router,
            {.method = "POST",
             .pattern = "/sdapi/v1/options",
             .handler = [context](HttpRequest& request) { return set_options(context, request); }},
            {.tag = tag,
             .summary = "Change the options: switch the model",
             .request = {{"application/json", options_schema().rules()}},
             .responses = {{200, "null: they are changed.", {{"application/json", nullptr}}}},
             .errors = {400, 404, 413, 422, 500, 503}});
  add_route(router,
            {.method = "GET",
             .pattern = "/sdapi/v1/progress",
             .handler = [context, board](HttpRequest& request) { return progress(context, board, request); }},
            {.tag = tag,
             .summary = "How far txt2img and img2img are",
             .parameters = {{"skip_current_image", "true: without the small picture.", false}},
             .responses = {{200, "The progress.", {{"application/json", progress_rules()}}}}});
}

}  // namespace dreamlab
