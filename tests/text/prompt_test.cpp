#include "text/prompt.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "golden_dir.h"
#include "text/tokenizer.h"

namespace dreamlab {
namespace {

constexpr size_t kWindow = static_cast<size_t>(kWindowTokens);

std::vector<int32_t> window_ids(const TokenWindows& prompt, size_t window) {
  const auto begin = prompt.ids.begin() + static_cast<std::ptrdiff_t>(window * kWindow);
  return {begin, begin + kWindow};
}

std::vector<float> window_weights(const TokenWindows& prompt, size_t window) {
  const auto begin = prompt.weights.begin() + static_cast<std::ptrdiff_t>(window * kWindow);
  return {begin, begin + kWindow};
}

template <typename T>
std::vector<T> framed(T first, std::vector<T> values, T last, T padding) {
  values.insert(values.begin(), first);
  values.push_back(last);
  values.resize(kWindow, padding);
  return values;
}

TEST(Prompt, FirstWindowOfEveryGoldenPromptIsThatOfOpenAiClip) {
  const auto golden = nlohmann::json::parse(std::ifstream(golden_dir() / "tokenizer.json"));
  PromptOptions options;
  options.emphasis = false;
  options.comma_backtrack = 0;
  for (const auto& record : golden.at("prompts")) {
    const auto prompt = record.at("prompt").get<std::string>();
    const auto windows = tokenize_prompt(prompt, options);
    EXPECT_EQ(window_ids(windows, 0), record.at("ids77").get<std::vector<int32_t>>()) << '"' << prompt << '"';
  }
}

TEST(Prompt, IsSplitIntoWindowsAsAutomatic1111Does) {
  const auto record = nlohmann::json::parse(std::ifstream(std::string(DREAMLAB_TEST_DATA_DIR) + "/windows.json"));
  ASSERT_GE(record.at("cases").size(), 30u);
  for (const auto& expected : record.at("cases")) {
    PromptOptions options;
    options.comma_backtrack = expected.at("comma_backtrack").get<int64_t>();
    SCOPED_TRACE(fmt::format("{}, backtrack {}", expected.at("name").get<std::string>(), options.comma_backtrack));
    const auto prompt = tokenize_prompt(expected.at("prompt").get<std::string>(), options);
    ASSERT_EQ(static_cast<size_t>(prompt.windows), expected.at("windows").size());
    ASSERT_EQ(prompt.ids.size(), expected.at("windows").size() * kWindow);
    ASSERT_EQ(prompt.weights.size(), prompt.ids.size());
    for (size_t w = 0; w < expected.at("windows").size(); ++w) {
      const auto& window = expected.at("windows")[w];
      EXPECT_EQ(window_ids(prompt, w),
                framed(kStartOfText, window.at("tokens").get<std::vector<int32_t>>(), kEndOfText, kEndOfText))
          << "window " << w;
      EXPECT_EQ(window_weights(prompt, w), framed(1.0f, window.at("weights").get<std::vector<float>>(), 1.0f, 1.0f))
          << "window " << w;
    }
  }
}

TEST(Prompt, PadsBehindTheEndTokenWithTheIdAsked) {
  PromptOptions options;
  options.pad_id = 0;
  const auto prompt = tokenize_prompt("a cat", options);
  EXPECT_EQ(window_ids(prompt, 0), framed(kStartOfText, {320, 2368}, kEndOfText, 0));
  EXPECT_EQ(prompt.pad_id, 0);
}

TEST(Prompt, HasAWindowEvenWithoutText) {
  for (const char* text : {"", "  ", "()", "BREAK"}) {
    const auto prompt = tokenize_prompt(text, {});
    EXPECT_EQ(prompt.windows, 1) << text;
    EXPECT_EQ(window_ids(prompt, 0), framed(kStartOfText, {}, kEndOfText, kEndOfText)) << text;
  }
}

TEST(Prompt, EndsTheWindowAtABreakInsideBracketsToo) {
  const auto prompt = tokenize_prompt("(a BREAK cat:1.5)", {});
  ASSERT_EQ(prompt.windows, 2);
  EXPECT_EQ(window_ids(prompt, 0), framed(kStartOfText, {320}, kEndOfText, kEndOfText));
  EXPECT_EQ(window_ids(prompt, 1), framed(kStartOfText, {2368}, kEndOfText, kEndOfText));
  EXPECT_EQ(prompt.weights[1], 1.5f);
  EXPECT_EQ(prompt.weights[kWindow + 1], 1.5f);
}

TEST(Prompt, IsPlainTextWhenEmphasisIsOff) {
  const std::string text = "(red hair:1.2) [x] \\( BREAK y";
  PromptOptions options;
  options.emphasis = false;
  const auto prompt = tokenize_prompt(text, options);
  EXPECT_EQ(prompt.windows, 1);
  EXPECT_EQ(window_ids(prompt, 0), framed(kStartOfText, encode_text(text), kEndOfText, kEndOfText));
  EXPECT_EQ(window_weights(prompt, 0), std::vector<float>(kWindow, 1.0f));
}

TEST(Prompt, TakesAnyBacktrack) {
  const std::string text = std::string("word, ") + std::string(500, 'x') + " word word";
  for (int64_t backtrack : {-5, 0, 1, 75, 76, 1000}) {
    PromptOptions options;
    options.comma_backtrack = backtrack;
    const auto prompt = tokenize_prompt(text, options);
    std::vector<int32_t> tokens;
    for (int32_t id : prompt.ids) {
      if (id < kStartOfText) tokens.push_back(id);
    }
    EXPECT_EQ(tokens, encode_text(text)) << "backtrack " << backtrack;
  }
}

TEST(Prompt, RefusesWeightsOutOfRange) {
  EXPECT_THROW(tokenize_prompt("(a:1000001)", {}), Error);
  EXPECT_THROW(tokenize_prompt("(a:" + std::string(300, '9') + ")", {}), Error);
  EXPECT_EQ(tokenize_prompt("(a:-1000000)", {}).weights[1], -1e6f);
}

TEST(Prompt, OfAnyLengthKeepsAllItsTokens) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "cat ";
  const auto prompt = tokenize_prompt(text, {});
  EXPECT_EQ(prompt.windows, 67);  // 5000 / 75, rounded up
  EXPECT_EQ(std::count(prompt.ids.begin(), prompt.ids.end(), 2368), 5000);
}

TEST(PairWindows, AddsEmptyWindowsToTheShorterPrompt) {
  PromptOptions options;
  options.pad_id = 0;
  auto positive = tokenize_prompt("a BREAK b BREAK c", options);
  auto negative = tokenize_prompt("(blurry:1.4)", options);
  const auto longer = positive.ids;
  pair_windows(positive, negative);
  EXPECT_EQ(positive.ids, longer);
  ASSERT_EQ(negative.windows, 3);
  for (size_t w : {1, 2}) {
    EXPECT_EQ(window_ids(negative, w), framed(kStartOfText, {}, kEndOfText, 0)) << "window " << w;
    EXPECT_EQ(window_weights(negative, w), std::vector<float>(kWindow, 1.0f)) << "window " << w;
  }
  EXPECT_EQ(negative.weights[1], 1.4f);
}

TEST(PairWindows, WorksInBothDirections) {
  auto positive = tokenize_prompt("a", {});
  auto negative = tokenize_prompt("a BREAK b", {});
  pair_windows(positive, negative);
  EXPECT_EQ(positive.windows, 2);
  EXPECT_EQ(positive.ids.size(), negative.ids.size());
  EXPECT_EQ(positive.weights.size(), negative.weights.size());
}

}  // namespace
}  // namespace dreamlab
