#include "worker/diffusion_worker.h"

#include <chrono>
#include <utility>

#include "base/elapsed.h"
#include "base/error.h"
#include "base/log.h"
#include "device/make_device.h"
#include "scheduler/sampler.h"
#include "worker/job_rules.h"
#include "worker/latent_preview.h"
#include "worker/picture_job.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

std::shared_ptr<const Image> resized(const std::shared_ptr<const Image>& picture, PictureSize size) {
  if (!picture || (picture->width == size.width && picture->height == size.height)) return picture;
  return std::make_shared<Image>(resize_image(*picture, size.width, size.height));
}

// That the sampler takes this number of steps, or what the strength leaves of them.
void check_steps(const GenerationRequest& request, bool from_picture, const NoiseScheduleConfig& schedule) {
  SamplerOptions options;
  options.steps = request.steps;
  if (from_picture) options.strength = request.strength;
  make_sampler(request.sampler, schedule, options);
}

}  // namespace

DiffusionWorker::DiffusionWorker(std::string_view name, bool sdxl, const WorkerOptions& options,
                                 std::shared_ptr<const Checkpoint> checkpoint)
    : options_(options) {
  check_family(checkpoint->path(), checkpoint->config(), sdxl);
  const int64_t side = checkpoint->config().native_size;
  info_ = describe_worker(name, checkpoint->path(), {side, side}, options);
  info_.family = name_of(checkpoint->config().family);

  device_ = make_device({options.backend, options.backend == "cpu" ? options.dtype : "auto", options.threads,
                         options.memory_limit, options.cuda});
  info_.device = device_->description();
  info_.dtype = name_of(device_->compute_dtype());
  PipelineOptions pipeline_options;
  pipeline_options.cancel = options.cancel;
  pipeline_ = std::make_unique<Pipeline>(*device_, std::move(checkpoint), pipeline_options);
  info_.cross_attention_dim = pipeline_->config().unet.cross_attention_dim;
  styles_ = std::make_unique<StyleShelf>(*pipeline_, options.styles);
  info_.styles = styles_->infos();
  check({});  // the defaults
}

// Does `work`; where memory does not suffice, once more after all that was kept has been given back.
void DiffusionWorker::with_memory(const std::function<void()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory) throw;
    log::warn("{}; trying again with what can be freed", error.what());
  }
  device_->trim();
  try {
    work();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::out_of_memory) throw;
    device_->trim();
    fail(ErrorKind::out_of_memory, "{}; a smaller picture needs less", error.what());
  }
}

void DiffusionWorker::check(const JobRequest& job) const {
  const GenerationRequest request = resolve_request(job, info_, options_);
  check_ranges(job, request);
  pipeline_->check(request);
  check_steps(request, job.init_image != nullptr, pipeline_->config().schedule);
  styles_->check(job.style);
  check_prompt("prompt", job.prompt);
  check_prompt("negative prompt", job.negative_prompt);
}

std::unique_ptr<ActiveJob> DiffusionWorker::start(const Job& job) {
  job.cancel_token().throw_if_cancelled();
  check(job.request());
  auto active = std::make_unique<PictureJob>(job, resolve_request(job.request(), info_, options_));
  GenerationRequest& request = active->request;
  request.seed = job.request().seed ? *job.request().seed : random_seed();
  request.init_image = resized(job.request().init_image, request.size);
  request.mask = resized(job.request().mask, request.size);
  request.loras = styles_->uses(job.request().style);
  with_memory([&] { active->denoising = pipeline_->start(request, &active->timings, &job.cancel_token()); });
  return active;
}

void DiffusionWorker::advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) {
  std::vector<DenoisingJob*> denoising;
  for (ActiveJob* job : jobs) denoising.push_back(static_cast<PictureJob*>(job)->denoising.get());
  const auto begin = Clock::now();
  // Where there are several, whoever asked may try fewer at a time.
  if (jobs.size() > 1)
    pipeline_->advance(denoising, cancel);
  else
    with_memory([&] { pipeline_->advance(denoising, cancel); });
  const double step_ms = milliseconds_since(begin);
  for (ActiveJob* job : jobs) {
    GenerationTimings& timings = static_cast<PictureJob*>(job)->timings;
    timings.step_ms.push_back(step_ms);
    timings.denoise_ms += step_ms;
  }
}

JobResult DiffusionWorker::finish(ActiveJob& active) {
  auto& job = static_cast<PictureJob&>(active);
  const GenerationRequest& request = job.request;
  const Latents& latents = job.denoising->latents();
  JobResult result;
  result.latents = latent_fingerprint(latents);

  const auto decoding = Clock::now();
  TilingMode tiling = request.vae_tiling;
  with_memory([&] {
    const TilingMode now = std::exchange(tiling, TilingMode::on);  // should it be tried again
    result.picture = std::make_shared<Image>(pipeline_->decode_image(latents, now, &job.job.cancel_token()));
  });
  job.timings.decode_ms = milliseconds_since(decoding);

  encode_result(result, request, info_, job.job.request().style);
  job.timings.total_ms = milliseconds_since(job.started);
  result.timings = job.timings;
  return result;
}

Image DiffusionWorker::preview(const ActiveJob& active) {
  return latent_preview(*static_cast<const PictureJob&>(active).denoising, pipeline_->config().family);
}

}  // namespace dreamlab
