// Every recorded run of diffusers' pipelines, from the recorded noise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "golden_models.h"
#include "scheduler/sampler.h"

namespace dreamlab {
namespace {

constexpr double kTolerance = 1e-4;            // one network
constexpr double kTrajectoryTolerance = 1e-3;  // after many steps

struct Case {
  const char *model, *record, *name;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << "/" << c.name;
}

std::string title_of(const ::testing::TestParamInfo<Case>& info) {
  std::string title = std::string(info.param.model) + "_" + info.param.name;
  std::replace_if(
      title.begin(), title.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return title;
}

const char* sampler_name(const nlohmann::json& settings) {
  const std::string name = settings.at("scheduler");
  if (name == "LCMScheduler") return "lcm";
  if (name == "EulerDiscreteScheduler") return "euler";
  if (name == "EulerAncestralDiscreteScheduler") return "euler_a";
  if (name == "DDIMScheduler") return "ddim";
  if (name == "DPMSolverMultistepScheduler") return "dpmpp_2m_karras";
  throw std::runtime_error("no sampler for " + name);
}

class PipelineGolden : public ::testing::TestWithParam<Case> {
 protected:
  PipelineGolden()
      : golden_(GetParam().model, GetParam().record, GetParam().name), pipeline_(golden_pipeline(GetParam().model)) {}

  double guidance() const { return golden_.settings().at("guidance"); }
  bool is_inpainting() const { return golden_.has("mask"); }

  GenerationRequest request() const {
    GenerationRequest request;
    request.prompt = golden_.settings().at("prompt");
    const auto& negative = golden_.settings().at("negative");
    if (negative.is_string()) request.negative_prompt = negative;
    request.size = golden_.size();
    request.guidance_scale = guidance();
    return request;
  }

  std::unique_ptr<Sampler> sampler() const {
    const auto& settings = golden_.settings();
    SamplerOptions options;
    options.steps = settings.at("steps");
    if (settings.at("strength").is_number()) options.strength = settings.at("strength");
    if (settings.contains("denoising_start")) options.denoising_start = settings.at("denoising_start").get<double>();
    return make_sampler(sampler_name(settings), parse_schedule_config(settings.at("scheduler_config")), options);
  }

  // The start of the run, from the recorded noise and latents.
  void fill_start(DenoisingInputs& inputs) const {
    const Sampler& sampler = *inputs.sampler;
    const bool nine_channels = golden_.has("masked_image_latents");
    if (golden_.settings().contains("denoising_start")) {
      inputs.start = golden_.latents("init_latents");
    } else if (golden_.has("init_latents")) {
      inputs.start = golden_.latents("init_latents");
      sampler.add_noise(inputs.start.values, golden_.latents("noise").values, 0, inputs.start.values);
    } else {
      inputs.start = golden_.latents("noise");
      for (float& value : inputs.start.values) value *= static_cast<float>(sampler.init_noise_sigma());
    }
    if (nine_channels) {
      inputs.channels = MaskChannels{golden_.values("mask"), golden_.latents("masked_image_latents")};
    } else if (is_inpainting()) {
      inputs.blending = MaskBlending{golden_.values("mask"), golden_.latents("init_latents"), golden_.latents("noise")};
    }
  }

  DenoisingInputs inputs() const {
    DenoisingInputs inputs;
    inputs.sampler = sampler();
    inputs.noise = std::make_unique<RecordedNoise>(golden_.has("step_noise") ? golden_.values("step_noise")
                                                                             : std::vector<float>());
    inputs.text = pipeline_.encode_text(request());
    inputs.time_ids = pipeline_.time_ids(request(), false);
    inputs.negative_time_ids = pipeline_.time_ids(request(), true);
    inputs.guidance_scale = guidance();
    fill_start(inputs);
    return inputs;
  }

  GoldenCase golden_;
  Pipeline& pipeline_;
};

TEST_P(PipelineGolden, EncodesThePromptsAsRecorded) {
  const TextPair text = pipeline_.encode_text(request());
  ASSERT_EQ(text.negative.has_value(), guidance() > 1);
  const auto check = [&](const char* name, Tensor TextConditioning::*part) {
    const HostTensor& expected = golden_.tensor(name);
    const int64_t rows = expected.shape[0];
    ASSERT_EQ(rows, guidance() > 1 ? 2 : 1);
    EXPECT_LT(relative_error(pipeline_.device().download(text.positive.*part), expected.rows(rows - 1, rows).to_f32()),
              kTolerance)
        << name << " of the prompt";
    if (rows < 2) return;
    EXPECT_LT(relative_error(pipeline_.device().download((*text.negative).*part), expected.rows(0, 1).to_f32()),
              kTolerance)
        << name << " of the negative prompt";
  };
  check("prompt_embeds", &TextConditioning::states);
  if (golden_.has("pooled")) check("pooled", &TextConditioning::pooled);
}

TEST_P(PipelineGolden, TellsTheNetworkTheRecordedSizes) {
  std::vector<float> ids = pipeline_.time_ids(request(), false);
  if (guidance() > 1) {
    const std::vector<float> negative = pipeline_.time_ids(request(), true);
    ids.insert(ids.begin(), negative.begin(), negative.end());
  }
  EXPECT_EQ(ids, golden_.has("time_ids") ? golden_.values("time_ids") : std::vector<float>());
}

TEST_P(PipelineGolden, FollowsTheRecordedTrajectory) {
  DenoisingInputs inputs = this->inputs();
  EXPECT_LT(relative_error(inputs.start.values, golden_.latents("traj", 0).values), 1e-6) << "start";
  int calls = 0;
  inputs.observer = [&](int call, const Latents& latents, std::span<const float> output) {
    EXPECT_EQ(call, calls++);
    EXPECT_LT(relative_error(output, golden_.latents("model_output", call).values), kTrajectoryTolerance)
        << "network output of call " << call;
    EXPECT_LT(relative_error(latents.values, golden_.latents("traj", call + 1).values), kTrajectoryTolerance)
        << "latents after call " << call;
  };
  const std::vector<float> timesteps = golden_.values("timesteps");
  EXPECT_THAT(std::vector<float>(inputs.sampler->timesteps().begin(), inputs.sampler->timesteps().end()),
              ::testing::Pointwise(::testing::FloatNear(1e-3f), timesteps));

  const auto job = pipeline_.start(std::move(inputs));
  while (!job->done()) {
    DenoisingJob* const jobs[] = {job.get()};
    pipeline_.advance(jobs);
  }
  EXPECT_EQ(calls, static_cast<int>(timesteps.size()));
  EXPECT_TRUE(static_cast<const RecordedNoise&>(*job->inputs().noise).used_up())
      << "less noise drawn than was recorded";

  const std::vector<float> picture = pipeline_.decode(job->latents(), TilingMode::off);
  const PictureSize size = golden_.size();
  if (golden_.has("image")) {
    const Latents expected = golden_.latents("image");
    EXPECT_LT(relative_error(picture, expected.values), kTrajectoryTolerance) << "decoded picture";
  }
  const Image image = to_image(picture, size.height, size.width);
  const HostTensor& expected = golden_.tensor("image_u8");
  ASSERT_EQ(static_cast<size_t>(expected.shape.elements()), image.pixels.size());
  const auto* pixels = reinterpret_cast<const uint8_t*>(expected.data);
  int worst = 0;
  for (size_t i = 0; i < image.pixels.size(); ++i)
    worst = std::max(worst, std::abs(int{image.pixels[i]} - int{pixels[i]}));
  EXPECT_LE(worst, 1) << "of 255";
}

TEST_P(PipelineGolden, FingerprintsTheFinalLatents) {
  const HostTensor& trajectory = golden_.tensor("traj");
  const Fingerprint fingerprint = latent_fingerprint(golden_.latents("traj", trajectory.shape[0] - 1));
  const HostTensor& expected = golden_.tensor("fingerprint_bytes");
  ASSERT_EQ(expected.bytes(), kFingerprintBytes);
  int worst = 0;  // in units of the last place of a half
  for (size_t i = 0; i < kFingerprintBytes; i += 2) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(expected.data);
    worst = std::max(worst, std::abs((fingerprint[i] | fingerprint[i + 1] << 8) - (bytes[i] | bytes[i + 1] << 8)));
  }
  EXPECT_LE(worst, 1) << "units in the last place";
}

TEST_P(PipelineGolden, EncodesTheInitialPictureAsRecorded) {
  const char* names[][2] = {{"init_image", "init_latents"}, {"masked_image", "masked_image_latents"}};
  for (const auto& [picture, latents] : names) {
    if (!golden_.has(picture) || !golden_.has(latents)) continue;
    const Latents values = golden_.latents(picture);
    const Latents encoded =
        pipeline_.encode(values.values, golden_.size(), golden_.latents("posterior_noise"), TilingMode::off);
    EXPECT_LT(relative_error(encoded.values, golden_.latents(latents).values), 2e-4) << picture;
  }
}

constexpr Case kCases[] = {
    {"tiny-sd15", "pipeline", "lcm4_g1"},
    {"tiny-sd15", "pipeline", "euler8_g7.5"},
    {"tiny-sd15", "pipeline", "dpmpp2m_karras6_g5"},
    {"tiny-sd15", "pipeline", "ddim5_g3_noneg"},
    {"tiny-sd15", "pipeline", "img2img_euler10_s0.6_g4"},
    {"tiny-sd15", "pipeline", "euler_a4_g1"},
    {"tiny-sd15", "inpaint", "inpaint4_euler10_s0.8_g5"},
    {"tiny-sd15-inpaint", "pipeline", "inpaint9_euler8_g7.5"},
    {"tiny-sd2", "pipeline", "euler8_g7.5"},
    {"tiny-sd2", "pipeline", "ddim5_g3_noneg"},
    {"tiny-sdxl", "pipeline", "lcm4_g1"},
    {"tiny-sdxl", "pipeline", "euler8_g7.5"},
    {"tiny-sdxl", "pipeline", "dpmpp2m_karras6_g5"},
    {"tiny-sdxl", "pipeline", "ddim5_g3_noneg"},
    {"tiny-sdxl", "pipeline", "img2img_euler10_s0.6_g4"},
    {"tiny-sdxl", "pipeline", "euler_a4_g1"},
    {"tiny-refiner", "pipeline", "refine_euler10_start0.8_g5"},
};
INSTANTIATE_TEST_SUITE_P(Records, PipelineGolden, ::testing::ValuesIn(kCases), title_of);

}  // namespace
}  // namespace dreamlab
