#include "worker/diffusion_worker.h"

#include <chrono>
#include <utility>

#include "base/elapsed.h"
#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "device/make_device.h"
#include "pipeline/parameters_text.h"
#include "scheduler/sampler.h"
#include "text/prompt.h"
#include "worker/latent_preview.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

class DiffusionJob final : public ActiveJob {
 public:
  DiffusionJob(const Job& job, GenerationRequest request) : job(job), request(std::move(request)) {}

  PictureSize size() const override { return request.size; }
  int rows() const override { return static_cast<int>(denoising->rows()); }
  int step() const override { return denoising->call(); }
  int steps() const override { return denoising->calls(); }

  const Job& job;
  GenerationRequest request;
  std::unique_ptr<DenoisingJob> denoising;
  GenerationTimings timings;
  Clock::time_point started = Clock::now();
};

// What a picture tells of its style.
std::vector<std::pair<std::string, std::string>> style_fields(const WorkerInfo& info,
                                                              const std::optional<StyleChoice>& choice) {
  if (!choice || choice->level == 0) return {};
  for (const StyleInfo& style : info.styles) {
    if (style.id != choice->style) continue;
    const int level = std::min(choice->level, static_cast<int>(style.levels.size()));
    return {{"Style", style.id}, {"Style level", std::to_string(level)}};
  }
  return {};
}

void check_prompt(std::string_view what, const std::string& prompt) {
  if (prompt.size() > kMaxPromptBytes)
    fail(ErrorKind::invalid_argument, "{} of {} bytes is too long; {} are allowed", what, prompt.size(),
         kMaxPromptBytes);
  const int64_t windows = tokenize_prompt(prompt, {}).windows;
  if (windows > kMaxPromptWindows)
    fail(ErrorKind::invalid_argument, "{} of {} windows of {} tokens is too long; {} are allowed", what, windows,
         kWindowCapacity, kMaxPromptWindows);
}

template <typename T>
void check_range(std::string_view what, T value, T smallest, T largest) {
  if (!(value >= smallest && value <= largest))
    fail(ErrorKind::invalid_argument, "{} {} is out of range; {}..{} is allowed", what, value, smallest, largest);
}

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
  info_.worker = name;
  info_.model = model_name(checkpoint->path());
  info_.family = name_of(checkpoint->config().family);
  info_.default_size = options.size.value_or(PictureSize{side, side});
  info_.default_steps = options.steps;
  info_.default_guidance = options.guidance;
  info_.default_scheduler = find_sampler(options.scheduler).name;

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

GenerationRequest DiffusionWorker::resolve(const JobRequest& job) const {
  GenerationRequest request;
  request.prompt = job.prompt;
  request.negative_prompt = job.negative_prompt;
  request.size = job.own_size().value_or(info_.default_size);
  request.steps = job.steps.value_or(info_.default_steps);
  request.guidance_scale = job.guidance_scale.value_or(info_.default_guidance);
  request.sampler = job.scheduler.empty() ? info_.default_scheduler : find_sampler(job.scheduler).name;
  request.clip_skip = job.clip_skip;
  request.strength = job.strength;
  request.noise = options_.noise;
  request.vae_tiling = options_.vae_tiling;
  return request;
}

void DiffusionWorker::check(const JobRequest& job) const {
  const GenerationRequest request = resolve(job);
  check_size(request.size);
  check_range("steps", request.steps, kMinSteps, kMaxJobSteps);
  check_range("guidance scale", request.guidance_scale, 0.0, kMaxJobGuidance);
  if (job.mask && !job.init_image) fail(ErrorKind::invalid_argument, "a mask needs the picture that it belongs to");
  pipeline_->check(request);
  check_steps(request, job.init_image != nullptr, pipeline_->config().schedule);
  styles_->check(job.style);
  check_prompt("prompt", job.prompt);
  check_prompt("negative prompt", job.negative_prompt);
}

std::unique_ptr<ActiveJob> DiffusionWorker::start(const Job& job) {
  job.cancel_token().throw_if_cancelled();
  check(job.request());
  auto active = std::make_unique<DiffusionJob>(job, resolve(job.request()));
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
  for (ActiveJob* job : jobs) denoising.push_back(static_cast<DiffusionJob*>(job)->denoising.get());
  const auto begin = Clock::now();
  // Where there are several, whoever asked may try fewer at a time.
  if (jobs.size() > 1)
    pipeline_->advance(denoising, cancel);
  else
    with_memory([&] { pipeline_->advance(denoising, cancel); });
  const double step_ms = milliseconds_since(begin);
  for (ActiveJob* job : jobs) {
    GenerationTimings& timings = static_cast<DiffusionJob*>(job)->timings;
    timings.step_ms.push_back(step_ms);
    timings.denoise_ms += step_ms;
  }
}

JobResult DiffusionWorker::finish(ActiveJob& active) {
  auto& job = static_cast<DiffusionJob&>(active);
  const GenerationRequest& request = job.request;
  const Latents& latents = job.denoising->latents();
  JobResult result;
  result.seed = request.seed;
  result.latents = latent_fingerprint(latents);

  const auto decoding = Clock::now();
  TilingMode tiling = request.vae_tiling;
  with_memory([&] {
    const TilingMode now = std::exchange(tiling, TilingMode::on);  // should it be tried again
    result.picture = std::make_shared<Image>(pipeline_->decode_image(latents, now, &job.job.cancel_token()));
  });
  job.timings.decode_ms = milliseconds_since(decoding);

  const auto encoding = Clock::now();
  result.parameters =
      parameters_text(request, info_.model, std::string(program_name()), style_fields(info_, job.job.request().style));
  EncodeOptions options;
  options.texts = {{"parameters", result.parameters}};
  result.png = encode_image(*result.picture, ImageFormat::png, options);
  result.encode_png_ms = milliseconds_since(encoding);
  job.timings.total_ms = milliseconds_since(job.started);
  result.timings = job.timings;
  return result;
}

Image DiffusionWorker::preview(const ActiveJob& active) {
  const DenoisingJob& job = *static_cast<const DiffusionJob&>(active).denoising;
  Latents latents = job.latents();
  // As the network takes them, their noise is of one size for all samplers.
  if (!job.done()) job.inputs().sampler->scale_model_input(job.call(), latents.values, latents.values);
  return latent_preview(latents, pipeline_->config().family);
}

}  // namespace dreamlab
