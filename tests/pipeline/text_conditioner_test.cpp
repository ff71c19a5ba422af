#include "pipeline/text_conditioner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "base/error.h"
#include "golden_models.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPrompt = "a photograph of an astronaut riding a horse";

class TextConditionerTest : public ::testing::TestWithParam<const char*> {
 protected:
  TextConditionerTest()
      : checkpoint_(Checkpoint::open(golden_dir() / "models" / (std::string(GetParam()) + ".safetensors"))),
        text_(golden_device(), *checkpoint_) {}

  std::vector<float> values(const Tensor& tensor) const { return golden_device().download(tensor); }
  std::vector<float> states(const TextRequest& request) { return values(text_.encode(request).positive.states); }
  static TextRequest request(std::string_view prompt) {
    TextRequest request;
    request.prompt = prompt;
    return request;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  TextConditioner text_;
};

TEST_P(TextConditionerTest, GivesStatesOfTheWidthThatTheNetworkReads) {
  const TextPair pair = text_.encode(request(kPrompt));
  EXPECT_EQ(pair.positive.states.shape(), (Shape{1, 77, checkpoint_->config().unet.cross_attention_dim}));
  EXPECT_EQ(pair.positive.pooled.defined(), checkpoint_->config().is_sdxl());
  EXPECT_FALSE(pair.negative.has_value());
}

TEST_P(TextConditionerTest, PairsALongPromptWithAsManyWindowsOfTheNegative) {
  std::string longer;
  for (int i = 0; i < 100; ++i) longer += "horse ";
  TextRequest both = request(longer);
  both.negative_prompt = "blurry";
  const TextPair pair = text_.encode(both);
  ASSERT_TRUE(pair.negative.has_value());
  EXPECT_EQ(pair.positive.states.dim(1), 154);
  EXPECT_EQ(pair.negative->states.dim(1), 154);
}

TEST_P(TextConditionerTest, AnEmptyNegativePromptIsZerosOnlyWhereTheModelWantsThem) {
  TextRequest both = request(kPrompt);
  both.negative_prompt = "";
  const TextPair pair = text_.encode(both);
  const std::vector<float> negative = values(pair.negative->states);
  const bool zeros = largest(negative) == 0;
  EXPECT_EQ(zeros, checkpoint_->config().force_zeros_for_empty_prompt);
  if (pair.negative->pooled.defined()) {
    EXPECT_EQ(largest(values(pair.negative->pooled)) == 0, zeros);
  }
}

TEST_P(TextConditionerTest, EmphasisChangesTheStatesAndKeepsTheirMean) {
  const std::vector<float> plain = states(request("a red horse"));
  const std::vector<float> weighted = states(request("a (red:1.4) horse"));
  EXPECT_GT(relative_error(weighted, plain), 1e-3);
  double plain_mean = 0, weighted_mean = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    plain_mean += plain[i];
    weighted_mean += weighted[i];
  }
  EXPECT_NEAR(plain_mean, weighted_mean, 1e-3 * largest(plain) * std::sqrt(static_cast<double>(plain.size())));
}

TEST_P(TextConditionerTest, WithoutEmphasisBracketsAreText) {
  TextRequest off = request("a (red:1.4) horse");
  off.emphasis = false;
  EXPECT_GT(relative_error(states(off), states(request("a red horse"))), 1e-3);
  TextRequest plain = request("a red horse");
  plain.emphasis = false;
  EXPECT_EQ(states(plain), states(request("a red horse")));
}

TEST_P(TextConditionerTest, ClipSkipTakesEarlierStatesAndKnowsItsRange) {
  TextRequest skipping = request(kPrompt);
  skipping.clip_skip = 2;
  EXPECT_GT(relative_error(states(skipping), states(request(kPrompt))), 1e-3);
  for (int skip : {0, -1, 12}) {
    skipping.clip_skip = skip;
    try {
      text_.encode(skipping);
      ADD_FAILURE() << "clip skip " << skip << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_THAT(error.what(), HasSubstr("1.."));
    }
  }
}

TEST_P(TextConditionerTest, RepeatedPromptsComeFromTheCacheUnchanged) {
  const TextPair first = text_.encode(request(kPrompt));
  const TextPair again = text_.encode(request(kPrompt));
  EXPECT_EQ(first.positive.states.data(), again.positive.states.data()) << "encoded twice";
  EXPECT_EQ(text_.cached_prompts(), 1u);

  TextRequest skipping = request(kPrompt);
  skipping.clip_skip = 2;
  EXPECT_NE(text_.encode(skipping).positive.states.data(), first.positive.states.data())
      << "clip skip was left out of the key";
  EXPECT_NE(text_.encode(request("(a photograph of an astronaut riding a horse:1.2)")).positive.states.data(),
            first.positive.states.data())
      << "weights were left out of the key";
}

TEST_P(TextConditionerTest, AnAdapterIsForgottenWithItsLastUserAndNotTakenForTheNextOne) {
  // Two adapters, one after the other at the same address.
  alignas(LoraAdapter) std::byte place[sizeof(LoraAdapter)];
  const auto adapter = [&](const char* kind) {
    const auto path = golden_dir() / "models" / (std::string(GetParam()) + "-lora-" + kind + ".safetensors");
    const LoraFile file = LoraFile::open(path, &checkpoint_->config());
    return std::shared_ptr<const LoraAdapter>(new (place) LoraAdapter(golden_device(), file.layers()),
                                              [](const LoraAdapter* gone) { gone->~LoraAdapter(); });
  };
  const auto states_with = [&](const std::shared_ptr<const LoraAdapter>& adapter) {
    const LoraUse uses[] = {{adapter, 1.0f}};
    TextRequest styled = request(kPrompt);
    styled.loras = uses;
    return states(styled);
  };
  auto first = adapter("kohya");
  const std::vector<float> before = states_with(first);
  EXPECT_EQ(states_with(first), before);
  std::weak_ptr<const LoraAdapter> watched = first;
  first.reset();
  EXPECT_TRUE(watched.expired()) << "the cache keeps it";
  const auto second = adapter("peft");
  EXPECT_NE(states_with(second), before) << "states of the adapter that was there before";
}

TEST_P(TextConditionerTest, TheCacheIsBoundedAndForgetsTheOldest) {
  for (size_t i = 0; i < TextConditioner::kCachedPrompts + 5; ++i) text_.encode(request("prompt " + std::to_string(i)));
  EXPECT_EQ(text_.cached_prompts(), TextConditioner::kCachedPrompts);
}

INSTANTIATE_TEST_SUITE_P(Models, TextConditionerTest, ::testing::Values("tiny-sd15", "tiny-sdxl"),
                         [](const auto& info) { return std::string(info.param) == "tiny-sd15" ? "Sd15" : "Sdxl"; });

}  // namespace
}  // namespace dreamlab
