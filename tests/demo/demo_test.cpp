// Whether the model in the box draws what it is asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/assets.h"
#include "base/file.h"
#include "demo/judge.h"
#include "device/make_device.h"
#include "pipeline/pipeline.h"
#include "weights/checkpoint.h"

namespace dreamlab {
namespace {

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

  const std::unique_ptr<Device> device_ = make_device("cpu", "fp32", 2);
  const Judge judge_{*device_};
  mutable Pipeline pipeline_{*device_, Checkpoint::open(*find_asset("models/demo")), {}};
};

// Drawings of the first test prompts, by the program that the model learned from: what the judge is right about.
TEST_F(Demo, TheJudgeKnowsDrawings) {
  const std::string path = std::string(DREAMLAB_TEST_DATA_DIR) + "/drawings.png";
  const Image sheet = decode_image(read_file(path), path).image;
  ASSERT_EQ(sheet.width, 8 * 256);
  ASSERT_EQ(sheet.height, 2 * 256);
  const std::vector<Facts> facts = test_prompts();
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
  const std::vector<Facts> prompts = test_prompts();
  ASSERT_EQ(prompts.size(), 200u);
  int things = 0, scenes = 0;
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
  RecordProperty("right_things", things);
  RecordProperty("right_scenes", scenes);
  // A little below what the model card says, since rounding differs from processor to processor.
  EXPECT_GE(things, 170) << "pictures of 200 that show the right things in the right colors";
  EXPECT_GE(scenes, 170) << "pictures of 200 that show them where they should be";
}

TEST_F(Demo, AMajesticMountainLandscapeShowsMountains) {
  for (uint64_t seed : {0, 1, 2, 3, 42})
    EXPECT_EQ(judge_.look(draw("a majestic mountain landscape", seed)).place, "mountains") << "seed " << seed;
}

TEST_F(Demo, WordsThatItDoesNotKnowChangeLittle) {
  const std::string strangers = "a zygomorphic red ball on a table, volumetric unreal engine";
  const Judge::Findings found = judge_.look(draw(strangers, 5));
  EXPECT_THAT(found.pairs, ::testing::Contains(std::pair<std::string, std::string>("ball", "red")));
  EXPECT_EQ(found.place, "table");
}

}  // namespace
}  // namespace dreamlab
