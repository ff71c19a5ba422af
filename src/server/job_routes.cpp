// /api/jobs: pictures that are asked for now and fetched later, with events on the way.
#include <boost/asio/co_spawn.hpp>
#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>

#include "server/async.h"
#include "server/base64.h"
#include "server/generate_request.h"
#include "server/generated_picture.h"
#include "server/route_modules.h"
#include "service/job_registry.h"

namespace dreamlab {

namespace {

using boost::asio::awaitable;
using nlohmann::json;

constexpr auto kKeepAlive = std::chrono::seconds(15);
constexpr int64_t kPreviewSide = 128;
constexpr int kPreviewQuality = 75;

const std::string kTag = "Jobs";

// --- what becomes of a picture once it is painted ---

std::map<std::string, std::string> details_of(const FinishedPicture& picture) {
  std::map<std::string, std::string> details;
  for (auto& [name, value] : picture_response(picture, "").headers) {
    if (name.rfind("X-", 0) == 0) details[name] = value;
  }
  return details;
}

JobFile file_of(const FinishedPicture& picture, std::string parameters) {
  JobFile file;
  file.bytes = *picture.bytes;
  file.content_type = mime_type_of(picture.format);
  file.seed = picture.seed;
  file.parameters = std::move(parameters);
  file.details = details_of(picture);
  return file;
}

using JobFileOutcome = std::variant<JobFile, Error>;

awaitable<JobFileOutcome> finish_job(ContextPtr context, std::shared_ptr<const GenerateBody> body, std::string mode,
                                     JobResult result, std::shared_ptr<CancelToken> cancel) {
  try {
    std::string parameters = result.parameters;
    FinishedPicture picture = co_await finish_picture(context, std::move(result), *body, nullptr, cancel);
    picture.mode = mode;
    picture.model = model_name(*context, *context->sd, mode);
    co_return file_of(picture, std::move(parameters));
  } catch (const Error& error) {
    co_return error;
  } catch (const std::exception& error) {
    co_return Error(ErrorKind::internal, error.what());
  }
}

FinishJob finisher(ContextPtr context, std::shared_ptr<const GenerateBody> body) {
  const std::string mode = body->mode.empty() ? context->sd->current_mode() : body->mode;
  return [context = std::move(context), body = std::move(body), mode](
             JobResult result, const std::shared_ptr<CancelToken>& cancel, std::function<void(JobFileOutcome)> done) {
    boost::asio::co_spawn(*context->blocking, finish_job(context, body, mode, std::move(result), cancel),
                          [done = std::move(done)](const std::exception_ptr& error, JobFileOutcome outcome) {
                            done(error ? JobFileOutcome(Error(ErrorKind::internal, "the picture could not be finished"))
                                       : std::move(outcome));
                          });
  };
}

// --- what is told of a job ---

const std::shared_ptr<const ObjectRules>& job_rules() {
  static const auto rules = response_object(
      "Job", "A picture on its way.",
      {text("id", "Its name.").required(),
       choice("state", {"queued", "running", "done", "failed", "cancelled"}, "Where it stands.").required(),
       count("position", "In the queue; 1: next; 0: no longer in it.").required(),
       count("step", "Steps done.").required(), count("steps", "Steps in all; 0 while it is queued.").required(),
       quantity("step_ms", "Milliseconds of the last step.").required(),
       text("mode", "That it is made in; null where modes are not used.").nullable().required(),
       quantity("submitted", "When, in seconds since 1970.").required(),
       quantity("ended", "When, or null.").nullable().required(),
       text("error", "Why it failed, or null.").nullable().required(),
       count("seed", "The seed that was used, once it is done; else null.").nullable().required(),
       text("image", "Path of the picture, once it is done; else null.").nullable().required(),
       map("details", "The headers of /generate, once it is done.").required()});
  return rules;
}

double seconds(JobRecord::Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

json job_json(const JobRecord& job) {
  const bool done = job.file != nullptr;
  return {{"id", job.id},
          {"state", name_of(job.progress.state)},
          {"position", job.progress.position},
          {"step", job.progress.step},
          {"steps", job.progress.steps},
          {"step_ms", job.progress.step_ms},
          {"mode", job.mode.empty() ? json() : json(job.mode)},
          {"submitted", seconds(job.submitted)},
          {"ended", job.ended ? json(seconds(*job.ended)) : json()},
          {"error", job.error ? json(job.error->what()) : json()},
          {"seed", done ? json(job.file->seed) : json()},
          {"image", done ? json("/api/jobs/" + job.id + "/image") : json()},
          {"details", done ? json(job.file->details) : json::object()}};
}

HttpResponse job_response(int status, const JobRecord& job) {
  HttpResponse response =
      HttpResponse::json(status, job_json(job).dump(-1, ' ', false, json::error_handler_t::replace));
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

[[noreturn]] void refuse_unknown(const std::string& id) {
  fail(ErrorKind::not_found, "there is no job {}, or it is no longer kept", header_value(id.substr(0, 64)));
}

JobRecord find_job(const ServerContext& context, const HttpRequest& request) {
  const std::string& id = request.parameters.at("id");
  auto job = context.jobs->find(id);
  if (!job) refuse_unknown(id);
  return *std::move(job);
}

// --- handlers ---

awaitable<HttpResponse> submit_job(ContextPtr context, HttpRequest& request) {
  auto body = std::make_shared<GenerateBody>(parse_body(generate_schema(), request));
  co_await run_blocking(*context->blocking, [&body] { decode_pictures(*body); });
  check_post_processing(*context, *context->sd, *body);
  const JobRecord job =
      context->jobs->submit(*context->sd, *body, body->timeout_s, true, finisher(context, body), body->latents);
  HttpResponse response = job_response(202, job);
  response.headers.emplace_back("Location", "/api/jobs/" + job.id);
  co_return response;
}

awaitable<HttpResponse> job_image(ContextPtr context, HttpRequest& request) {
  const JobRecord job = find_job(*context, request);
  if (job.error) throw Error(*job.error);
  if (!job.file) throw HttpError(409, "the job is not done yet; its events say when");
  HttpResponse response;
  response.headers.emplace_back("Content-Type", job.file->content_type);
  response.headers.emplace_back("Cache-Control", "no-store");
  for (const auto& [name, value] : job.file->details) response.headers.emplace_back(name, value);
  response.body.assign(job.file->bytes.begin(), job.file->bytes.end());
  co_return response;
}

// --- events ---

// A small JPEG as a data URL.
std::string preview_url(const Image& preview) {
  const int64_t longest = std::max(preview.width, preview.height);
  const int64_t side = std::min(longest, kPreviewSide);
  const Image small = resize_image(preview, std::max<int64_t>(1, preview.width * side / longest),
                                   std::max<int64_t>(1, preview.height * side / longest));
  return "data:image/jpeg;base64," + encode_base64(encode_image(small, ImageFormat::jpeg, {kPreviewQuality, {}}));
}

std::string event_text(std::string_view name, const json& data, int number) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", number, name,
                     data.dump(-1, ' ', false, json::error_handler_t::replace));
}

// The events' names are the states; "running" is a "step".
std::string_view event_name(const JobRecord& job) {
  return job.progress.state == JobState::running ? "step" : name_of(job.progress.state);
}

// Apart from the coroutine: GCC 12 cannot keep the lists of a JSON value across a co_await.
std::string preview_text(const JobRecord& job, const std::string& url, int number) {
  return event_text("preview", {{"id", job.id}, {"step", job.progress.step}, {"image", url}}, number);
}

awaitable<void> write_event(ServerContext& context, BodyWriter& writer, const JobRecord& job, int& number) {
  co_await writer.write(event_text(event_name(job), job_json(job), ++number));
  const std::shared_ptr<const Image> preview = job.progress.preview;
  if (!preview) co_return;
  const std::string url = co_await run_blocking(*context.blocking, [&preview] { return preview_url(*preview); });
  co_await writer.write(preview_text(job, url, ++number));
}

awaitable<void> write_events(ContextPtr context, std::string id, BodyWriter& writer) {
  // Shared: the last call may be under way when the listener lets go.
  const auto box = std::make_shared<Mailbox<JobRecord>>();
  const auto subscription = context->jobs->follow(id, [box](const JobRecord& job) { box->put(job); });
  if (!subscription) co_return;  // it was forgotten after the header was sent
  int number = 0;
  for (;;) {
    const auto taken = co_await box->take(kKeepAlive);
    if (taken.why == Mailbox<JobRecord>::Why::timeout) {
      co_await writer.write(": still here\n\n");
      continue;
    }
    co_await write_event(*context, writer, *taken.value, number);
    if (taken.value->has_ended()) co_return;
  }
}

awaitable<HttpResponse> job_events(ContextPtr context, HttpRequest& request) {
  const JobRecord job = find_job(*context, request);
  HttpResponse response;
  response.headers.emplace_back("Content-Type", "text/event-stream");
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("X-Accel-Buffering", "no");  // proxies that collect answers must not
  response.stream = [context, id = job.id](BodyWriter& writer) { return write_events(context, id, writer); };
  co_return response;
}

std::vector<ParameterDescription> id_parameter() {
  return {{"id", "The job's id."}};
}

}  // namespace

void register_job_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "POST",
             .pattern = "/api/jobs",
             .handler = [context](HttpRequest& request) { return submit_job(context, request); },
             .max_body = kMaxPictureBody},
            {.tag = kTag,
             .summary = "Ask for a picture and come back for it",
             .details = "Answers at once. Finished jobs are kept for some minutes.",
             .request = {{"application/json", generate_schema().rules()}},
             .responses = {{202,
                            "It is in the queue.",
                            {{"application/json", job_rules()}},
                            {{"Location", "Path of the job."}, {"Cache-Control", "no-store"}}}},
             .errors = {400, 413, 422, 429, 503}});
  add_route(router,
            {.method = "GET",
             .pattern = "/api/jobs/{id}",
             .handler = [context](HttpRequest& request) -> awaitable<HttpResponse> {
               co_return job_response(200, find_job(*context, request));
             }},
            {.tag = kTag,
             .summary = "Where a job stands",
             .parameters = id_parameter(),
             .responses = {{200, "The job.", {{"application/json", job_rules()}}}},
             .errors = {404}});
  add_route(router,
            {.method = "GET",
             .pattern = "/api/jobs/{id}/image",
             .handler = [context](HttpRequest& request) { return job_image(context, request); }},
            {.tag = kTag,
             .summary = "The finished picture",
             .details = "Of a job that failed, its error: 500, 504, ...",
             .parameters = id_parameter(),
             .responses = {{200,
                            "The picture, with the headers of /generate.",
                            {{"image/png", nullptr}, {"image/jpeg", nullptr}},
                            picture_headers()}},
             .errors = {404, 409, 422, 500, 503, 504}});
  add_route(router,
            {.method = "GET",
             .pattern = "/api/jobs/{id}/events",
             .handler = [context](HttpRequest& request) { return job_events(context, request); }},
            {.tag = kTag,
             .summary = "What becomes of a job, as server-sent events",
             .details = "queued (at every position), step, preview (a small JPEG as a data URL), and last done, failed "
                        "or cancelled. The data of all but preview is the job. A listener that comes later hears where "
                        "the job stands, then what follows.",
             .parameters = id_parameter(),
             .responses = {{200, "Events, until the job has ended.", {{"text/event-stream", nullptr}}}},
             .errors = {404}});
  add_route(router,
            {.method = "DELETE",
             .pattern = "/api/jobs/{id}",
             .handler = [context](HttpRequest& request) -> awaitable<HttpResponse> {
               const JobRecord job = find_job(*context, request);
               context->jobs->cancel(job.id);
               co_return job_response(200, find_job(*context, request));
             }},
            {.tag = kTag,
             .summary = "Cancel a job",
             .details = "It stops within a step. Without effect on one that has ended.",
             .parameters = id_parameter(),
             .responses = {{200, "The job, which may still be stopping.", {{"application/json", job_rules()}}}},
             .errors = {404}});
}

}  // namespace dreamlab
