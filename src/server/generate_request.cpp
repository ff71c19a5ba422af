#include "server/generate_request.h"

#include <fmt/ranges.h>

#include "base/picture_size.h"
#include "scheduler/sampler.h"
#include "server/generation.h"
#include "server/uploaded_picture.h"

namespace dreamlab {

namespace {

constexpr size_t kLongestPrompt = 20'000;
constexpr size_t kLongestName = 200;
constexpr int64_t kLargestSeed = 2147483647;

const Schema<StyleChoice>& style_schema() {
  using S = Schema<StyleChoice>;
  static const S schema(
      {.title = "StyleChoice", .description = "A style of the registry and how much of it."},
      {S::field(text("style", "The style's id.").length(1, kLongestName).required(), &StyleChoice::style),
       S::field(integer("level", 0, 8, "Which rung of the style's ladder; 0: off; above the ladder: its last.")
                    .fallback(int64_t{1}),
                &StyleChoice::level)});
  return schema;
}

}  // namespace

FieldRules prompt_row() {
  return text("prompt", "What to paint. (word:1.3) weighs a word, [word] makes it weaker.")
      .length(0, kLongestPrompt)
      .example("a majestic mountain landscape");
}

FieldRules size_row(std::string description) {
  return text("size", std::move(description)).form("^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$", [](const std::string& size) {
    parse_size(size);
  });
}

FieldRules scheduler_row(const std::string& name, std::string description) {
  return text(name, fmt::format("{} One of {}.", description, fmt::join(sampler_names(), ", ")))
      .form("", [name](const std::string& value) {
        try {
          find_sampler(value);
        } catch (const Error& error) {
          fail(ErrorKind::invalid_argument, "{}: {}", name, error.what());
        }
      });
}

const Schema<GenerateBody>& generate_schema() {
  using S = Schema<GenerateBody>;
  using B = GenerateBody;
  static const S schema(
      {.title = "GenerateRequest", .description = "A picture to make."},
      {S::field(prompt_row().required(), &B::prompt),
       S::field(text("negative_prompt", "What to keep away from; counts where guidance_scale is over 1.")
                    .length(0, kLongestPrompt)
                    .fallback(""),
                &B::negative_prompt),
       S::field(size_row("WIDTHxHEIGHT in pixels, multiples of 8 up to 4096. Default: the mode's, DEFAULT_SIZE, or "
                         "the model's native size; with init_image, that picture's size.")
                    .example("512x512"),
                &B::size),
       S::field(integer("num_inference_steps", 1, 50, "Denoising steps. Default: the mode's or DEFAULT_STEPS.")
                    .example(int64_t{4}),
                &B::steps),
       S::field(number("guidance_scale", 0, 20,
                       "How strictly to follow the prompt; up to 1 the negative prompt is left out and a step takes "
                       "half the time. Default: the mode's or DEFAULT_GUIDANCE."),
                &B::guidance_scale),
       S::field(integer("seed", 0, kLargestSeed,
                        "The same seed and request give the same picture. Default: drawn at random in 0..99999999.")
                    .nullable()
                    .example(int64_t{42}),
                &B::seed),
       S::field(scheduler_row("scheduler", "The sampler. Default: the mode's or SCHEDULER."), &B::scheduler),
       S::nullable(S::nested("style_lora", style_schema(), &B::style, "A style. Default: none.")),
       S::field(text("mode", "A mode's name (GET /api/modes). Default: the current one.").length(0, kLongestName),
                &B::mode),
       S::field(boolean("superres", "Whether to upscale the picture.").fallback(false), &B::superres),
       S::field(integer("superres_magnitude", 1, 3, "Passes of the upscaler.").fallback(int64_t{2}),
                &B::superres_magnitude),
       S::field(choice("superres_format", {"png", "jpeg"}, "File format of the upscaled picture.").fallback("png"),
                &B::superres_format),
       S::field(integer("superres_quality", 1, 100, "JPEG quality of the upscaled picture.").fallback(int64_t{92}),
                &B::superres_quality),
       S::field(text("init_image", "A PNG, JPEG or WebP to start from, in base64 or as a data URL.").nullable(),
                &B::init_image_base64),
       S::field(text("mask", "Bright where init_image is to be painted anew; as init_image.").nullable(),
                &B::mask_base64),
       S::field(number("strength", 0.01, 1, "How much init_image may change; 1: altogether.").fallback(0.75),
                &B::strength),
       S::field(integer("clip_skip", 1, 12, "Text states of how many blocks before the encoder's end; 1: the usual.")
                    .fallback(int64_t{1}),
                &B::clip_skip),
       S::field(number("timeout", 0.001, 3600, "Seconds that the picture may take. Default: DEFAULT_TIMEOUT."),
                &B::timeout_s),
       S::field(boolean("latents", "Whether X-Latent-Fingerprint is to be in the answer.").fallback(false),
                &B::latents)});
  return schema;
}

void decode_pictures(GenerateBody& body) {
  if (!body.mask_base64.empty() && body.init_image_base64.empty())
    throw RequestError(422, "mask", "mask is given without init_image; allowed: both, or neither");
  if (!body.init_image_base64.empty()) body.init_image = decode_base64_picture(body.init_image_base64, "init_image");
  if (!body.mask_base64.empty()) body.mask = decode_base64_picture(body.mask_base64, "mask");
  body.init_image_base64 = {};
  body.mask_base64 = {};
}

void check_post_processing(const ServerContext& context, const PipelineService& service, const GenerateBody& body) {
  if (!body.superres) return;
  super_resolution_of(context);
  if (const auto size = expected_size(context, service, body))
    check_super_resolution(context, *size, body.superres_magnitude);
}

}  // namespace dreamlab
