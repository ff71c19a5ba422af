#pragma once

// The golden models as pipelines on the f32 CPU device, and their recorded runs.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "golden_dir.h"
#include "pipeline/pipeline.h"
#include "weights/config_json.h"
#include "weights/tensor_file.h"

namespace dreamlab {

inline Device& golden_device() {
  static const std::unique_ptr<Device> device = make_cpu_device({.threads = 2, .dtype = DType::f32});
  return *device;
}

// name: "tiny-sd15", "tiny-sd15-inpaint", "tiny-sd2", "tiny-sdxl", "tiny-refiner". Loaded once.
inline Pipeline& golden_pipeline(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Pipeline>> pipelines;
  std::unique_ptr<Pipeline>& pipeline = pipelines[name];
  if (!pipeline) {
    const std::filesystem::path models = golden_dir() / "models";
    PipelineOptions options;
    std::string base = name;
    if (name == "tiny-sd15-inpaint") {
      // A UNet alone; everything else is tiny-sd15's.
      options.unet = models / name / "unet";
      base = "tiny-sd15";
    }
    const std::filesystem::path file = models / (base + ".safetensors");
    pipeline = std::make_unique<Pipeline>(golden_device(), Checkpoint::open(file), options);
  }
  return *pipeline;
}

// One case of a pipeline record: its settings and tensors.
class GoldenCase {
 public:
  GoldenCase(const std::string& model, const std::string& record, const std::string& name)
      : file_(open_tensor_file(golden_dir() / model / (record + ".safetensors"))), name_(name) {
    settings_ = read_settings(golden_dir() / model / (record + ".json")).at(name);
  }

  const nlohmann::json& settings() const { return settings_; }
  bool has(const std::string& tensor) const { return file_->contains(name_ + "/" + tensor); }
  const HostTensor& tensor(const std::string& tensor) const {
    const HostTensor* found = file_->find(name_ + "/" + tensor);
    if (found == nullptr) throw std::runtime_error(name_ + "/" + tensor + " is not recorded");
    return *found;
  }
  std::vector<float> values(const std::string& name) const { return tensor(name).to_f32(); }
  // Row i of a [N, C, H, W] tensor as latents.
  Latents latents(const std::string& name, int64_t i = 0) const {
    const HostTensor row = tensor(name).rows(i, i + 1);
    return Latents::from_chw(row.to_f32(), row.shape[1], row.shape[2], row.shape[3]);
  }
  PictureSize size() const {
    const auto& hw = settings_.at("latent_hw");
    return {hw[1].get<int64_t>() * kLatentScale, hw[0].get<int64_t>() * kLatentScale};
  }

 private:
  // Python writes an unset lower bound as -Infinity, which is no JSON.
  static nlohmann::json read_settings(const std::filesystem::path& path) {
    const std::vector<uint8_t> bytes = read_file(path.string());
    std::string text(bytes.begin(), bytes.end());
    const std::string infinity = "-Infinity";
    for (size_t at = 0; (at = text.find(infinity, at)) != std::string::npos;) text.replace(at, infinity.size(), "null");
    return nlohmann::json::parse(text);
  }

  std::shared_ptr<const TensorFile> file_;
  std::string name_;
  nlohmann::json settings_;
};

// Recorded draws, in order.
class RecordedNoise : public NoiseSource {
 public:
  explicit RecordedNoise(std::vector<float> values) : values_(std::move(values)) {}
  void normals(std::span<float> out) override {
    if (at_ + out.size() > values_.size()) throw std::runtime_error("more noise drawn than was recorded");
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(at_), out.size(), out.begin());
    at_ += out.size();
  }
  bool used_up() const { return at_ == values_.size(); }

 private:
  std::vector<float> values_;
  size_t at_ = 0;
};

inline float largest(std::span<const float> values) {
  float most = 0;
  for (float value : values) most = std::max(most, std::abs(value));
  return most;
}

// The largest difference, relative to the largest expected value.
inline double relative_error(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(double{actual[i]} - double{expected[i]});
    worst = std::max(worst, std::isnan(difference) ? INFINITY : difference);
  }
  return worst / std::max(1e-6f, largest(expected));
}

}  // namespace dreamlab
