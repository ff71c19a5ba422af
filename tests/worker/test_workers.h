#pragma once

// Workers on checkpoint files: on the golden models, or for SDXL on the one that DREAMLAB_TEST_SDXL_MODEL names.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "golden_dir.h"
#include "worker/worker_factory.h"

namespace dreamlab {

inline std::filesystem::path golden_model(const std::string& name) {
  return golden_dir() / "models" / (name + ".safetensors");
}

inline WorkerOptions options_for(const std::filesystem::path& model) {
  WorkerOptions options;
  options.model = model;
  options.backend = "cpu";
  options.dtype = "fp32";
  options.threads = 2;
  return options;
}

// A style of a golden LoRA file.
inline StyleEntry golden_style(const std::string& id, const std::string& file, std::vector<double> levels = {1.0}) {
  StyleEntry style;
  style.id = style.title = id;
  style.path = golden_model(file);
  style.levels = std::move(levels);
  return style;
}

// What DREAMLAB_TEST_SDXL_MODEL names; "" where it is not set.
inline std::filesystem::path other_sdxl_model() {
  const char* set = std::getenv("DREAMLAB_TEST_SDXL_MODEL");
  return set ? set : "";
}

// Loaded once.
inline PipelineWorker& worker_on(const std::filesystem::path& model) {
  static std::map<std::filesystem::path, std::shared_ptr<PipelineWorker>> workers;
  std::shared_ptr<PipelineWorker>& worker = workers[model];
  if (!worker) {
    WorkerOptions options = options_for(model);
    if (model == other_sdxl_model()) {
      options.dtype = "auto";  // it may be of full size
      options.sdxl = true;
    }
    worker = make_worker(options);
  }
  return *worker;
}

inline std::filesystem::path sdxl_test_model() {
  return other_sdxl_model().empty() ? golden_model("tiny-sdxl") : other_sdxl_model();
}

inline JobRequest small_request(uint64_t seed = 42) {
  JobRequest request;
  request.prompt = "a majestic mountain landscape";
  request.size = "64x64";
  request.steps = 2;
  request.seed = seed;
  return request;
}

inline JobResult run(PipelineWorker& worker, const JobRequest& request) {
  return worker.run_job_with_latents(Job(request, {}));
}

// Calls `action` and expects an Error of this kind whose text begins with `beginning` and contains `part`.
template <typename Action>
void expect_refused(const Action& action, ErrorKind kind, const std::string& beginning, const std::string& part = "") {
  try {
    action();
    ADD_FAILURE() << "accepted; expected: " << beginning << " ... " << part;
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.kind(), kind) << text;
    EXPECT_EQ(text.substr(0, beginning.size()), beginning) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  does not say: " << part;
    EXPECT_EQ(text.find('\n'), std::string::npos) << "more than one line: " << text;
  }
}

}  // namespace dreamlab
