#include "worker/job_rules.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/elapsed.h"
#include "base/version.h"
#include "pipeline/parameters_text.h"
#include "scheduler/sampler.h"
#include "text/prompt.h"

namespace dreamlab {

namespace {

template <typename T>
void check_range(std::string_view what, T value, T smallest, T largest) {
  if (!(value >= smallest && value <= largest))
    fail(ErrorKind::invalid_argument, "{} {} is out of range; {}..{} is allowed", what, value, smallest, largest);
}

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

}  // namespace

void check_prompt(std::string_view what, const std::string& prompt, int64_t most_windows) {
  if (prompt.size() > kMaxPromptBytes)
    fail(ErrorKind::invalid_argument, "{} of {} bytes is too long; {} are allowed", what, prompt.size(),
         kMaxPromptBytes);
  const int64_t windows = tokenize_prompt(prompt, {}).windows;
  if (windows > most_windows)
    fail(ErrorKind::invalid_argument, "{} of {} windows of {} tokens is too long; {} {} allowed", what, windows,
         kWindowCapacity, most_windows, most_windows == 1 ? "is" : "are");
}

void check_ranges(const JobRequest& job, const GenerationRequest& request) {
  check_size(request.size);
  check_range("steps", request.steps, kMinSteps, kMaxJobSteps);
  check_range("guidance scale", request.guidance_scale, 0.0, kMaxJobGuidance);
  if (job.mask && !job.init_image) fail(ErrorKind::invalid_argument, "a mask needs the picture that it belongs to");
}

GenerationRequest resolve_request(const JobRequest& job, const WorkerInfo& info, const WorkerOptions& options) {
  GenerationRequest request;
  request.prompt = job.prompt;
  request.negative_prompt = job.negative_prompt;
  request.size = job.own_size().value_or(info.default_size);
  request.steps = job.steps.value_or(info.default_steps);
  request.guidance_scale = job.guidance_scale.value_or(info.default_guidance);
  request.sampler = job.scheduler.empty() ? info.default_scheduler : find_sampler(job.scheduler).name;
  request.clip_skip = job.clip_skip;
  request.strength = job.strength;
  request.noise = options.noise;
  request.vae_tiling = options.vae_tiling;
  return request;
}

WorkerInfo describe_worker(std::string_view name, const std::filesystem::path& model, PictureSize native_size,
                           const WorkerOptions& options) {
  WorkerInfo info;
  info.worker = name;
  info.model = model_name(model);
  info.default_size = options.size.value_or(native_size);
  info.default_steps = options.steps;
  info.default_guidance = options.guidance;
  info.default_scheduler = find_sampler(options.scheduler).name;
  return info;
}

void encode_result(JobResult& result, const GenerationRequest& request, const WorkerInfo& info,
                   const std::optional<StyleChoice>& style) {
  const auto begin = std::chrono::steady_clock::now();
  result.seed = request.seed;
  result.parameters = parameters_text(request, info.model, std::string(program_name()), style_fields(info, style));
  EncodeOptions options;
  options.texts = {{"parameters", result.parameters}};
  result.png = encode_image(*result.picture, ImageFormat::png, options);
  result.encode_png_ms = milliseconds_since(begin);
}

}  // namespace dreamlab
