#include "pipeline/pipeline.h"

#include <algorithm>
#include <chrono>

#include "base/elapsed.h"
#include "base/error.h"
#include "pipeline/initial_latents.h"
#include "weights/networks.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

template <typename T>
void check_range(std::string_view what, T value, T smallest, T largest) {
  if (!(value >= smallest && value <= largest)) {
    fail(ErrorKind::invalid_argument, "{} {} is out of range; {}..{} is allowed", what, value, smallest, largest);
  }
}

void check_picture(std::string_view what, const Image& image, PictureSize size) {
  if (image.width != size.width || image.height != size.height) {
    fail(ErrorKind::invalid_argument, "Invalid size of the {}: {}x{}, but the picture to make is {}", what, image.width,
         image.height, to_string(size));
  }
}

void check_latents(const Latents& latents, PictureSize size) {
  if (latents.width * kLatentScale != size.width || latents.height * kLatentScale != size.height) {
    fail(ErrorKind::invalid_argument, "Invalid size of the initial latents: {}x{}, but a picture of {} has {}x{}",
         latents.width, latents.height, to_string(size), size.width / kLatentScale, size.height / kLatentScale);
  }
}

bool is_tiled(TilingMode mode, int64_t pixels) {
  return mode == TilingMode::on || (mode == TilingMode::automatic && pixels >= kTiledPixels);
}

VaeTiling tiling_of(TilingMode mode) {
  VaeTiling tiling;
  tiling.latent_tile = mode == TilingMode::on ? kRequestedTile : kAutomaticTile;
  return tiling;
}

ModelConfig with_unet(ModelConfig config, const Checkpoint* other) {
  if (other != nullptr) config.unet = other->config().unet;
  return config;
}

std::unique_ptr<Checkpoint> open_optional(const std::filesystem::path& path) {
  return path.empty() ? nullptr : Checkpoint::open(path);
}

void check_cancelled(const CancelToken* cancel) {
  if (cancel != nullptr) cancel->throw_if_cancelled();
}

}  // namespace

Pipeline::Pipeline(Device& device, std::shared_ptr<const Checkpoint> checkpoint, const PipelineOptions& options)
    : device_(device), checkpoint_(std::move(checkpoint)), text_(device, *checkpoint_) {
  check_cancelled(options.cancel);
  const std::unique_ptr<Checkpoint> other_unet = open_optional(options.unet);
  config_ = with_unet(checkpoint_->config(), other_unet.get());
  unet_ = std::make_unique<UNet>(device, config_.unet, other_unet ? other_unet->unet() : checkpoint_->unet());
  denoiser_ = std::make_unique<Denoiser>(device, *unet_);
  check_cancelled(options.cancel);
  if (!options.vae.empty()) {
    NetworkFile<VaeConfig> other_vae = open_vae(options.vae);
    config_.vae = other_vae.config;
    vae_weights_ = std::move(other_vae.weights);
  }
  if (device.compute_dtype() == DType::f16 && config_.is_sdxl()) wide_device_ = device.with_dtype(DType::bf16);
  vae_decoder_ =
      std::make_unique<VaeDecoder>(vae_device(), config_.vae, vae_weights_ ? *vae_weights_ : checkpoint_->vae());
  device.trim();  // of what packing the weights needed
}

Pipeline::~Pipeline() = default;

GenerationRequest Pipeline::default_request() const {
  GenerationRequest request;
  request.size = {config_.native_size, config_.native_size};
  return request;
}

void Pipeline::check(const GenerationRequest& request) const {
  check_size(request.size);
  check_range("steps", request.steps, kMinSteps, kMaxSteps);
  check_range("guidance scale", request.guidance_scale, 0.0, kMaxGuidance);
  check_range("guidance rescale", request.guidance_rescale, 0.0, 1.0);
  check_range("strength", request.strength, 1e-6, 1.0);
  if (request.eta) check_range("eta", *request.eta, 0.0, 1.0);
  find_sampler(request.sampler);
  text_.check_clip_skip(request.clip_skip);
  if (request.mask && !request.init_image) {
    fail(ErrorKind::invalid_argument, "a mask needs the picture that it belongs to");
  }
  if (request.init_image) check_picture("initial picture", *request.init_image, request.size);
  if (request.mask) check_picture("mask", *request.mask, request.size);
  if (request.init_latents) check_latents(*request.init_latents, request.size);
}

