#include "dreamlab/generate_options.h"

#include <fmt/ranges.h>

#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "scheduler/sampler.h"
#include "worker/device_choice.h"
#include "worker/model_location.h"
#include "worker/rknn_model_set.h"
#include "worker/styles.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxImageFileBytes = int64_t{256} << 20;
constexpr int kMaxBatch = 64;

std::string numbered(const std::string& path, int index) {
  const fs::path whole(path);
  return (whole.parent_path() / fmt::format("{}-{}{}", whole.stem().string(), index, whole.extension().string()))
      .string();
}

// out.png for one picture; out-1.png, out-2.png, ... for several.
std::vector<std::string> paths_of(const std::string& path, int batch) {
  if (batch == 1) return {path};
  std::vector<std::string> paths;
  for (int i = 1; i <= batch; ++i) paths.push_back(numbered(path, i));
  return paths;
}

void check_exists(const std::string& path, std::string_view what) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorKind::unavailable, "{}: no such {}", path, what);
}

void find_model(const GenerateFlags& flags, const Config& config, GenerateSettings& settings) {
  auto model = flags.model ? in_directory(config.text("MODEL_ROOT"), *flags.model) : locate_model(config);
  settings.shipped_model = !model;
  if (!model) model = shipped_model(settings.expect_sdxl);
  if (!model)
    fail(ErrorKind::invalid_argument,
         "no model: name a checkpoint file or a diffusers directory with --model or in MODEL");
  settings.model_path = model->string();
  if (is_rknn_model(*model))
    fail(ErrorKind::unsupported, "{}: this model was compiled for an NPU; dreamlab serve runs it", settings.model_path);
}

std::shared_ptr<const Image> load_image(const std::optional<std::string>& path) {
  if (!path) return nullptr;
  return std::make_shared<Image>(decode_image(read_file(*path, kMaxImageFileBytes), *path).image);
}

template <typename T>
void check_range(std::string_view flag, const std::optional<T>& value, double smallest, double largest) {
  if (value && !(*value >= smallest && *value <= largest)) {
    fail(ErrorKind::invalid_argument, "{} {}: out of range; {}..{} is allowed", flag, *value, smallest, largest);
  }
}

void check_choice(std::string_view flag, const std::string& value, std::initializer_list<std::string_view> allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    fail(ErrorKind::invalid_argument, "{} {}: not known; {} are allowed", flag, value, fmt::join(allowed, ", "));
  }
}

// A name that may come from a flag or a variable; the error says which.
std::string checked_sampler(const GenerateFlags& flags, const Config& config) {
  const std::string name = flags.scheduler ? *flags.scheduler : *config.text("SCHEDULER");
  try {
    return std::string(find_sampler(name).name);
  } catch (const Error& error) {
    fail(error.kind(), "{}{}: {}", flags.scheduler ? "--scheduler " : "SCHEDULER=", name, error.what());
  }
}

void check_flags(const GenerateFlags& flags) {
  check_range("--steps", flags.steps, kMinSteps, kMaxSteps);
  check_range("--guidance", flags.guidance, 0, kMaxGuidance);
  check_range("--guidance-rescale", std::optional(flags.guidance_rescale), 0, 1);
  check_range("--eta", flags.eta, 0, 1);
  check_range("--clip-skip", std::optional(flags.clip_skip), 1, kMaxClipSkip);
  check_range("--batch", std::optional(flags.batch), 1, kMaxBatch);
  check_range("--threads", std::optional(flags.threads), 0, 4096);
  check_range("--quality", std::optional(flags.quality), 1, 100);
  check_range("--seed", flags.seed, 0, 9.0e18);
  if (flags.strength && !(*flags.strength > 0 && *flags.strength <= 1)) {
    fail(ErrorKind::invalid_argument, "--strength {}: out of range; over 0 and up to 1 is allowed", *flags.strength);
  }
  if (flags.strength && !flags.init_image) fail(ErrorKind::invalid_argument, "--strength needs --init-image");
  if (flags.mask && !flags.init_image) fail(ErrorKind::invalid_argument, "--mask needs --init-image");
  if (flags.rng) check_choice("--rng", *flags.rng, {"cuda", "cpu", "numpy"});
  if (flags.vae_tiling) check_choice("--vae-tiling", *flags.vae_tiling, {"auto", "on", "off"});
}

