// `dreamlab sheet`: many prompts on one contact sheet.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/elapsed.h"
#include "base/error.h"
#include "base/file.h"
#include "dreamlab/commands.h"
#include "dreamlab/generate_options.h"
#include "dreamlab/interruption.h"
#include "dreamlab/loaded_model.h"
#include "dreamlab/progress_bar.h"

namespace dreamlab {

namespace {

constexpr int64_t kMaxPromptsFileBytes = int64_t{1} << 20;
constexpr size_t kMostPictures = 1024;

struct SheetFlags {
  std::string prompts;
  int columns = 8;
  GenerateFlags generate;
};

// One prompt a line; lines that are empty or begin with # are left out.
std::vector<std::string> read_prompts(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxPromptsFileBytes);
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  std::vector<std::string> prompts;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && line[0] != '#') prompts.push_back(line);
  }
  if (prompts.empty()) fail(ErrorKind::invalid_argument, "{}: has no prompts; one a line is expected", path);
  if (prompts.size() > kMostPictures)
    fail(ErrorKind::invalid_argument, "{}: has {} prompts; at most {} are allowed", path, prompts.size(),
         kMostPictures);
  return prompts;
}

void place(Image& sheet, const Image& picture, int64_t x, int64_t y) {
  for (int64_t row = 0; row < picture.height; ++row)
    std::copy_n(picture.row(row), picture.width * picture.channels, sheet.row(y + row) + x * sheet.channels);
}

void make_sheet(SheetFlags flags) {
  if (flags.columns < 1 || flags.columns > 64)
    fail(ErrorKind::invalid_argument, "--columns {}: out of range; 1..64 is allowed", flags.columns);
  const std::vector<std::string> prompts = read_prompts(flags.prompts);
  flags.generate.prompt = prompts[0];
  if (!flags.generate.seed) flags.generate.seed = 0;
  const GenerateSettings settings = resolve_settings(flags.generate, Config());
  listen_for_interruption();
  const auto begin = std::chrono::steady_clock::now();
  ProgressBar progress(settings.quiet);
  const LoadedModel model = load_model(settings, progress);
  GenerationRequest request = complete_request(settings, *model.pipeline);

  const auto count = static_cast<int64_t>(prompts.size());
  const int64_t columns = std::min<int64_t>(flags.columns, count), rows = (count + columns - 1) / columns;
  Image sheet = Image::blank(columns * request.size.width, rows * request.size.height);
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), uint8_t{255});
  for (int64_t i = 0; i < count; ++i) {
    const auto started = std::chrono::steady_clock::now();
    request.prompt = prompts[static_cast<size_t>(i)];
    const GenerationResult result = model.pipeline->generate(request, {}, &interrupted);
    interrupted.throw_if_cancelled();
    place(sheet, result.image, i % columns * request.size.width, i / columns * request.size.height);
    progress.show({static_cast<int>(i + 1), static_cast<int>(count), milliseconds_since(started)});
    ++request.seed;
  }
  progress.close();
  EncodeOptions encoding;
  encoding.quality = settings.quality;
  write_file(settings.outputs[0], encode_image(sheet, settings.format, encoding));
  if (!settings.quiet)
    fmt::print("{}  {}x{}  {} pictures, seeds from {}\n{:.1f} s\n", settings.outputs[0], sheet.width, sheet.height,
               count, settings.request.seed, seconds_since(begin));
}

}  // namespace

void add_sheet_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sheet", "Make a contact sheet: a picture for every line of a file");
  auto flags = std::make_shared<SheetFlags>();
  GenerateFlags& generate = flags->generate;
  generate.output = "sheet.png";
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  command->add_option("prompts", flags->prompts, "File with a prompt on each line")->required();
  command->add_option("-o,--output", generate.output, "Picture to write: .png, .jpg or .webp")->capture_default_str();
  command->add_option("--columns", flags->columns, "Pictures side by side, 1..64")->capture_default_str();
  command->add_option("-m,--model", generate.model, "Checkpoint file or diffusers directory [MODEL]");
  command->add_option("-n,--negative-prompt", generate.negative_prompt, "What not to paint");
  command->add_option("-s,--size", generate.size, "WIDTHxHEIGHT of each; the model's native size unless given");
  command->add_option("--steps", generate.steps, "Denoising steps; 4 unless given [DEFAULT_STEPS]");
  command->add_option("-g,--guidance", generate.guidance, "Guidance scale; 1 unless given [DEFAULT_GUIDANCE]");
  command->add_option("--seed", generate.seed, "Of the first picture, 0 unless given; picture N has seed + N");
  command->add_option("--scheduler", generate.scheduler, "Sampler; lcm unless given [SCHEDULER]");
  command->add_option("--lora", generate.loras, "FILE or FILE:STRENGTH; may be given several times")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command->add_option("--device", generate.device,
                      "cpu, cuda or cuda:N; a GPU where there is one [BACKEND, CUDA_DEVICE]");
  command->add_option("--dtype", generate.dtype, "Precision: auto, bf16, fp16 or fp32 [CPU_DTYPE, CUDA_DTYPE]");
  command->add_option("-t,--threads", generate.threads, "Threads; 0 is one per processor")->capture_default_str();
  command->add_option("--quality", generate.quality, "Of JPEG and WebP, 1..100")->capture_default_str();
  command->add_flag("-q,--quiet", generate.quiet, "No progress, no report");
  command->callback([flags] { make_sheet(*flags); });
}

}  // namespace dreamlab