bool Pipeline::uses_guidance(const GenerationRequest& request) const {
  return request.guidance_scale > 1.0 && config_.unet.time_cond_proj_dim == 0;
}

GenerationResult Pipeline::generate(const GenerationRequest& request, const StepCallback& on_step,
                                    const CancelToken* cancel) {
  return std::move(generate_batch(std::span(&request, 1), on_step, cancel).front());
}

std::vector<GenerationResult> Pipeline::generate_batch(std::span<const GenerationRequest> requests,
                                                       const StepCallback& on_step, const CancelToken* cancel) {
  const auto begin = Clock::now();
  GenerationTimings timings;
  for (const GenerationRequest& request : requests) {
    check(request);
    if (request.size != requests[0].size) {
      fail(ErrorKind::invalid_argument, "Invalid size '{}' in a batch of {}: all pictures of a batch have one size",
           to_string(request.size), to_string(requests[0].size));
    }
  }

  std::vector<std::unique_ptr<DenoisingJob>> jobs;
  for (const GenerationRequest& request : requests) jobs.push_back(start(request, &timings, cancel));
  int calls = 0;
  for (const auto& job : jobs) calls = std::max(calls, job->calls());

  const auto denoising = Clock::now();
  for (int call = 0; call < calls; ++call) {
    const auto step = Clock::now();
    std::vector<DenoisingJob*> running;
    for (const auto& job : jobs) {
      if (!job->done()) running.push_back(job.get());
    }
    advance(running, cancel);
    timings.step_ms.push_back(milliseconds_since(step));
    if (on_step && !on_step({call + 1, calls, timings.step_ms.back()})) fail(ErrorKind::cancelled, "cancelled");
  }
  timings.denoise_ms = milliseconds_since(denoising);

  const auto decoding = Clock::now();
  std::vector<GenerationResult> results;
  for (size_t i = 0; i < requests.size(); ++i) {
    GenerationResult result;
    result.seed = requests[i].seed;
    result.latents = jobs[i]->latents();
    result.fingerprint = latent_fingerprint(result.latents);
    result.image = decode_image(result.latents, requests[i].vae_tiling, cancel);
    results.push_back(std::move(result));
  }
  timings.decode_ms = milliseconds_since(decoding);
  timings.total_ms = milliseconds_since(begin);
  for (GenerationResult& result : results) result.timings = timings;
  return results;
}

std::unique_ptr<DenoisingJob> Pipeline::start(DenoisingInputs inputs, const CancelToken* cancel) {
  return denoiser_->start(std::move(inputs), cancel);
}

void Pipeline::advance(std::span<DenoisingJob* const> jobs, const CancelToken* cancel) {
  denoiser_->advance(jobs, cancel);
}

Tensor Pipeline::unscaled(const Latents& latents) const {
  std::vector<float> raw(latents.values.size());
  const auto scale = static_cast<float>(config_.vae.scaling_factor);
  std::transform(latents.values.begin(), latents.values.end(), raw.begin(),
                 [scale](float value) { return value / scale; });
  return vae_device().upload(raw, {1, latents.height, latents.width, latents.channels});
}

Tensor Pipeline::decode_on_device(const Latents& latents, TilingMode tiling, const CancelToken* cancel) const {
  const Context context{vae_device(), nullptr, cancel, {}};
  const Tensor input = unscaled(latents);
  const int64_t pixels = latents.height * latents.width * kLatentScale * kLatentScale;
  return is_tiled(tiling, pixels) ? vae_decoder_->decode_tiled(context, input, tiling_of(tiling))
                                  : vae_decoder_->decode(context, input);
}

std::vector<float> Pipeline::decode(const Latents& latents, TilingMode tiling, const CancelToken* cancel) const {
  return vae_device().download(decode_on_device(latents, tiling, cancel));
}

Image Pipeline::decode_image(const Latents& latents, TilingMode tiling, const CancelToken* cancel) const {
  const Tensor picture = decode_on_device(latents, tiling, cancel);
  Image image;
  image.width = picture.dim(2);
  image.height = picture.dim(1);
  image.channels = 3;
  image.pixels = vae_device().download_pixels(picture);
  return image;
}