GenerationRequest request_from(const GenerateFlags& flags, const Config& config) {
  GenerationRequest request;
  request.prompt = flags.prompt;
  request.negative_prompt = flags.negative_prompt;
  request.steps = flags.steps.value_or(static_cast<int>(*config.integer("DEFAULT_STEPS")));
  request.sampler = checked_sampler(flags, config);
  request.guidance_scale = flags.guidance.value_or(*config.number("DEFAULT_GUIDANCE"));
  request.guidance_rescale = flags.guidance_rescale;
  request.eta = flags.eta;
  request.seed = flags.seed ? static_cast<uint64_t>(*flags.seed) : random_seed();
  request.noise = noise_kind_from_name(flags.rng ? *flags.rng : *config.text("RNG"));
  request.emphasis = !flags.no_emphasis;
  request.clip_skip = flags.clip_skip;
  request.vae_tiling = tiling_mode_from_name(flags.vae_tiling ? *flags.vae_tiling : *config.text("VAE_TILING"));
  request.init_image = load_image(flags.init_image);
  request.mask = load_image(flags.mask);
  if (flags.strength) request.strength = *flags.strength;
  if (request.mask && !flags.strength) request.strength = 1.0;
  return request;
}

}  // namespace

void add_generate_flags(CLI::App& command, GenerateFlags& flags) {
  const auto env = [](std::string_view text, std::string_view variable) {
    return fmt::format("{} [{}]", text, variable);
  };
  command.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as most programs have it
  command.add_option("prompt", flags.prompt, "What to paint; (word:1.3) and [word] weigh words")->required();
  command.add_option("-m,--model", flags.model, env("Checkpoint file or diffusers directory", "MODEL"));
  command
      .add_option("-o,--output", flags.output,
                  "Picture to write: .png, .jpg or .webp; several are numbered out-1.png, out-2.png, ...")
      ->capture_default_str();
  command.add_option("-n,--negative-prompt", flags.negative_prompt, "What not to paint; works with --guidance over 1");
  command.add_option("-s,--size", flags.size,
                     env("WIDTHxHEIGHT; the model's native size unless given", "DEFAULT_SIZE"));
  command.add_option("--steps", flags.steps, env("Denoising steps; 4 unless given", "DEFAULT_STEPS"));
  command.add_option("-g,--guidance", flags.guidance,
                     env("Classifier-free guidance scale; 1 (off) unless given", "DEFAULT_GUIDANCE"));
  command.add_option("--seed", flags.seed, "Random unless given; picture N of a batch has seed + N");
  command.add_option("--scheduler", flags.scheduler,
                     env(fmt::format("Sampler, lcm unless given: {}", fmt::join(sampler_names(), ", ")), "SCHEDULER"));
  command.add_option("--rng", flags.rng,
                     env("Noise as PyTorch's or NumPy's generators give it: cuda, cpu or numpy", "RNG"));
  command.add_option("--clip-skip", flags.clip_skip, "Take the text states from N - 1 blocks earlier")
      ->capture_default_str();
  command.add_flag("--no-emphasis", flags.no_emphasis, "Brackets in prompts are plain text");
  command.add_option("--guidance-rescale", flags.guidance_rescale, "0..1, against overexposure at high guidance")
      ->capture_default_str();
  command.add_option("--eta", flags.eta, "Stochastic share of DDIM and TCD, 0..1");
  command.add_option("-b,--batch", flags.batch, "Pictures to make at once, in one batch")->capture_default_str();
  command.add_option("--init-image", flags.init_image, "Start from this picture (PNG, JPEG, WebP; resized to --size)");
  command.add_option("--strength", flags.strength,
                     "How much of it to change, over 0 to 1; 0.75 unless given, 1 with a mask");
  command.add_option("--mask", flags.mask, "Paint anew only where this picture is bright");
  command
      .add_option(
          "--lora", flags.loras,
          "FILE or FILE:STRENGTH, or papercut, line or pixel with the model in the box; may be given several times")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command.add_option("--vae", flags.vae, "Another VAE than the model's own");
  command.add_option("--vae-tiling", flags.vae_tiling, env("Decode in tiles: auto, on or off", "VAE_TILING"));
  command.add_option("--device", flags.device,
                     env("cpu, cuda, cuda:N, or reference (plain and slow, for checking); a GPU where there is one",
                         "BACKEND, CUDA_DEVICE"));
  command.add_option("--dtype", flags.dtype, env("Precision: auto, bf16, fp16 or fp32", "CPU_DTYPE, CUDA_DTYPE"));
  command.add_option("-t,--threads", flags.threads, "Threads; 0 is one per processor")->capture_default_str();
  command.add_option("--quality", flags.quality, "Of JPEG and WebP, 1..100")->capture_default_str();
  command.add_option("--fingerprint", flags.fingerprint, "Write the 512 bytes of the latent fingerprint to this file");
  command.add_flag("--json", flags.json, "Report as JSON on standard output");
  command.add_flag("-q,--quiet", flags.quiet, "No progress, no report");
  command.add_flag("-v,--verbose", flags.verbose, "Say more");
}

