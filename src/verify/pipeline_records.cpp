// pipeline.safetensors and inpaint.safetensors with their .json: whole runs from prompt to picture. Noise, text states
// and latents of pictures go in as recorded, so that each figure stands for one part; ours of each are compared beside.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "pipeline/pipeline.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "verify/recorded_sampler.h"

namespace dreamlab {
namespace {

using nlohmann::json;

constexpr std::string_view kKnownSettings[] = {
    "scheduler", "scheduler_config", "steps", "guidance", "latent_hw", "prompt", "negative", "noise_seed", "strength",
    "step_noise_seed", "posterior_noise_seed", "denoising_start", "denoising_end", "guidance_rescale",
    "aesthetic_score", "negative_aesthetic_score",
    // Remarks on the numbers.
    "latents_max_abs", "latents_f32_vs_f64unet_max_abs", "cond_minus_uncond_rms"};

template <typename T>
std::optional<T> setting(const json& settings, const char* name) {
  if (!settings.contains(name) || settings.at(name).is_null()) return std::nullopt;
  return settings.at(name).get<T>();
}

// One run: takes its inputs from the record and compares everything that comes out.
class RecordedPipelineRun {
 public:
  RecordedPipelineRun(RecordCase& record_case, const RecordFile& record, std::string name, const json& settings,
                      Pipeline& pipeline)
      : case_(record_case), record_(record), prefix_(std::move(name) + "/"), settings_(settings), pipeline_(pipeline) {}

  void run() {
    for (const auto& [key, value] : settings_.items()) {
      const bool known =
          std::find(std::begin(kKnownSettings), std::end(kKnownSettings), key) != std::end(kKnownSettings);
      case_.expect(known, "unknown setting \"{}\"", key);
    }
    const auto latent_size = settings_.at("latent_hw").get<std::vector<int64_t>>();
    height_ = latent_size.at(0);
    width_ = latent_size.at(1);
    request_ = make_request();

    DenoisingInputs inputs;
    inputs.sampler = make_sampler();
    case_.compare(record_, at("timesteps"), to_vector(inputs.sampler->timesteps()), BoundKind::timestep);
    compare_draws("noise", "noise_seed");
    compare_draws("posterior_noise", "posterior_noise_seed");
    compare_draws("step_noise", "step_noise_seed");
    add_text(inputs);
    add_start(inputs);
    inputs.noise = step_noise();
    inputs.guidance_scale = request_.guidance_scale;
    inputs.guidance_rescale = request_.guidance_rescale;
    compare_result(denoise(std::move(inputs)));
  }

 private:
  std::string at(std::string_view tensor) const { return prefix_ + std::string(tensor); }
  bool has(std::string_view tensor) const { return record_.contains(at(tensor)); }
  static std::vector<float> to_vector(std::span<const float> values) { return {values.begin(), values.end()}; }
  static void append(std::vector<float>& to, const std::vector<float>& values) {
    to.insert(to.end(), values.begin(), values.end());
  }

  int64_t channels() const { return pipeline_.config().vae.latent_channels; }
  Latents latents(std::string_view tensor) const {
    return Latents::from_chw(record_.floats(at(tensor)), channels(), height_, width_);
  }
  std::vector<float> picture(std::string_view tensor) const {
    return channels_last(record_.floats(at(tensor)), record_.tensor(at(tensor)).shape);
  }

  GenerationRequest make_request() const {
    GenerationRequest request;
    request.prompt = settings_.at("prompt").get<std::string>();
    request.negative_prompt = setting<std::string>(settings_, "negative").value_or("");
    request.guidance_scale = settings_.at("guidance").get<double>();
    request.guidance_rescale = setting<double>(settings_, "guidance_rescale").value_or(0.0);
    request.size = {width_ * kLatentScale, height_ * kLatentScale};
    request.emphasis = false;
    request.aesthetic_score = setting<double>(settings_, "aesthetic_score").value_or(request.aesthetic_score);
    request.negative_aesthetic_score =
        setting<double>(settings_, "negative_aesthetic_score").value_or(request.negative_aesthetic_score);
    return request;
  }

  std::unique_ptr<Sampler> make_sampler() const {
    SamplerOptions options;
    options.steps = settings_.at("steps").get<int>();
    options.strength = setting<double>(settings_, "strength").value_or(1.0);
    options.denoising_start = setting<double>(settings_, "denoising_start");
    options.denoising_end = setting<double>(settings_, "denoising_end");
    return sampler_of_record(settings_.at("scheduler").get<std::string>(), settings_.at("scheduler_config"), options);
  }

