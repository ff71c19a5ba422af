#include "server/generation.h"

#include <fmt/format.h>

#include <mutex>

#include "base/log.h"
#include "pipeline/upscaler.h"
#include "server/async.h"

namespace dreamlab {

namespace {

// Jobs that end together.
class JobGroup : public std::enable_shared_from_this<JobGroup> {
 public:
  explicit JobGroup(size_t count) : outcomes_(count), missing_(count) {}

  void submit(PipelineService& service, std::vector<JobRequest>& requests, const RunOptions& options) {
    for (size_t i = 0; i < requests.size(); ++i) {
      SubmitOptions submit;
      submit.with_latents = options.with_latents;
      submit.timeout_s = options.timeout_s;
      submit.previews = options.previews;
      submit.on_done = [self = shared_from_this(), i](JobOutcome outcome) { self->end(i, std::move(outcome)); };
      try {
        add(service.submit(std::move(requests[i]), std::move(submit)));
      } catch (...) {
        cancel();
        throw;
      }
    }
  }

  // done(true) once, when every job has ended.
  void when_ended(std::function<void(bool)> done) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (missing_ > 0) {
        ended_ = std::move(done);
        return;
      }
    }
    done(true);
  }

  void cancel() {
    std::vector<std::shared_ptr<JobTicket>> tickets;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      cancelled_ = true;
      tickets = tickets_;
    }
    for (const auto& ticket : tickets) ticket->cancel();
  }

  std::vector<std::shared_ptr<JobTicket>> tickets() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return tickets_;
  }

  // After the end. Throws the error that came first: the others were cancelled for it.
  std::vector<JobResult> take_results() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (first_error_) throw Error(*first_error_);
    std::vector<JobResult> results;
    for (auto& outcome : outcomes_) results.push_back(std::get<JobResult>(std::move(*outcome)));
    return results;
  }

 private:
  void add(const std::shared_ptr<JobTicket>& ticket) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tickets_.push_back(ticket);
      if (!cancelled_) return;
    }
    ticket->cancel();
  }

  void end(size_t index, JobOutcome outcome) {
    std::function<void(bool)> ended;
    bool others = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto* error = std::get_if<Error>(&outcome); error != nullptr && !first_error_) {
        first_error_ = *error;
        others = missing_ > 1;
      }
      outcomes_[index] = std::move(outcome);
      if (--missing_ == 0) ended = std::move(ended_);
    }
    if (others) cancel();
    if (ended) ended(true);
  }

  mutable std::mutex mutex_;
  std::vector<std::optional<JobOutcome>> outcomes_;
  std::vector<std::shared_ptr<JobTicket>> tickets_;
  std::optional<Error> first_error_;
  size_t missing_;
  bool cancelled_ = false;
  std::function<void(bool)> ended_;
};

}  // namespace

boost::asio::awaitable<GeneratedPictures> run_jobs(PipelineService& service, std::vector<JobRequest> requests,
                                                   RunOptions options, std::shared_ptr<Disconnect> disconnect) {
  const auto group = std::make_shared<JobGroup>(requests.size());
  group->submit(service, requests, options);
  // Weak: the connection may outlive the request by far.
  if (disconnect)
    disconnect->on_disconnect([weak = std::weak_ptr<JobGroup>(group)] {
      if (const auto left = weak.lock()) left->cancel();
    });
  if (options.on_submitted) options.on_submitted(group->tickets());
  co_await await_callback<bool>([&](std::function<void(bool)> done) { group->when_ended(std::move(done)); });
  GeneratedPictures pictures;
  pictures.results = group->take_results();
  pictures.mode = group->tickets().front()->mode();
  co_return pictures;
}

SuperResolutionService& super_resolution_of(const ServerContext& context) {
  if (!context.super_resolution)
    fail(ErrorKind::unavailable, "super-resolution is not enabled on this server; SR_ENABLED=1 enables it");
  return *context.super_resolution;
}

boost::asio::awaitable<SuperResolutionResult> run_super_resolution(SuperResolutionService& service,
                                                                   SuperResolutionRequest request,
                                                                   std::shared_ptr<Disconnect> disconnect) {
  SuperResolutionOutcome outcome =
      co_await await_callback<SuperResolutionOutcome>([&](std::function<void(SuperResolutionOutcome)> done) {
        const std::shared_ptr<CancelToken> token = service.submit(std::move(request), std::move(done));
        if (disconnect)
          disconnect->on_disconnect([weak = std::weak_ptr<CancelToken>(token)] {
            if (const auto left = weak.lock()) left->cancel();
          });
      });
  if (const auto* error = std::get_if<Error>(&outcome)) throw Error(*error);
  co_return std::get<SuperResolutionResult>(std::move(outcome));
}

void check_super_resolution(const ServerContext& context, PictureSize size, int magnitude) {
  try {
    upscaled_size(size, super_resolution_of(context).scale(), magnitude,
                  context.config.integer("SR_MAX_PIXELS").value());
  } catch (const Error& error) {
    fail(error.kind(), "superres_magnitude is {}: {}", magnitude, error.what());
  }
}

std::optional<PictureSize> expected_size(const ServerContext& context, const PipelineService& service,
                                         const JobRequest& request) {
  if (const auto size = request.own_size()) return size;
  const std::string mode = request.mode.empty() ? service.current_mode() : request.mode;
  if (context.modes && &service == context.sd.get()) {
    const auto found = context.modes->find(mode);
    if (found && found->size) return found->size;
  }
  if (const auto size = context.config.size("DEFAULT_SIZE")) return size;
  const auto worker = service.worker();
  if (!worker || mode != service.current_mode()) return std::nullopt;
  return worker->info().default_size;
}

std::string model_name(const ServerContext& context, const PipelineService& service, const std::string& mode) {
  if (!mode.empty() && mode != service.current_mode()) {
    const auto found = context.modes ? context.modes->find(mode) : std::nullopt;
    if (found) return found->model.stem().string();
  }
  const auto worker = service.worker();
  return worker ? worker->info().model : "";
}

boost::asio::awaitable<std::optional<std::string>> store_picture(const ServerContext& context,
                                                                 std::shared_ptr<const std::vector<uint8_t>> bytes,
                                                                 std::string content_type) {
  if (!context.storage) co_return std::nullopt;
  const std::shared_ptr<Storage> storage = context.storage;
  co_return co_await run_blocking(*context.blocking, [&]() -> std::optional<std::string> {
    try {
      std::string key = make_storage_key();
      storage->put(key, *bytes, content_type);
      return key;
    } catch (const Error& error) {
      log::warn("a picture could not be stored: {}", error.what());
      return std::nullopt;
    }
  });
}

std::string header_value(std::string_view text) {
  std::string value;
  for (const char c : text) value += c >= 0x20 && c < 0x7f ? c : '?';
  return value;
}

}  // namespace dreamlab
