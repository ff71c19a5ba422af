#include "worker/rknn_worker.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/elapsed.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "layer/timestep_embedding.h"
#include "pipeline/denoising_job.h"
#include "scheduler/sampler.h"
#include "text/emphasis.h"
#include "text/prompt.h"
#include "weights/config_json.h"
#include "worker/job_rules.h"
#include "worker/latent_preview.h"
#include "worker/picture_job.h"
#include "worker/rknn_model_set.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLatentChannels = 4;
constexpr double kScalingFactor = 0.18215;  // of SD 1.5's autoencoder

constexpr std::array<std::string_view, 4> kUnetInputs{"sample", "timestep", "encoder_hidden_states", "timestep_cond"};

// Cores by number.
constexpr std::array<rknn::CoreMask, RknnOptions::kCores> kCoreMasks{rknn::CoreMask::core0, rknn::CoreMask::core1,
                                                                     rknn::CoreMask::core2};

NoiseScheduleConfig read_schedule(const std::filesystem::path& file) {
  if (file.empty()) return {};
  const std::vector<uint8_t> bytes = read_file(file.string());
  return parse_schedule_config(parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.string()));
}

// That the model takes these inputs, and no others: what nobody writes would hold anything.
void require_inputs(const rknn::Model& model, std::span<const std::string_view> known) {
  for (const rknn::Port& port : model.inputs())
    if (std::find(known.begin(), known.end(), port.name) == known.end())
      fail(ErrorKind::invalid_file, "{}: its input {} is not known here; {} are", model.file().string(), port.name,
           fmt::join(known, ", "));
}

// That it takes one, of so many numbers.
void require_one_input(const rknn::Model& model, int64_t elements, const char* what) {
  const auto& inputs = model.inputs();
  if (inputs.size() != 1 || inputs[0].elements != elements)
    fail(ErrorKind::invalid_file, "{}: one input of {} {} is expected", model.file().string(), elements, what);
}

// A port of one image, with so many channels.
void require_picture(const rknn::Model& model, const rknn::Port& port, int64_t channels) {
  if (port.is_picture() && port.dims[0] == 1 && port.channels() == channels) return;
  fail(ErrorKind::invalid_file, "{}: its port {} is [{}]; one image of {} channels is expected", model.file().string(),
       port.name, fmt::join(port.dims, ", "), channels);
}

void require_picture(const rknn::Model& model, const rknn::Port& port, int64_t channels, PictureSize size) {
  require_picture(model, port, channels);
  if (port.width() != size.width || port.height() != size.height)
    fail(ErrorKind::invalid_file, "{}: its port {} is {}x{}, for pictures of another size than the UNet's, {}x{}",
         model.file().string(), port.name, port.width(), port.height(), size.width, size.height);
}

}  // namespace

class RknnJob final : public PictureJob {
 public:
  using PictureJob::PictureJob;

  std::vector<std::vector<float>> texts;  // of each row: the negative prompt's first
};

RknnWorker::RknnWorker(const WorkerOptions& options)
    : options_(options), runtime_(rknn::Runtime::open(options.rknn.library)) {
  const RknnModelSet set = find_rknn_models(options.model);
  schedule_ = read_schedule(set.schedule);
  const bool own_cores = options.rknn.own_cores;
  const int core = options.rknn.worker;
  // The first that no worker denoises on.
  const int decoder_core = finishes_aside() ? options.rknn.workers : core;
  const auto load = [&](const std::filesystem::path& file, int on) {
    if (options.cancel) options.cancel->throw_if_cancelled();
    return rknn::Model::load(runtime_, file,
                             own_cores ? kCoreMasks.at(static_cast<size_t>(on)) : rknn::CoreMask::automatic);
  };
  text_encoder_ = load(set.text_encoder, core);
  require_one_input(*text_encoder_, kWindowTokens, "token ids");
  for (const RknnModelSet::Size& files : set.sizes)
    sizes_.push_back(
        checked(load(files.unet, core), load(files.decoder, decoder_core), files.tiny_decoder ? 1.0 : kScalingFactor));

  info_ = describe_worker("RKNN", options.model, sizes_.front().size, options);
  info_.family = name_of(Family::sd1);
  info_.cross_attention_dim = text_encoder_->outputs()[0].dims.back();
  info_.device = own_cores ? fmt::format("Rockchip NPU, core {}", core) : "Rockchip NPU";
  info_.dtype = "fp16";
  log::info("{}: for pictures of {}", options.model.string(), fmt::join(size_names(), ", "));
  check({});  // the defaults
}