  // A recorded draw against that of our generator, where the record tells the seed.
  void compare_draws(std::string_view tensor, const char* seed_name) {
    const auto seed = setting<uint64_t>(settings_, seed_name);
    if (!seed || !has(tensor)) return;
    const auto source = make_noise_source(NoiseKind::cpu, *seed);
    const auto size = static_cast<size_t>(channels() * height_ * width_);
    std::vector<float> found(static_cast<size_t>(record_.tensor(at(tensor)).shape.elements()));
    for (size_t begin = 0; begin + size <= found.size(); begin += size) {
      source->normals(std::span(found).subspan(begin, size));
    }
    case_.compare(record_, at(tensor), found, BoundKind::random);
  }

  // Recorded rows are [negative; positive] under guidance, else the positive alone.
  Tensor row(std::string_view tensor, int64_t index) const {
    const HostTensor& rows = record_.tensor(at(tensor));
    Shape shape = rows.shape;
    shape.set(0, 1);
    return pipeline_.device().upload(aligned(rows.rows(index, index + 1)).to_f32(), shape);
  }
  TextConditioning conditioning(int64_t index) const {
    TextConditioning text;
    text.states = row("prompt_embeds", index);
    if (has("pooled")) text.pooled = row("pooled", index);
    return text;
  }

  void add_text(DenoisingInputs& inputs) {
    const bool guided = pipeline_.uses_guidance(request_);
    const TextPair ours = pipeline_.encode_text(request_);
    compare_text("prompt_embeds", ours, &TextConditioning::states);
    if (has("pooled")) compare_text("pooled", ours, &TextConditioning::pooled);
    inputs.text.positive = conditioning(guided ? 1 : 0);
    if (guided) inputs.text.negative = conditioning(0);

    inputs.time_ids = pipeline_.time_ids(request_, false);
    inputs.negative_time_ids = pipeline_.time_ids(request_, true);
    case_.expect(has("time_ids") == !inputs.time_ids.empty(),
                 "size conditions are expected in one of record and model");
    if (!has("time_ids")) return;
    std::vector<float> ids;
    if (guided) append(ids, inputs.negative_time_ids);
    append(ids, inputs.time_ids);
    case_.compare(record_, at("time_ids"), ids, BoundKind::exact);
  }

  void compare_text(std::string_view tensor, const TextPair& ours, Tensor TextConditioning::*part) {
    Device& device = pipeline_.device();
    std::vector<float> rows;
    if (ours.negative) append(rows, device.download((*ours.negative).*part));
    append(rows, device.download(ours.positive.*part));
    case_.compare(record_, at(tensor), rows, BoundKind::network);
  }

  // Latents of a recorded picture, compared with the recorded ones, which are what the run goes on with.
  Latents encoded(std::string_view tensor, const std::vector<float>& pixels) {
    const Latents ours = pipeline_.encode(pixels, request_.size, latents("posterior_noise"), TilingMode::off);
    case_.compare(record_, at(tensor), ours.to_chw(), BoundKind::network);
    return latents(tensor);
  }

  std::vector<float> latent_mask() {
    std::vector<float> mask = shrink_mask(record_.floats(at("mask_image")), request_.size.height, request_.size.width);
    case_.compare(record_, at("mask"), mask, BoundKind::exact);
    return mask;
  }

  Latents masked_image_latents() {
    std::vector<float> pixels = picture("init_image");
    const std::vector<float> mask = record_.floats(at("mask_image"));
    for (size_t i = 0; i < pixels.size(); ++i) {
      if (mask[i / 3] >= 0.5f) pixels[i] = 0.0f;
    }
    case_.compare(record_, at("masked_image"),
                  channels_first(pixels, {1, request_.size.height, request_.size.width, 3}), BoundKind::exact);
    return encoded("masked_image_latents", pixels);
  }

  Latents pure_noise(const Sampler& sampler) const {
    Latents start = latents("noise");
    for (float& value : start.values) value *= static_cast<float>(sampler.init_noise_sigma());
    return start;
  }

  Latents noised(const Latents& original, const Sampler& sampler) const {
    Latents start = original;
    sampler.add_noise(original.values, latents("noise").values, 0, start.values);
    return start;
  }

