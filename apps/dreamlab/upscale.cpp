// `dreamlab upscale`: a picture file to a larger one.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "dreamlab/commands.h"
#include "dreamlab/interruption.h"
#include "dreamlab/progress_bar.h"
#include "pipeline/upscaler.h"
#include "worker/device_choice.h"
#include "worker/model_location.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxImageFileBytes = int64_t{256} << 20;

// As typed. Unset: the environment's word.
struct UpscaleFlags {
  std::string input, output;
  std::optional<std::string> model, device, dtype;
  int magnitude = 1;
  int quality = 92;
  int threads = 0;
  bool quiet = false;
};

struct UpscaleSettings {
  UpscalerOptions upscaler;
  UpscaleOptions run;
  ImageFormat format = ImageFormat::png;
};

void check_range(std::string_view flag, int value, int smallest, int largest) {
  if (value < smallest || value > largest)
    fail(ErrorKind::invalid_argument, "{} {}: out of range; {}..{} is allowed", flag, value, smallest, largest);
}

UpscaleSettings resolve(const UpscaleFlags& flags, const Config& config) {
  check_range("--magnitude", flags.magnitude, 1, kMostUpscalePasses);
  check_range("--quality", flags.quality, 1, 100);
  check_range("--threads", flags.threads, 0, 4096);
  const auto format = image_format_from_path(flags.output);
  if (!format)
    fail(ErrorKind::invalid_argument, "{}: unknown kind of picture; .png, .jpg and .webp are allowed", flags.output);
  check_writable(flags.output);
  UpscaleSettings settings;
  settings.format = *format;
  settings.upscaler.path = locate_upscaler(flags.model ? flags.model : config.text("SR_MODEL_PATH"));
  settings.upscaler.npu = npu_upscaler_options(config);
  settings.upscaler.device = device_choice(config, flags.device, flags.dtype, flags.threads);
  settings.run.passes = flags.magnitude;
  settings.run.max_pixels = *config.integer("SR_MAX_PIXELS");
  settings.run.cancel = &interrupted;
  return settings;
}

// What the picture says about itself goes along; JPEG and WebP hold its parameters alone.
std::vector<ImageText> texts_for(ImageFormat format, std::vector<ImageText> texts) {
  if (format != ImageFormat::png)
    std::erase_if(texts, [](const ImageText& text) { return text.keyword != "parameters"; });
  return texts;
}

void upscale(const UpscaleFlags& flags) {
  UpscaleSettings settings = resolve(flags, Config());
  listen_for_interruption();
  const auto begin = Clock::now();
  DecodedImage input = decode_image(read_file(flags.input, kMaxImageFileBytes), flags.input);
  check_can_hold(settings.format, input.image);

  ProgressBar progress(flags.quiet || settings.upscaler.path.empty());
  progress.note("loading " + settings.upscaler.path);
  const Upscaler upscaler(settings.upscaler);
  auto last = Clock::now();
  settings.run.on_tile = [&](int64_t done, int64_t tiles) {
    const auto now = Clock::now();
    progress.show({static_cast<int>(done), static_cast<int>(tiles),
                   std::chrono::duration<double, std::milli>(now - std::exchange(last, now)).count()});
  };
  const Image result = upscaler.upscale(input.image, settings.run);
  interrupted.throw_if_cancelled();
  progress.close();

  EncodeOptions encoding;
  encoding.quality = flags.quality;
  encoding.texts = texts_for(settings.format, std::move(input.texts));
  write_file(flags.output, encode_image(result, settings.format, encoding));
  if (flags.quiet) return;
  fmt::print("{}  {}x{}  by {}, {} x {}\n{:.1f} s\n", flags.output, result.width, result.height, upscaler.model(),
             flags.magnitude, upscaler.scale(), std::chrono::duration<double>(Clock::now() - begin).count());
}

}  // namespace

void add_upscale_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("upscale", "Make a picture larger");
  auto flags = std::make_shared<UpscaleFlags>();
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  command->add_option("input", flags->input, "Picture to read: PNG, JPEG or WebP")->required();
  command->add_option("output", flags->output, "Picture to write: .png, .jpg or .webp")->required();
  command->add_option(
      "-m,--model", flags->model,
      "ESRGAN, Real-ESRGAN or ESPCN file (.pth, .safetensors), or \"lanczos\"; twice the side by the small "
      "network in the box unless given [SR_MODEL_PATH]");
  command->add_option("--magnitude", flags->magnitude, "Passes, 1..3; each multiplies the side by the model's scale")
      ->capture_default_str();
  command->add_option("--quality", flags->quality, "Of JPEG and WebP, 1..100")->capture_default_str();
  command->add_option("--device", flags->device,
                      "cpu, cuda or cuda:N; a GPU where there is one [BACKEND, CUDA_DEVICE]");
  command->add_option("--dtype", flags->dtype, "Precision: auto, bf16, fp16 or fp32 [CPU_DTYPE, CUDA_DTYPE]");
  command->add_option("-t,--threads", flags->threads, "Threads; 0 is one per processor")->capture_default_str();
  command->add_flag("-q,--quiet", flags->quiet, "No progress, no report");
  command->callback([flags] { upscale(*flags); });
}

}  // namespace dreamlab