LoraChoice parse_lora(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::error_code error;
  if (colon == std::string::npos || fs::exists(text, error)) return {text, 1.0};
  LoraChoice choice{text.substr(0, colon), 0};
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(begin, end, choice.strength);
  if (code != std::errc() || stop != end || !(std::abs(choice.strength) <= 100)) {
    fail(ErrorKind::invalid_argument,
         "--lora {}: FILE or FILE:STRENGTH is needed, the strength a number from -100 to 100", text);
  }
  return choice;
}

GenerateSettings resolve_settings(const GenerateFlags& flags, const Config& config) {
  check_flags(flags);
  GenerateSettings settings;
  settings.size = flags.size ? std::optional(parse_size(*flags.size)) : config.size("DEFAULT_SIZE");
  const auto format = image_format_from_path(flags.output);
  if (!format) {
    fail(ErrorKind::invalid_argument, "--output {}: unknown kind of picture; .png, .jpg and .webp are allowed",
         flags.output);
  }
  settings.format = *format;
  settings.outputs = paths_of(flags.output, flags.batch);
  if (flags.fingerprint) settings.fingerprints = paths_of(*flags.fingerprint, flags.batch);
  for (const auto* paths : {&settings.outputs, &settings.fingerprints}) {
    for (const std::string& path : *paths) check_writable(path);
  }

  settings.expect_sdxl = config.boolean("USE_SDXL");
  find_model(flags, config, settings);
  check_exists(settings.model_path, "model");
  settings.vae_path = flags.vae;
  if (flags.vae) check_exists(*flags.vae, "VAE");
  for (const std::string& lora : flags.loras) {
    settings.loras.push_back(parse_lora(lora));
    std::string& path = settings.loras.back().path;
    if (const auto shipped = settings.shipped_model ? shipped_style(path) : std::nullopt) path = shipped->path.string();
    check_exists(path, "LoRA");
  }
  settings.request = request_from(flags, config);
  settings.batch = flags.batch;
  settings.device = device_choice(config, flags.device, flags.dtype, flags.threads);
  settings.quality = flags.quality;
  settings.json = flags.json;
  settings.quiet = flags.quiet;
  settings.verbose = flags.verbose;
  return settings;
}

}  // namespace dreamlab
