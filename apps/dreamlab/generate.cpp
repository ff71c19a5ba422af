// `dreamlab generate`: a prompt and a checkpoint to picture files.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/elapsed.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "dreamlab/commands.h"
#include "dreamlab/generate_options.h"
#include "dreamlab/interruption.h"
#include "dreamlab/loaded_model.h"
#include "dreamlab/progress_bar.h"
#include "pipeline/parameters_text.h"
#include "pipeline/pipeline.h"
#include "scheduler/sampler.h"
#include "worker/model_location.h"

namespace dreamlab {

namespace {

using Clock = std::chrono::steady_clock;

// The request of every picture of the batch.
std::vector<GenerationRequest> make_requests(const GenerateSettings& settings, const Pipeline& pipeline) {
  const GenerationRequest request = complete_request(settings, pipeline);
  std::vector<GenerationRequest> requests(static_cast<size_t>(settings.batch), request);
  for (int i = 0; i < settings.batch; ++i) requests[i].seed = request.seed + static_cast<uint64_t>(i);
  return requests;
}

struct Written {
  std::string path;
  size_t bytes;
};

std::vector<Written> write_results(const GenerateSettings& settings, std::span<const GenerationRequest> requests,
                                   std::span<const GenerationResult> results) {
  std::vector<Written> written;
  for (size_t i = 0; i < results.size(); ++i) {
    EncodeOptions options;
    options.quality = settings.quality;
    options.texts = {
        {"parameters", parameters_text(requests[i], model_name(settings.model_path), std::string(program_name()))}};
    const std::vector<uint8_t> file = encode_image(results[i].image, settings.format, options);
    write_file(settings.outputs[i], file);
    if (!settings.fingerprints.empty()) write_file(settings.fingerprints[i], results[i].fingerprint);
    written.push_back({settings.outputs[i], file.size()});
  }
  return written;
}

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

nlohmann::json make_report(const GenerateSettings& settings, const Pipeline& pipeline,
                           std::span<const GenerationRequest> requests, std::span<const GenerationResult> results,
                           std::span<const Written> written, double load_ms, double total_ms) {
  nlohmann::json report;
  for (size_t i = 0; i < results.size(); ++i) {
    report["images"].push_back({{"path", written[i].path},
                                {"format", name_of(settings.format)},
                                {"bytes", written[i].bytes},
                                {"width", results[i].image.width},
                                {"height", results[i].image.height},
                                {"seed", results[i].seed},
                                {"fingerprint", hex(results[i].fingerprint)}});
  }
  const GenerationRequest& request = requests[0];
  const GenerationTimings& timings = results[0].timings;
  report["model"] = settings.model_path;
  report["family"] = name_of(pipeline.config().family);
  report["device"] = pipeline.device().description();
  report["dtype"] = name_of(pipeline.device().compute_dtype());
  report["prompt"] = request.prompt;
  report["negative_prompt"] = request.negative_prompt;
  report["steps"] = request.steps;
  report["scheduler"] = request.sampler;
  report["guidance_scale"] = request.guidance_scale;
  report["rng"] = name_of(request.noise);
  report["timings_ms"] = {{"load", load_ms},          {"text", timings.text_ms},       {"encode", timings.encode_ms},
                          {"steps", timings.step_ms}, {"denoise", timings.denoise_ms}, {"decode", timings.decode_ms},
                          {"total", total_ms}};
  return report;
}

void print_summary(std::span<const GenerationResult> results, std::span<const Written> written, double total_ms) {
  for (size_t i = 0; i < results.size(); ++i) {
    fmt::print("{}  {}x{}  seed {}\n", written[i].path, results[i].image.width, results[i].image.height,
               results[i].seed);
  }
  fmt::print("{:.1f} s\n", total_ms / 1000);
}

void generate(const GenerateSettings& settings) {
  const auto begin = Clock::now();
  listen_for_interruption();
  log::set_level(settings.verbose ? log::level::debug : log::level::info);

  ProgressBar progress(settings.quiet);
  const LoadedModel model = load_model(settings, progress);
  Pipeline& pipeline = *model.pipeline;
  const std::vector<GenerationRequest> requests = make_requests(settings, pipeline);
  const double load_ms = milliseconds_since(begin);
  log::debug("{}: {}, {}; loaded in {:.1f} s", settings.model_path, name_of(pipeline.config().family),
             model.device->description(), load_ms / 1000);

  const auto on_step = [&](const StepProgress& step) {
    progress.show(step);
    return true;
  };
  const std::vector<GenerationResult> results = pipeline.generate_batch(requests, on_step, &interrupted);
  interrupted.throw_if_cancelled();
  progress.close();
  const std::vector<Written> written = write_results(settings, requests, results);
  const double total_ms = milliseconds_since(begin);
  if (settings.json) {
    fmt::print("{}\n", make_report(settings, pipeline, requests, results, written, load_ms, total_ms)
                           .dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else if (!settings.quiet) {
    print_summary(results, written, total_ms);
  }
}

}  // namespace

void add_generate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Make pictures from a prompt");
  auto flags = std::make_shared<GenerateFlags>();
  add_generate_flags(*command, *flags);
  command->callback([flags] { generate(resolve_settings(*flags, Config())); });
}

}  // namespace dreamlab
