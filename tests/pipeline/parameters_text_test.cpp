#include "pipeline/parameters_text.h"

#include <gtest/gtest.h>

namespace dreamlab {
namespace {

GenerationRequest plain_request() {
  GenerationRequest request;
  request.prompt = "a majestic mountain landscape";
  request.size = {1024, 768};
  request.seed = 42;
  return request;
}

TEST(ParametersText, IsWrittenAsTheWebUiWritesIt) {
  EXPECT_EQ(
      parameters_text(plain_request(), "sdxl-base", "dreamlab 0.1.0"),
      "a majestic mountain landscape\n"
      "Steps: 4, Sampler: LCM, CFG scale: 1, Seed: 42, Size: 1024x768, Model: sdxl-base, Version: dreamlab 0.1.0");
}

TEST(ParametersText, NamesWhatDiffersFromTheDefaults) {
  GenerationRequest request = plain_request();
  request.negative_prompt = "blurry, dark";
  request.sampler = "dpmpp_2m_karras";
  request.steps = 20;
  request.guidance_scale = 7.5;
  request.clip_skip = 2;
  request.noise = NoiseKind::cpu;
  request.emphasis = false;
  request.eta = 0.5;
  request.guidance_rescale = 0.7;
  request.init_image = std::make_shared<Image>(Image::blank(1024, 768));
  request.strength = 0.6;
  EXPECT_EQ(parameters_text(request, "a,b", "v"),
            "a majestic mountain landscape\n"
            "Negative prompt: blurry, dark\n"
            "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, Size: 1024x768, Model: \"a,b\", "
            "Denoising strength: 0.6, Clip skip: 2, Eta: 0.5, CFG Rescale: 0.7, RNG: CPU, Emphasis: None, Version: v");
}

TEST(ParametersText, TakesFurtherNamesAndValues) {
  EXPECT_EQ(parameters_text(plain_request(), "m", "v", {{"Style", "ink, red"}, {"Style level", "2"}}),
            "a majestic mountain landscape\n"
            "Steps: 4, Sampler: LCM, CFG scale: 1, Seed: 42, Size: 1024x768, Model: m, Style: \"ink, red\", "
            "Style level: 2, Version: v");
}

}  // namespace
}  // namespace dreamlab
