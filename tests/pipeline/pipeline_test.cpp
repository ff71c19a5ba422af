// What requests may rely on: determinism alone and in company, cancelling, checks, and every way to start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "golden_models.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

GenerationRequest request_for(const Pipeline& pipeline, uint64_t seed, PictureSize size = {64, 72}) {
  GenerationRequest request = pipeline.default_request();
  request.prompt = "a photograph of an astronaut riding a horse";
  request.size = size;
  request.steps = 3;
  request.seed = seed;
  return request;
}

std::shared_ptr<const Image> picture(PictureSize size) {
  Image image = Image::blank(size.width, size.height);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>((i * 7) % 251);
  return std::make_shared<Image>(std::move(image));
}

// The left half bright.
std::shared_ptr<const Image> half_mask(PictureSize size) {
  Image image = Image::blank(size.width, size.height);
  for (int64_t y = 0; y < size.height; ++y) std::memset(image.row(y), 255, static_cast<size_t>(size.width / 2 * 3));
  return std::make_shared<Image>(std::move(image));
}

class PipelineTest : public ::testing::TestWithParam<const char*> {
 protected:
  Pipeline& pipeline() const { return golden_pipeline(GetParam()); }
};

TEST_P(PipelineTest, TheSameRequestGivesTheSamePicture) {
  const GenerationRequest request = request_for(pipeline(), 5);
  const GenerationResult a = pipeline().generate(request), b = pipeline().generate(request);
  EXPECT_TRUE(a.image == b.image);
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.latents.values, b.latents.values);
  EXPECT_FALSE(pipeline().generate(request_for(pipeline(), 6)).image == a.image) << "the seed has no effect";
}

TEST_P(PipelineTest, ThePromptTheNegativePromptAndTheGuidanceMatter) {
  GenerationRequest request = request_for(pipeline(), 5);
  const Image plain = pipeline().generate(request).image;
  request.prompt = "a watercolor of a lighthouse";
  EXPECT_FALSE(pipeline().generate(request).image == plain);
  request.negative_prompt = "blurry";
  const Image unguided = pipeline().generate(request).image;
  request.guidance_scale = 4;
  const Image guided = pipeline().generate(request).image;
  EXPECT_FALSE(guided == unguided);
  request.negative_prompt = "sharp";
  EXPECT_FALSE(pipeline().generate(request).image == guided);
  request.guidance_rescale = 0.7;
  EXPECT_FALSE(pipeline().generate(request).image == guided);
}

TEST_P(PipelineTest, ABatchGivesWhatEachRequestGivesAlone) {
  std::vector<GenerationRequest> requests;
  for (uint64_t seed : {1, 2, 3, 4}) requests.push_back(request_for(pipeline(), seed));
  requests[1].guidance_scale = 5;
  requests[1].negative_prompt = "blurry";
  requests[2].prompt = "another (prompt:1.3)";
  requests[2].sampler = "euler_a";
  requests[2].steps = 2;
  requests[3].noise = NoiseKind::cpu;
  const std::vector<GenerationResult> together = pipeline().generate_batch(requests);
  ASSERT_EQ(together.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const GenerationResult alone = pipeline().generate(requests[i]);
    EXPECT_EQ(together[i].latents.values, alone.latents.values) << "request " << i;
    EXPECT_TRUE(together[i].image == alone.image) << "request " << i;
    EXPECT_EQ(together[i].seed, requests[i].seed);
  }
}

TEST_P(PipelineTest, ARequestMayJoinAndLeaveBetweenSteps) {
  const GenerationRequest first = request_for(pipeline(), 1), second = request_for(pipeline(), 2);
  const GenerationRequest other_size = request_for(pipeline(), 3, {72, 64});
  const auto a = pipeline().start(first);
  DenoisingJob* only_a[] = {a.get()};
  pipeline().advance(only_a);
  const auto b = pipeline().start(second);
  const auto c = pipeline().start(other_size);
  DenoisingJob* all[] = {a.get(), b.get(), c.get()};
  while (!a->done()) pipeline().advance(all);
  DenoisingJob* rest[] = {c.get(), b.get()};
  while (!b->done()) pipeline().advance(rest);
  ASSERT_TRUE(c->done());
  EXPECT_EQ(a->latents().values, pipeline().generate(first).latents.values);
  EXPECT_EQ(b->latents().values, pipeline().generate(second).latents.values);
  EXPECT_EQ(c->latents().values, pipeline().generate(other_size).latents.values);
}

TEST_P(PipelineTest, ThreadsDoNotChangeABit) {
  const auto device = make_cpu_device({.threads = 1, .dtype = DType::f32});
  Pipeline single(*device, Checkpoint::open(golden_dir() / "models" / (std::string(GetParam()) + ".safetensors")));
  const GenerationRequest request = request_for(single, 9);
  EXPECT_EQ(single.generate(request).latents.values, pipeline().generate(request).latents.values);
}