// That the networks fit each other. Throws Error(invalid_file).
RknnWorker::Networks RknnWorker::checked(std::unique_ptr<rknn::Model> unet, std::unique_ptr<rknn::Model> decoder,
                                         double scaling_factor) const {
  const rknn::Port& sample = unet->inputs()[unet->input("sample")];
  const rknn::Port& timestep = unet->inputs()[unet->input("timestep")];
  const rknn::Port& states = unet->inputs()[unet->input("encoder_hidden_states")];
  require_inputs(*unet, kUnetInputs);
  require_picture(*unet, sample, kLatentChannels);
  const PictureSize latents{sample.width(), sample.height()};
  require_picture(*unet, unet->outputs()[0], kLatentChannels, latents);
  require_picture(*decoder, decoder->inputs()[0], kLatentChannels, latents);
  require_one_input(*decoder, sample.elements, "latents");
  const PictureSize size{latents.width * kLatentScale, latents.height * kLatentScale};
  require_picture(*decoder, decoder->outputs()[0], 3, size);
  if (timestep.elements != 1)
    fail(ErrorKind::invalid_file, "{}: it takes {} timesteps; one is expected", unet->file().string(),
         timestep.elements);
  const int64_t text = text_encoder_->outputs()[0].elements;
  if (states.elements != text)
    fail(ErrorKind::invalid_file, "{}: it takes {} numbers of text; the text encoder gives {}", unet->file().string(),
         states.elements, text);
  Networks networks;
  networks.size = size;
  networks.scaling_factor = scaling_factor;
  if (unet->has_input("timestep_cond")) networks.guidance_width = unet->inputs()[unet->input("timestep_cond")].elements;
  networks.unet = std::move(unet);
  networks.decoder = std::move(decoder);
  return networks;
}

std::vector<std::string> RknnWorker::size_names() const {
  std::vector<std::string> names;
  for (const Networks& networks : sizes_) names.push_back(to_string(networks.size));
  return names;
}

const RknnWorker::Networks& RknnWorker::networks_for(PictureSize size) const {
  for (const Networks& networks : sizes_)
    if (networks.size == size) return networks;
  fail(ErrorKind::invalid_argument, "Invalid size '{}': this model was compiled for {}", to_string(size),
       fmt::join(size_names(), ", "));
}

void RknnWorker::check(const JobRequest& job) const {
  const GenerationRequest request = resolve_request(job, info_, options_);
  check_ranges(job, request);
  networks_for(request.size);
  if (job.init_image)
    fail(ErrorKind::invalid_argument, "this model, compiled for an NPU, starts from no picture: it has no encoder");
  if (job.style && job.style->level > 0)
    fail(ErrorKind::invalid_argument, "there is no style \"{}\"; a model that was compiled for an NPU takes none",
         job.style->style);
  if (request.clip_skip != 1)
    fail(ErrorKind::invalid_argument, "clip skip {} is out of range; 1 is allowed for this model", request.clip_skip);
  SamplerOptions sampler;
  sampler.steps = request.steps;
  make_sampler(request.sampler, schedule_, sampler);
  check_prompt("prompt", job.prompt, 1);
  check_prompt("negative prompt", job.negative_prompt, 1);
}

// [77, C]
std::vector<float> RknnWorker::encode_text(const std::string& prompt) {
  const TokenWindows tokens = tokenize_prompt(prompt, {});
  text_encoder_->write(0, std::vector<float>(tokens.ids.begin(), tokens.ids.end()));
  text_encoder_->run();
  std::vector<float> states = text_encoder_->read(0);
  if (std::any_of(tokens.weights.begin(), tokens.weights.end(), [](float weight) { return weight != 1.0f; }))
    apply_emphasis(states, tokens.weights, static_cast<int64_t>(states.size()) / kWindowTokens);
  return states;
}

