#pragma once

// Text-to-image, image-to-image and in-painting with one model.
//
//   Pipeline pipeline(device, Checkpoint::open("model.safetensors"));
//   GenerationRequest request = pipeline.default_request();
//   request.prompt = "a lighthouse on a cliff";
//   Image image = pipeline.generate(request).image;
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "model/unet.h"
#include "model/vae.h"
#include "pipeline/denoiser.h"
#include "pipeline/request.h"
#include "pipeline/text_conditioner.h"
#include "weights/checkpoint.h"

namespace dreamlab {

struct PipelineOptions {
  std::filesystem::path unet;           // a checkpoint whose UNet stands in for the model's own; "": none
  std::filesystem::path vae;            // a VAE that stands in for the model's own; "": none
  const CancelToken* cancel = nullptr;  // looked at between the networks while they load
};

// From this many pixels on, a picture is decoded (and encoded) in tiles unless the request says otherwise: below, the
// whole fits comfortably in memory and is faster, since overlapping tiles compute a part of the picture twice.
constexpr int64_t kTiledPixels = 1536 * 1536;
// Side of a tile in latents where tiling is automatic, and where it was asked for, which is for memory's sake.
constexpr int64_t kAutomaticTile = 128, kRequestedTile = 64;

// A model on a device. One thread uses a pipeline at a time.
class Pipeline {
 public:
  // Loads text encoders, UNet and VAE decoder; the VAE encoder follows when it is first needed. The device must outlive
  // the pipeline. Throws Error when a part is missing or does not fit.
  Pipeline(Device& device, std::shared_ptr<const Checkpoint> checkpoint, const PipelineOptions& options = {});
  ~Pipeline();

  // Defaults of this model: its native size, 4 steps of LCM without guidance.
  GenerationRequest default_request() const;
  // Throws Error(invalid_argument), one line, for anything out of range or missing in the request.
  void check(const GenerationRequest& request) const;

  GenerationResult generate(const GenerationRequest& request, const StepCallback& on_step = {},
                            const CancelToken* cancel = nullptr);
  // Several requests of one size in one batch. Each result is what its request gives alone. A raised token or a
  // callback that returns false ends all of them within one step, by Error(cancelled).
  std::vector<GenerationResult> generate_batch(std::span<const GenerationRequest> requests,
                                               const StepCallback& on_step = {}, const CancelToken* cancel = nullptr);

  // --- the same in pieces, for callers that mix requests step by step ---
  // Encodes the text and the pictures of a request and draws its noise. timings: text_ms and encode_ms are added to.
  std::unique_ptr<DenoisingJob> start(const GenerationRequest& request, GenerationTimings* timings = nullptr,
                                      const CancelToken* cancel = nullptr);
  // From explicit inputs, as start() makes them from a request.
  std::unique_ptr<DenoisingJob> start(DenoisingInputs inputs, const CancelToken* cancel = nullptr);
  // One network call for every job.
  void advance(std::span<DenoisingJob* const> jobs, const CancelToken* cancel = nullptr);
  // Final latents (scaled, as the UNet sees them) to a picture [H, W, 3] in about -1..1.
  std::vector<float> decode(const Latents& latents, TilingMode tiling, const CancelToken* cancel = nullptr) const;
  Image decode_image(const Latents& latents, TilingMode tiling, const CancelToken* cancel = nullptr) const;
  // A picture [H, W, 3] in -1..1 to scaled latents: scaling_factor * (mean + std * posterior_noise).
  Latents encode(std::span<const float> picture, PictureSize size, const Latents& posterior_noise, TilingMode tiling,
                 const CancelToken* cancel = nullptr);
  TextPair encode_text(const GenerationRequest& request, const CancelToken* cancel = nullptr);
  // The size conditions of SDXL, and those of the negative prompt; empty for other families.
  std::vector<float> time_ids(const GenerationRequest& request, bool negative) const;

  // Reads an adapter for this model; it may be used in any number of requests. Throws Error(invalid_file) when it was
  // made for another kind of model.
  std::shared_ptr<const LoraAdapter> load_lora(const std::filesystem::path& path) const;

  const ModelConfig& config() const { return config_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  Device& device() const { return device_; }
  // Whether a request is guided by its negative prompt: two images a network call instead of one. Never for models that
  // take the guidance scale as an input.
  bool uses_guidance(const GenerationRequest& request) const;

 private:
  const VaeEncoder& vae_encoder();
  // The decoder's input and its result, on its device.
  Tensor unscaled(const Latents& latents) const;
  Tensor decode_on_device(const Latents& latents, TilingMode tiling, const CancelToken* cancel) const;
  Device& vae_device() const { return wide_device_ ? *wide_device_ : device_; }

  Device& device_;
  // The same device in bf16, where its own f16 is too narrow for SDXL's autoencoder, whose activations pass 65,504.
  std::unique_ptr<Device> wide_device_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  std::shared_ptr<const WeightSource> vae_weights_;  // of another file than the model's
  TextConditioner text_;
  std::unique_ptr<UNet> unet_;
  std::unique_ptr<Denoiser> denoiser_;
  std::unique_ptr<VaeDecoder> vae_decoder_;
  std::unique_ptr<VaeEncoder> vae_encoder_;
};

}  // namespace dreamlab
