// Whether the model in the box draws what it is asked for.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/assets.h"
#include "base/file.h"
#include "demo/judge.h"
#include "device/make_device.h"
#include "pipeline/pipeline.h"
#include "pipeline/upscaler.h"
#include "weights/checkpoint.h"
#include "worker/model_location.h"
#include "worker/styles.h"

namespace dreamlab {
namespace {

// Sanitizers look at the same code for a tenth of the pictures as for all; what pictures show is measured without them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

Image part_of(const Image& sheet, int64_t x, int64_t y, int64_t side) {
  Image part = Image::blank(side, side);
  for (int64_t row = 0; row < side; ++row) std::copy_n(sheet.row(y + row) + 3 * x, 3 * side, part.row(row));
  return part;
}

class Demo : public ::testing::Test {
 protected:
  GenerationRequest request(const std::string& prompt, uint64_t seed) const {
    GenerationRequest request = pipeline_.default_request();
    request.prompt = prompt;
    request.seed = seed;
    return request;
  }
  Image draw(const std::string& prompt, uint64_t seed) const { return pipeline_.generate(request(prompt, seed)).image; }
  // The first `count` test prompts in a style.
  std::vector<Image> draw_in_style(const std::vector<LoraUse>& style, size_t count) const {
    std::vector<GenerationRequest> requests;
    for (size_t i = 0; i < count; ++i) {
      requests.push_back(request(prompts_[i].prompt, i));
      requests.back().loras = style;
    }
    std::vector<Image> pictures;
    for (const GenerationResult& result : pipeline_.generate_batch(requests)) pictures.push_back(result.image);
    return pictures;
  }

