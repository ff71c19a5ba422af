#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/unet_blocks.h"
#include "pipeline/latents.h"
#include "pipeline/request.h"
#include "pipeline/text_conditioner.h"
#include "scheduler/sampler.h"

namespace dreamlab {

// In-painting on an ordinary UNet: after every step, what is not to be repainted is put back, as noisy as the step left
// the rest.
struct MaskBlending {
  std::vector<float> mask;  // [H, W] of the latents; 1: repaint
  Latents original;         // of the picture, scaled
  Latents noise;            // the noise that the run started with
};

// In-painting on a UNet with 9 input channels: what it sees beside the latents.
struct MaskChannels {
  std::vector<float> mask;  // [H, W] of the latents; 1: repaint
  Latents masked_image;     // latents of the picture with the repainted part blanked, scaled
};

// Sees the latents and the network's output after guidance (both [H, W, C]) after every network call.
using StepObserver = std::function<void(int call, const Latents& latents, std::span<const float> model_output)>;

// All that one run of the denoiser starts from.
struct DenoisingInputs {
  std::unique_ptr<Sampler> sampler;
  std::unique_ptr<NoiseSource> noise;              // of the steps, drawn in [C, H, W] order
  Latents start;                                   // as the first network call finds them, before scale_model_input
  TextPair text;                                   // with a negative prompt: classifier-free guidance, two rows a call
  std::vector<float> time_ids, negative_time_ids;  // SDXL: 6 numbers (refiner: 5), else empty
  double guidance_scale = 1.0;
  double guidance_rescale = 0.0;
  std::optional<MaskBlending> blending;
  std::optional<MaskChannels> channels;
  std::vector<LoraUse> loras;
  StepObserver observer;  // or none
};

// The state of one request between steps. Made and moved on by a Denoiser.
class DenoisingJob {
 public:
  // serial: another number than every other job of the denoiser. text: from UNet::project_text of [negative; positive]
  // or of the positive alone; pooled likewise, joined.
  DenoisingJob(uint64_t serial, DenoisingInputs inputs, TextContext text, Tensor pooled);

  uint64_t serial() const { return serial_; }
  int calls() const { return inputs_.sampler->calls(); }  // network calls in all
  int call() const { return call_; }                      // those that are done
  bool done() const { return call_ >= calls(); }
  const Latents& latents() const { return inputs_.start; }
  const DenoisingInputs& inputs() const { return inputs_; }

  // Images in the network's batch: the negative prompt's first.
  int64_t rows() const { return inputs_.text.negative ? 2 : 1; }
  const TextContext& text() const { return text_; }
  const Tensor& pooled() const { return pooled_; }
  float timestep() const { return inputs_.sampler->timesteps()[call_]; }
  int64_t tokens() const { return inputs_.text.positive.states.dim(1); }
  int64_t input_channels() const;

  // The network's input at this call, [rows, H, W, input_channels].
  void fill_input(std::span<float> out) const;
  // Draws the noise of the step under way, where the last one had some, for a time when there is nothing else to do.
  void draw_ahead();
  // Takes the network's output [rows, H, W, C] and goes on to the next call.
  void advance(std::span<const float> output);

 private:
  class StepNoise;

  void blend();

  uint64_t serial_;
  DenoisingInputs inputs_;
  TextContext text_;
  Tensor pooled_;
  int call_ = 0;
  bool draws_ = false;        // whether the sampler drew noise in the last step
  std::vector<float> drawn_;  // ahead, [H, W, C]; or empty
};

}  // namespace dreamlab
