#pragma once

// What a picture is asked for with, and what comes back.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/image.h"
#include "base/picture_size.h"
#include "layer/lora.h"
#include "pipeline/latents.h"
#include "scheduler/random.h"

namespace dreamlab {

enum class TilingMode { automatic, on, off };
// "auto", "on", "off". Throws Error(invalid_argument) for another name.
TilingMode tiling_mode_from_name(std::string_view name);

// A style: an adapter from Pipeline::load_lora() and how much of it.
struct LoraUse {
  std::shared_ptr<const LoraAdapter> adapter;
  float strength = 1.0f;
  bool operator==(const LoraUse&) const = default;
};

constexpr int kMinSteps = 1, kMaxSteps = 150;
constexpr double kMaxGuidance = 100;
constexpr int kMaxClipSkip = 12;

// One picture. The defaults are those of a model distilled for few steps; Pipeline::default_request() fills in the
// size.
struct GenerationRequest {
  std::string prompt;
  std::string negative_prompt;  // only looked at when guidance_scale is over 1
  PictureSize size;             // sides are multiples of 8
  int steps = 4;
  std::string sampler = "lcm";  // name, title or alias of scheduler/sampler.h
  double guidance_scale =
      1.0;  // classifier-free guidance; at 1 and below the network runs once a step instead of twice
  double guidance_rescale = 0;  // 0..1, Lin et al. 2023: against overexposure at zero terminal SNR
  std::optional<double> eta;    // stochastic share of DDIM and TCD, 0..1
  uint64_t seed = 0;
  NoiseKind noise = NoiseKind::cuda;
  bool emphasis = true;  // (word:1.3) and [word]; off: brackets are plain text
  int clip_skip = 1;     // 1: text states from where the model was trained to take them; 2: one block earlier, ...
  TilingMode vae_tiling = TilingMode::automatic;

  // Image-to-image: starts from a picture of exactly `size` instead of pure noise, of which `strength` (0..1] is added.
  std::shared_ptr<const Image> init_image;
  double strength = 0.75;
  // In-painting: bright (luma of 0.5 or more) where init_image is to be painted anew. Of exactly `size`.
  std::shared_ptr<const Image> mask;

  // SDXL: what the network is told about the training picture it should imitate. Unset: the picture's own size,
  // uncropped.
  std::optional<PictureSize> original_size, target_size;
  int64_t crop_left = 0, crop_top = 0;
  double aesthetic_score = 6.0, negative_aesthetic_score = 2.5;  // SDXL refiner
  // SDXL base and refiner as one ensemble: the share of the schedule at which to begin and to stop.
  std::optional<double> denoising_start, denoising_end;
  // Latents to begin with, instead of init_image and noise: what a base model left at denoising_end.
  std::shared_ptr<const Latents> init_latents;

  std::vector<LoraUse> loras;
};

// Where the time of one call of generate() went, in milliseconds.
struct GenerationTimings {
  double text_ms = 0;
  double encode_ms = 0;  // the VAE's encoder: image-to-image and in-painting
  std::vector<double> step_ms;
  double denoise_ms = 0;  // all steps
  double decode_ms = 0;   // the VAE's decoder
  double total_ms = 0;
};

struct GenerationResult {
  Image image;
  uint64_t seed = 0;
  Latents latents;  // the final ones
  Fingerprint fingerprint{};
  GenerationTimings timings;  // of the whole batch that the picture was made in
};

// What a step callback learns.
struct StepProgress {
  int step = 0;   // 1 after the first one
  int steps = 0;  // network calls in all
  double step_ms = 0;
};
// Called after every step. Returning false cancels.
using StepCallback = std::function<bool(const StepProgress&)>;

}  // namespace dreamlab
