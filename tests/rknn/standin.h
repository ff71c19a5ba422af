#pragma once

// The stand-in for the NPU's runtime, and models for it: manifests over the golden checkpoints.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "golden_dir.h"
#include "temporary_directory.h"
#include "worker/worker_factory.h"

namespace dreamlab {

// A function of rknn_runtime/standin_control.h.
template <typename Function>
Function* standin_function(const char* name) {
  static void* const handle = dlopen(DREAMLAB_RKNN_STANDIN, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  return reinterpret_cast<Function*>(dlsym(handle, name));
}

struct ModelOptions {
  std::string format = "nhwc";
  std::string type = "f16";
  std::string timestep = "i64";
  int row_pixels = 16;
  nlohmann::json more = nlohmann::json::object();  // for the stand-in
  std::filesystem::path checkpoint = golden_dir() / "models" / "tiny-sd15.safetensors";
};

// Writes the manifest of one network.
inline void write_manifest(const std::filesystem::path& file, const std::string& network, int width, int height,
                           const ModelOptions& options = {}) {
  std::filesystem::create_directories(file.parent_path());
  nlohmann::json manifest = {{"network", network},
                             {"checkpoint", options.checkpoint.string()},
                             {"width", width},
                             {"height", height},
                             {"format", options.format},
                             {"type", options.type},
                             {"timestep", options.timestep},
                             {"row_pixels", options.row_pixels}};
  manifest.update(options.more);
  std::ofstream(file) << manifest.dump();
}

// That of an upscaler for luminance, over a file that write_network() made.
inline void write_upscaler_manifest(const std::filesystem::path& file, const std::filesystem::path& network, int width,
                                    int height) {
  ModelOptions options;
  options.format = "nchw";
  options.checkpoint = network;
  write_manifest(file, "luminance", width, height, options);
}

// A model of pictures of 64x64, and one of 96x64.
inline void write_model(const std::filesystem::path& root, const ModelOptions& options = {}) {
  write_manifest(root / "text_encoder" / "model.rknn", "text_encoder", 64, 64, options);
  write_manifest(root / "unet" / "model.rknn", "unet", 64, 64, options);
  write_manifest(root / "vae_decoder" / "model.rknn", "vae_decoder", 64, 64, options);
  write_manifest(root / "96x64" / "unet.rknn", "unet", 96, 64, options);
  write_manifest(root / "96x64" / "vae_decoder.rknn", "vae_decoder", 96, 64, options);
}

inline WorkerOptions rknn_options(const std::filesystem::path& root) {
  WorkerOptions options;
  options.model = root;
  options.rknn.library = DREAMLAB_RKNN_STANDIN;
  return options;
}

// Of one among several.
inline WorkerOptions rknn_options(const std::filesystem::path& root, int worker, int workers) {
  WorkerOptions options = rknn_options(root);
  options.rknn.worker = worker;
  options.rknn.workers = workers;
  return options;
}

// Each test starts with nothing open, and has to end so, without a violation of the interface's rules.
class RknnTest : public testing::Test {
 protected:
  RknnTest() { standin_function<void()>("rknn_standin_reset")(); }
  void TearDown() override {
    EXPECT_STREQ(standin_function<const char*()>("rknn_standin_violations")(), "");
    EXPECT_EQ(standin_function<int()>("rknn_standin_open")(), 0);
  }
  std::filesystem::path root(const ModelOptions& options = {}) {
    write_model(directory_.path() / "model", options);
    return directory_.path() / "model";
  }

  TemporaryDirectory directory_;
};

}  // namespace dreamlab
