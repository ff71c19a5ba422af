#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/image.h"
#include "device/make_device.h"
#include "pipeline/request.h"

namespace dreamlab {

// What stands on the command line of `dreamlab generate`, as it was typed. Unset: the environment's word, or the
// model's.
struct GenerateFlags {
  std::string prompt;
  std::optional<std::string> model, size, scheduler, rng, vae, vae_tiling, device, dtype, init_image, mask, fingerprint;
  std::string negative_prompt;
  std::string output = "out.png";
  std::vector<std::string> loras;
  std::optional<int> steps;
  std::optional<int64_t> seed;
  std::optional<double> guidance, eta, strength;
  double guidance_rescale = 0;
  int clip_skip = 1;
  int batch = 1;
  int threads = 0;
  int quality = 92;
  bool no_emphasis = false, json = false, quiet = false, verbose = false;
};

void add_generate_flags(CLI::App& command, GenerateFlags& flags);

struct LoraChoice {
  std::string path;
  double strength = 1.0;
};

// "FILE" or "FILE:STRENGTH". Throws Error(invalid_argument).
LoraChoice parse_lora(const std::string& text);

// The flags and the environment together, checked as far as that is possible without the model.
struct GenerateSettings {
  std::string model_path;
  bool shipped_model = false;       // since no other was named
  std::optional<bool> expect_sdxl;  // USE_SDXL: what the model must or must not be
  std::optional<std::string> vae_path;
  std::vector<LoraChoice> loras;
  std::optional<PictureSize> size;  // unset: the model's native one
  GenerationRequest request;        // of the first picture; its size is not filled in yet
  int batch = 1;
  DeviceChoice device;
  ImageFormat format = ImageFormat::png;
  int quality = 92;
  std::vector<std::string> outputs, fingerprints;  // one path a picture; fingerprints may be empty
  bool json = false, quiet = false, verbose = false;
};

// Throws Error(invalid_argument) for what cannot be meant, Error(unavailable) for missing files and unwritable outputs.
GenerateSettings resolve_settings(const GenerateFlags& flags, const Config& config);

}  // namespace dreamlab