Latents Pipeline::encode(std::span<const float> picture, PictureSize size, const Latents& posterior_noise,
                         TilingMode tiling, const CancelToken* cancel) {
  const Context context{vae_device(), nullptr, cancel, {}};
  const Tensor input = context.device.upload(picture, {1, size.height, size.width, 3});
  const VaeEncoder& encoder = vae_encoder();
  const LatentDistribution distribution = is_tiled(tiling, size.width * size.height)
                                              ? encoder.encode_tiled(context, input, tiling_of(tiling))
                                              : encoder.encode(context, input);
  std::vector<float> values = distribution.sample(posterior_noise.values);
  for (float& value : values) value *= static_cast<float>(config_.vae.scaling_factor);
  return Latents(posterior_noise.height, posterior_noise.width, posterior_noise.channels, std::move(values));
}

const VaeEncoder& Pipeline::vae_encoder() {
  if (!vae_encoder_) {
    vae_encoder_ =
        std::make_unique<VaeEncoder>(vae_device(), config_.vae, vae_weights_ ? *vae_weights_ : checkpoint_->vae());
  }
  return *vae_encoder_;
}

TextPair Pipeline::encode_text(const GenerationRequest& request, const CancelToken* cancel) {
  TextRequest text;
  text.prompt = request.prompt;
  if (uses_guidance(request)) text.negative_prompt = request.negative_prompt;
  text.emphasis = request.emphasis;
  text.clip_skip = request.clip_skip;
  text.loras = request.loras;
  return text_.encode(text, cancel);
}

std::vector<float> Pipeline::time_ids(const GenerationRequest& request, bool negative) const {
  if (!config_.is_sdxl()) return {};
  const PictureSize original = request.original_size.value_or(request.size);
  const PictureSize target = request.target_size.value_or(request.size);
  std::vector<float> ids;
  for (int64_t number : {original.height, original.width, request.crop_top, request.crop_left}) {
    ids.push_back(static_cast<float>(number));
  }
  if (config_.requires_aesthetics_score) {
    ids.push_back(static_cast<float>(negative ? request.negative_aesthetic_score : request.aesthetic_score));
  } else {
    ids.push_back(static_cast<float>(target.height));
    ids.push_back(static_cast<float>(target.width));
  }
  return ids;
}

std::shared_ptr<const LoraAdapter> Pipeline::load_lora(const std::filesystem::path& path) const {
  return std::make_shared<LoraAdapter>(device_, LoraFile::open(path, &config_).layers());
}

namespace {

std::unique_ptr<Sampler> sampler_for(const GenerationRequest& request, const NoiseScheduleConfig& schedule) {
  SamplerOptions options;
  options.steps = request.steps;
  options.strength = request.init_image && !request.init_latents ? request.strength : 1.0;
  options.denoising_start = request.denoising_start;
  options.denoising_end = request.denoising_end;
  options.eta = request.eta;
  return make_sampler(request.sampler, schedule, options);
}

}  // namespace

std::unique_ptr<DenoisingJob> Pipeline::start(const GenerationRequest& request, GenerationTimings* timings,
                                              const CancelToken* cancel) {
  check(request);
  check_cancelled(cancel);
  if (!is_tiled(request.vae_tiling, request.size.width * request.size.height))
    vae_decoder_->expect(vae_device(), request.size.height / kLatentScale, request.size.width / kLatentScale);
  DenoisingInputs inputs;
  inputs.sampler = sampler_for(request, config_.schedule);
  inputs.noise = make_noise_source(request.noise, request.seed);

  const auto text = Clock::now();
  inputs.text = encode_text(request, cancel);
  const double text_ms = milliseconds_since(text);

  const auto pictures = Clock::now();
  prepare_latents(*this, request, inputs, cancel);
  const double encode_ms = milliseconds_since(pictures);
  if (timings != nullptr) {
    timings->text_ms += text_ms;
    timings->encode_ms += encode_ms;
  }

  inputs.time_ids = time_ids(request, false);
  inputs.negative_time_ids = time_ids(request, true);
  inputs.guidance_scale = request.guidance_scale;
  inputs.guidance_rescale = request.guidance_rescale;
  inputs.loras = request.loras;
  return denoiser_->start(std::move(inputs), cancel);
}

}  // namespace dreamlab