TEST_P(PipelineTest, GuidanceOfOneRunsTheNetworkOnOneImage) {
  GenerationRequest request = request_for(pipeline(), 1);
  const auto rows = [&](double guidance) {
    request.guidance_scale = guidance;
    return pipeline().start(request)->rows();
  };
  EXPECT_EQ(rows(0), 1);
  EXPECT_EQ(rows(1), 1);
  EXPECT_EQ(rows(1.5), 2);
}

TEST_P(PipelineTest, EveryStepIsReportedAndMeasured) {
  GenerationRequest request = request_for(pipeline(), 1);
  std::vector<int> steps;
  const GenerationResult result = pipeline().generate(request, [&](const StepProgress& progress) {
    EXPECT_EQ(progress.steps, 3);
    EXPECT_GT(progress.step_ms, 0);
    steps.push_back(progress.step);
    return true;
  });
  EXPECT_THAT(steps, ::testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(result.timings.step_ms.size(), 3u);
  EXPECT_GT(result.timings.decode_ms, 0);
  EXPECT_GE(result.timings.total_ms, result.timings.denoise_ms + result.timings.decode_ms + result.timings.text_ms);
}

TEST_P(PipelineTest, CancellingEndsTheRunWithinOneStep) {
  const GenerationRequest request = request_for(pipeline(), 1);
  int steps = 0;
  const auto expect_cancelled = [&](const StepCallback& on_step, const CancelToken* token) {
    steps = 0;
    try {
      pipeline().generate(request, on_step, token);
      ADD_FAILURE() << "ran to the end";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::cancelled) << error.what();
    }
  };
  expect_cancelled([&](const StepProgress&) { return ++steps < 2; }, nullptr);
  EXPECT_EQ(steps, 2);
  CancelToken token;
  expect_cancelled(
      [&](const StepProgress&) {
        ++steps;
        token.cancel();
        return true;
      },
      &token);
  EXPECT_EQ(steps, 1);
  expect_cancelled([&](const StepProgress&) { return ++steps < 100; }, &token);
  EXPECT_EQ(steps, 0) << "the token was raised before";
}

TEST_P(PipelineTest, LowStrengthStaysCloserToTheInitialPicture) {
  const PictureSize size{64, 64};
  GenerationRequest request = request_for(pipeline(), 3, size);
  request.sampler = "euler";
  request.steps = 10;
  request.init_image = picture(size);
  const auto distance_at = [&](double strength) {
    request.strength = strength;
    const auto job = pipeline().start(request);
    EXPECT_EQ(job->calls(), static_cast<int>(std::lround(10 * strength)));
    // How far the start is from the encoded picture: the noise that was added.
    double sum = 0;
    for (float value : job->latents().values) sum += double{value} * value;
    return sum;
  };
  EXPECT_LT(distance_at(0.2), distance_at(0.9));
  EXPECT_FALSE(pipeline().generate(request).image == *request.init_image);
}

TEST_P(PipelineTest, InpaintingKeepsTheLatentsOutsideOfTheMask) {
  const PictureSize size{64, 64};
  GenerationRequest request = request_for(pipeline(), 3, size);
  request.init_image = picture(size);
  request.mask = half_mask(size);
  request.strength = 1.0;
  const Latents painted = pipeline().generate(request).latents;
  const auto job = pipeline().start(request);
  const Latents& original = job->inputs().blending->original;
  int changed = 0;
  for (size_t i = 0; i < painted.values.size(); ++i) {
    const bool kept = (i / 4) % 8 >= 4;
    if (kept) {
      EXPECT_EQ(painted.values[i], original.values[i]) << i;
    } else {
      changed += painted.values[i] != original.values[i];
    }
  }
  EXPECT_GT(changed, 100);
}

TEST_P(PipelineTest, AnotherSizeThanTheNativeOneNeedsNoMultipleOf64) {
  for (PictureSize size : {PictureSize{8, 8}, {88, 40}, {136, 24}}) {
    const GenerationResult result = pipeline().generate(request_for(pipeline(), 1, size));
    EXPECT_EQ(result.image.width, size.width);
    EXPECT_EQ(result.image.height, size.height);
  }
}

TEST_P(PipelineTest, TilingOnRequestGivesAPictureOfTheSameSize) {
  GenerationRequest request = request_for(pipeline(), 1, {520, 64});
  request.steps = 1;
  request.vae_tiling = TilingMode::off;
  const Image whole = pipeline().generate(request).image;
  request.vae_tiling = TilingMode::on;
  const Image tiled = pipeline().generate(request).image;
  EXPECT_EQ(tiled.width, whole.width);
  EXPECT_EQ(tiled.height, whole.height);
  EXPECT_FALSE(tiled == whole) << "tiles see less of the picture; equal bytes mean that none were made";
}