std::unique_ptr<ActiveJob> RknnWorker::start(const Job& job) {
  job.cancel_token().throw_if_cancelled();
  check(job.request());
  auto active = std::make_unique<RknnJob>(job, resolve_request(job.request(), info_, options_));
  GenerationRequest& request = active->request;
  request.seed = job.request().seed ? *job.request().seed : random_seed();
  const Networks& networks = networks_for(request.size);

  const auto text = Clock::now();
  const bool guided = request.guidance_scale > 1.0 && networks.guidance_width == 0;
  DenoisingInputs inputs;
  if (guided) {
    active->texts.push_back(encode_text(request.negative_prompt));
    inputs.text.negative.emplace();
  }
  active->texts.push_back(encode_text(request.prompt));
  active->timings.text_ms = milliseconds_since(text);

  SamplerOptions sampler;
  sampler.steps = request.steps;
  inputs.sampler = make_sampler(request.sampler, schedule_, sampler);
  inputs.noise = make_noise_source(request.noise, request.seed);
  inputs.guidance_scale = request.guidance_scale;
  inputs.start = draw_latents(*inputs.noise, request.size.height / kLatentScale, request.size.width / kLatentScale,
                              kLatentChannels);
  for (float& value : inputs.start.values) value *= static_cast<float>(inputs.sampler->init_noise_sigma());
  active->denoising = std::make_unique<DenoisingJob>(0, std::move(inputs), TextContext{}, Tensor{});
  return active;
}

void RknnWorker::step(RknnJob& active) {
  const auto begin = Clock::now();
  const Networks& networks = networks_for(active.request.size);
  rknn::Model& unet = *networks.unet;
  DenoisingJob& denoising = *active.denoising;
  const size_t row = denoising.latents().values.size();
  std::vector<float> input(row * active.texts.size()), output;
  denoising.fill_input(input);
  const float timestep = denoising.timestep();
  for (size_t r = 0; r < active.texts.size(); ++r) {
    unet.write(unet.input("sample"), std::span(input).subspan(r * row, row));
    unet.write(unet.input("timestep"), std::span(&timestep, 1));
    unet.write(unet.input("encoder_hidden_states"), active.texts[r]);
    if (networks.guidance_width > 0) {
      const auto w = static_cast<float>(active.request.guidance_scale - 1.0);
      unet.write(unet.input("timestep_cond"), guidance_scale_embedding(std::span(&w, 1), networks.guidance_width));
    }
    unet.run();
    const std::vector<float> predicted = unet.read(0);
    output.insert(output.end(), predicted.begin(), predicted.end());
  }
  denoising.advance(output);
  const double step_ms = milliseconds_since(begin);
  active.timings.step_ms.push_back(step_ms);
  active.timings.denoise_ms += step_ms;
}

void RknnWorker::advance(std::span<ActiveJob* const> jobs, const CancelToken* cancel) {
  for (ActiveJob* const job : jobs) {
    if (cancel != nullptr) cancel->throw_if_cancelled();
    step(static_cast<RknnJob&>(*job));
  }
}

JobResult RknnWorker::finish(ActiveJob& job) {
  auto& active = static_cast<RknnJob&>(job);
  active.job.cancel_token().throw_if_cancelled();
  const Latents& latents = active.denoising->latents();
  JobResult result;
  result.latents = latent_fingerprint(latents);

  const auto decoding = Clock::now();
  const Networks& networks = networks_for(active.request.size);
  std::vector<float> raw = latents.values;
  for (float& value : raw) value /= static_cast<float>(networks.scaling_factor);
  networks.decoder->write(0, raw);
  networks.decoder->run();
  result.picture = std::make_shared<Image>(
      to_image(networks.decoder->read(0), active.request.size.height, active.request.size.width));
  active.timings.decode_ms = milliseconds_since(decoding);

  encode_result(result, active.request, info_, std::nullopt);
  active.timings.total_ms = milliseconds_since(active.started);
  result.timings = active.timings;
  return result;
}

Image RknnWorker::preview(const ActiveJob& job) {
  return latent_preview(*static_cast<const RknnJob&>(job).denoising, Family::sd1);
}

}  // namespace dreamlab