  const std::unique_ptr<Device> device_ = make_device({.device = "cpu", .dtype = "fp32", .threads = 2});
  const Judge judge_{*device_};
  mutable Pipeline pipeline_{*device_, Checkpoint::open(*find_asset("models/demo")), {}};
  const std::vector<Facts> prompts_ = test_prompts();
};

// Drawings of the first test prompts, by the program that the model learned from: what the judge is right about.
TEST_F(Demo, TheJudgeKnowsDrawings) {
  const std::string path = std::string(DREAMLAB_TEST_DATA_DIR) + "/drawings.png";
  const Image sheet = decode_image(read_file(path), path).image;
  ASSERT_EQ(sheet.width, 8 * 256);
  ASSERT_EQ(sheet.height, 2 * 256);
  const std::vector<Facts>& facts = prompts_;
  for (int64_t i = 0; i < 16; ++i) {
    const Judge::Findings found = judge_.look(part_of(sheet, i % 8 * 256, i / 8 * 256, 256));
    SCOPED_TRACE(facts[static_cast<size_t>(i)].prompt);
    EXPECT_TRUE(found.shows_things(facts[static_cast<size_t>(i)]));
    EXPECT_TRUE(found.shows_scene(facts[static_cast<size_t>(i)]));
    EXPECT_EQ(found.style, "plain");
    // And not about others.
    EXPECT_FALSE(found.shows_things(facts[static_cast<size_t>(i) + 100]));
  }
}

// By four steps of LCM. Prompts of things, colors, places and positions that training never brought together.
TEST_F(Demo, FollowsPromptsThatItWasNotTrainedOn) {
  const GenerationRequest defaults = pipeline_.default_request();
  EXPECT_EQ(defaults.steps, 4);
  EXPECT_EQ(defaults.sampler, "lcm");
  EXPECT_EQ(defaults.guidance_scale, 1.0f);
  ASSERT_EQ(prompts_.size(), 200u);
  const std::span<const Facts> prompts = std::span(prompts_).first(kSanitized ? 24 : 200);
  size_t things = 0, scenes = 0;
  constexpr size_t kBatch = 8;
  for (size_t at = 0; at < prompts.size(); at += kBatch) {
    std::vector<GenerationRequest> requests;
    for (size_t i = at; i < at + kBatch; ++i) requests.push_back(request(prompts[i].prompt, i));
    const std::vector<GenerationResult> results = pipeline_.generate_batch(requests);
    for (size_t i = at; i < at + kBatch; ++i) {
      const Judge::Findings found = judge_.look(results[i - at].image);
      things += found.shows_things(prompts[i]);
      scenes += found.shows_scene(prompts[i]);
    }
  }
  RecordProperty("right_things", static_cast<int>(things));
  RecordProperty("right_scenes", static_cast<int>(scenes));
  // A little below what the model card says, since rounding differs from processor to processor.
  const size_t least = prompts.size() * 95 / 100;
  EXPECT_GE(things, least) << "pictures of " << prompts.size() << " that show the right things in the right colors";
  EXPECT_GE(scenes, least) << "pictures of " << prompts.size() << " that show them where they should be";
}

TEST_F(Demo, AMajesticMountainLandscapeShowsMountains) {
  for (uint64_t seed : {0, 1, 2, 3, 42})
    EXPECT_EQ(judge_.look(draw("a majestic mountain landscape", seed)).place, "mountains") << "seed " << seed;
}

// Level by level the judge is surer of a style, and at the last it finds it in four pictures of five.
TEST_F(Demo, StylesChangeThePictureLevelByLevel) {
  constexpr size_t kFew = kSanitized ? 2 : 6, kMany = kSanitized ? 4 : 15;
  const std::vector<Image> plain = draw_in_style({}, kFew);
  const std::vector<StyleEntry> styles = shipped_styles();
  ASSERT_EQ(styles.size(), 3u);
  for (const StyleEntry& style : styles) {
    SCOPED_TRACE(style.id);
    const auto lora = pipeline_.load_lora(style.path.string());
    const auto sure_of = [&](const std::vector<Image>& pictures) {
      double sum = 0;
      for (const Image& picture : pictures) sum += judge_.style_probability(picture, style.id);
      return sum / static_cast<double>(pictures.size());
    };
    double before = sure_of(plain);
    EXPECT_LT(before, 0.05);
    std::vector<Image> pictures;
    ASSERT_EQ(style.levels.size(), 3u);
    for (const double level : style.levels) {
      pictures = draw_in_style({{lora, static_cast<float>(level)}}, level == style.levels.back() ? kMany : kFew);
      const double sure = sure_of(pictures);
      RecordProperty(fmt::format("sure_of_{}_at_{}", style.id, level), fmt::format("{:.3f}", sure));
      EXPECT_GT(sure, before) << "level " << level;
      before = sure;
    }
    int found = 0;
    for (const Image& picture : pictures) found += judge_.look(picture).style == style.id;
    RecordProperty("found_" + style.id, found);
    EXPECT_GE(found, static_cast<int>(kMany * 4 / 5)) << "pictures of " << kMany;
    // Strength 0, and what comes after a style, are as if there were none.
    EXPECT_EQ(draw_in_style({{lora, 0.0f}}, 1)[0].pixels, plain[0].pixels);
  }
}

// Drawings made half as large come back nearer to what they were than by Lanczos.
TEST(ShippedUpscaler, BeatsLanczosOnDrawings) {
  const std::string path = std::string(DREAMLAB_TEST_DATA_DIR) + "/drawings.png";
  const Image sheet = decode_image(read_file(path), path).image;
  Image small = Image::blank(sheet.width / 2, sheet.height / 2);
  for (int64_t y = 0; y < small.height; ++y) {
    for (int64_t i = 0; i < 3 * small.width; ++i) {
      const int64_t x = i / 3 * 6 + i % 3;
      const uint8_t *upper = sheet.row(2 * y) + x, *lower = sheet.row(2 * y + 1) + x;
      small.row(y)[i] = static_cast<uint8_t>((upper[0] + upper[3] + lower[0] + lower[3] + 2) / 4);
    }
  }
  const auto psnr = [&](const std::string& model) {
    UpscalerOptions options;
    options.path = model;
    options.device.dtype = "fp32";
    const Image large = Upscaler(options).upscale(small, {});
    double squares = 0;
    for (size_t i = 0; i < large.pixels.size(); ++i) squares += std::pow(double(large.pixels[i]) - sheet.pixels[i], 2);
    return 10 * std::log10(255 * 255 * static_cast<double>(large.pixels.size()) / squares);
  };
  const double network = psnr(locate_upscaler(std::nullopt)), lanczos = psnr(locate_upscaler("lanczos"));
  RecordProperty("network_db", fmt::format("{:.2f}", network));
  RecordProperty("lanczos_db", fmt::format("{:.2f}", lanczos));
  EXPECT_GT(network, lanczos + 4);
}

TEST_F(Demo, WordsThatItDoesNotKnowChangeLittle) {
  const std::string strangers = "a zygomorphic red ball on a table, volumetric unreal engine";
  const Judge::Findings found = judge_.look(draw(strangers, 5));
  EXPECT_THAT(found.pairs, ::testing::Contains(std::pair<std::string, std::string>("ball", "red")));
  EXPECT_EQ(found.place, "table");
}

}  // namespace
}  // namespace dreamlab