TEST_P(PipelineTest, WhatIsOutOfRangeIsRefusedBeforeAnyWork) {
  const GenerationRequest good = request_for(pipeline(), 1, {64, 64});
  struct Case {
    std::function<void(GenerationRequest&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](GenerationRequest& r) {
         r.size = {60, 64};
       },
       "Invalid size"},
      {[](GenerationRequest& r) {
         r.size = {0, 64};
       },
       "Invalid size"},
      {[](GenerationRequest& r) {
         r.size = {64, 40960};
       },
       "Invalid size"},
      {[](GenerationRequest& r) { r.steps = 0; }, "steps 0 is out of range; 1.."},
      {[](GenerationRequest& r) { r.steps = 1000; }, "steps 1000"},
      {[](GenerationRequest& r) { r.guidance_scale = -1; }, "guidance scale -1"},
      {[](GenerationRequest& r) { r.guidance_scale = std::nan(""); }, "guidance scale nan"},
      {[](GenerationRequest& r) { r.strength = 0; }, "strength 0"},
      {[](GenerationRequest& r) { r.sampler = "magic"; }, "magic"},
      {[](GenerationRequest& r) { r.clip_skip = 99; }, "clip skip 99"},
      {[](GenerationRequest& r) {
         r.mask = picture({64, 64});
       },
       "mask needs the picture"},
      {[](GenerationRequest& r) {
         r.init_image = picture({72, 64});
       },
       "Invalid size of the initial picture"},
  };
  for (const Case& c : cases) {
    GenerationRequest request = good;
    c.spoil(request);
    try {
      pipeline().generate(request);
      ADD_FAILURE() << "accepted: " << c.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(c.message));
    }
  }
  const GenerationRequest two_sizes[] = {good, request_for(pipeline(), 1, {72, 64})};
  EXPECT_THROW(pipeline().generate_batch(two_sizes), Error);
}

INSTANTIATE_TEST_SUITE_P(Models, PipelineTest, ::testing::Values("tiny-sd15", "tiny-sdxl"),
                         [](const auto& info) { return std::string(info.param) == "tiny-sd15" ? "Sd15" : "Sdxl"; });

TEST(Pipeline, AnInpaintingModelPaintsWithAndWithoutAPicture) {
  Pipeline& pipeline = golden_pipeline("tiny-sd15-inpaint");
  const PictureSize size{64, 64};
  GenerationRequest request = request_for(pipeline, 3, size);
  const auto bare = pipeline.start(request);
  EXPECT_EQ(bare->input_channels(), 9);
  EXPECT_EQ(bare->inputs().channels->mask, std::vector<float>(64, 1.0f))
      << "without a picture everything is to be painted";
  const Image plain = pipeline.generate(request).image;
  request.init_image = picture(size);
  request.mask = half_mask(size);
  request.strength = 1.0;
  EXPECT_FALSE(pipeline.generate(request).image == plain);
}

TEST(Pipeline, AModelThatTakesTheGuidanceScaleAsAnInputRunsOnceAStep) {
  ModelConfig config = golden_pipeline("tiny-sd15").config();
  config.unet.time_cond_proj_dim = 64;
  Pipeline pipeline(golden_device(), Checkpoint::random(config, 1));
  GenerationRequest request = request_for(pipeline, 3, {64, 64});
  request.guidance_scale = 8;
  EXPECT_FALSE(pipeline.uses_guidance(request));
  EXPECT_EQ(pipeline.start(request)->rows(), 1);
  const Latents strong = pipeline.generate(request).latents;
  request.guidance_scale = 1;
  EXPECT_NE(pipeline.generate(request).latents.values, strong.values)
      << "the guidance scale does not reach the network";
}

// Styles.
class LoraTest : public ::testing::Test {
 protected:
  LoraUse lora(float strength) {
    if (!adapter_) adapter_ = pipeline_.load_lora(golden_dir() / "models" / "tiny-sd15-lora-kohya.safetensors");
    return {adapter_, strength};
  }

  Pipeline& pipeline_ = golden_pipeline("tiny-sd15");
  std::shared_ptr<const LoraAdapter> adapter_;
};

TEST_F(LoraTest, AStyleLeavesNoTraceInTheNextRequest) {
  const GenerationRequest plain = request_for(pipeline_, 4);
  const Image before = pipeline_.generate(plain).image;
  GenerationRequest styled = plain;
  styled.loras = {lora(0.8f)};
  EXPECT_FALSE(pipeline_.generate(styled).image == before) << "the style has no effect";
  EXPECT_TRUE(pipeline_.generate(plain).image == before);
}

TEST_F(LoraTest, StylesMayDifferInsideABatch) {
  std::vector<GenerationRequest> requests(3, request_for(pipeline_, 4));
  requests[1].loras = {lora(0.8f)};
  requests[2].loras = {lora(0.3f)};
  const std::vector<GenerationResult> together = pipeline_.generate_batch(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i].latents.values, pipeline_.generate(requests[i]).latents.values) << "request " << i;
  }
}

TEST_F(LoraTest, AStyleForAnotherModelIsRefusedByName) {
  try {
    pipeline_.load_lora(golden_dir() / "models" / "tiny-sdxl-lora-kohya.safetensors");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tiny-sdxl-lora-kohya.safetensors"));
  }
}

}  // namespace
}  // namespace dreamlab