  void add_start(DenoisingInputs& inputs) {
    const bool from_picture = has("init_image");
    if (has("masked_image_latents")) {
      inputs.start = pure_noise(*inputs.sampler);
      inputs.channels = MaskChannels{latent_mask(), masked_image_latents()};
    } else if (from_picture) {
      Latents original = encoded("init_latents", picture("init_image"));
      inputs.start = noised(original, *inputs.sampler);
      if (has("mask_image")) inputs.blending = MaskBlending{latent_mask(), std::move(original), latents("noise")};
    } else {
      inputs.start = has("init_latents") ? latents("init_latents") : pure_noise(*inputs.sampler);
    }
  }

  std::unique_ptr<NoiseSource> step_noise() const {
    const auto size = static_cast<size_t>(channels() * height_ * width_);
    return std::make_unique<RecordedNoise>(has("step_noise") ? record_.floats(at("step_noise")) : std::vector<float>{},
                                           size);
  }

  Latents denoise(DenoisingInputs inputs) {
    std::vector<float> trajectory = inputs.start.to_chw();
    std::vector<float> outputs;
    inputs.observer = [&](int, const Latents& after, std::span<const float> output) {
      append(trajectory, after.to_chw());
      append(outputs, channels_first(output, {1, after.height, after.width, after.channels}));
    };
    const std::unique_ptr<DenoisingJob> job = pipeline_.start(std::move(inputs));
    DenoisingJob* const running[] = {job.get()};
    while (!job->done()) pipeline_.advance(running);
    case_.compare(record_, at("traj"), trajectory, BoundKind::trajectory);
    case_.compare(record_, at("model_output"), outputs, BoundKind::trajectory);
    return job->latents();
  }

  void compare_result(const Latents& found) {
    const std::vector<float> pixels = pipeline_.decode(found, TilingMode::off);
    const int64_t height = request_.size.height, width = request_.size.width;
    if (has("image")) {
      case_.compare(record_, at("image"), channels_first(pixels, {1, height, width, 3}), BoundKind::image);
    }
    if (has("image_u8")) {
      const std::vector<int64_t> recorded = record_.integers(at("image_u8"));
      case_.compare_pixels(at("image_u8"), to_image(pixels, height, width).pixels,
                           std::vector<uint8_t>(recorded.begin(), recorded.end()));
    }
    compare_fingerprint(latent_fingerprint(found));
  }

  static std::vector<float> halves(std::span<const uint8_t> bytes) {
    std::vector<float> values(bytes.size() / 2);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(Float16{static_cast<uint16_t>(bytes[2 * i] | bytes[2 * i + 1] << 8)});
    }
    return values;
  }

  void compare_fingerprint(const Fingerprint& found) {
    if (has("fingerprint_f16")) case_.compare(record_, at("fingerprint_f16"), halves(found), BoundKind::fingerprint);
    if (!has("fingerprint_bytes")) return;
    const std::vector<int64_t> recorded = record_.integers(at("fingerprint_bytes"));
    case_.compare(at("fingerprint_bytes"), halves(found),
                  halves(std::vector<uint8_t>(recorded.begin(), recorded.end())), BoundKind::fingerprint);
  }

  RecordCase& case_;
  const RecordFile& record_;
  std::string prefix_;
  const json& settings_;
  Pipeline& pipeline_;
  GenerationRequest request_;
  int64_t height_ = 0, width_ = 0;  // of the latents
};

// A pipeline with this model file, or with its UNet in the model whose name it extends where it has no more than that.
std::unique_ptr<Pipeline> open_pipeline(Device& device, const std::filesystem::path& folder, const std::string& model,
                                        const ModelFile& file) {
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(file.path);
  PipelineOptions options;
  if (!checkpoint->has_vae() && !checkpoint->has_text_encoder(0)) {
    options.unet = file.path;
    checkpoint = Checkpoint::open(model_layouts(folder, base_model(folder, model)).front().path);
  }
  return std::make_unique<Pipeline>(device, std::move(checkpoint), options);
}

}  // namespace

void run_pipeline_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  const json settings = read_settings(record.settings_path());
  const std::string model = model_of_record(record_name);
  for (const ModelFile& file : model_layouts(run.folder(), model)) {
    std::unique_ptr<Pipeline> pipeline;
    for (const auto& [name, entry] : settings.items()) {
      run.run_case(record_name, name, file.name, [&, &name = name, &entry = entry](RecordCase& record_case) {
        if (!pipeline) pipeline = open_pipeline(run.device(), run.folder(), model, file);
        RecordedPipelineRun(record_case, record, name, entry, *pipeline).run();
      });
    }
  }
  run.expect_all_taken(record);
}

}  // namespace dreamlab
