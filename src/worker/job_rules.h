#pragma once

// What all workers do alike: the limits of a request, what holds where it does not say, and the file of a picture.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "pipeline/request.h"
#include "worker/job.h"
#include "worker/pipeline_worker.h"
#include "worker/worker_options.h"

namespace dreamlab {

// What a request may ask of a worker.
constexpr int kMaxJobSteps = 50;
constexpr double kMaxJobGuidance = 20;
// Text is encoded, and looked at by every layer of every step, in windows of 75 tokens: this many are some 1,800 words.
constexpr size_t kMaxPromptBytes = 20'000;
constexpr int64_t kMaxPromptWindows = 32;

// Throw Error(invalid_argument). what: "prompt", for the message.
void check_prompt(std::string_view what, const std::string& prompt, int64_t most_windows = kMaxPromptWindows);
// Steps, guidance, size and that a mask has its picture.
void check_ranges(const JobRequest& job, const GenerationRequest& request);

// What a job asks for, the rest filled in: all but seed, pictures and style.
GenerationRequest resolve_request(const JobRequest& job, const WorkerInfo& info, const WorkerOptions& options);

// The model's name, defaults and the like, as far as options and the model's file tell. native_size: of pictures.
WorkerInfo describe_worker(std::string_view name, const std::filesystem::path& model, PictureSize native_size,
                           const WorkerOptions& options);

// From result.picture: its PNG, the text in that, and how long it took.
void encode_result(JobResult& result, const GenerationRequest& request, const WorkerInfo& info,
                   const std::optional<StyleChoice>& style);

}  // namespace dreamlab
