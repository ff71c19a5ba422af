#include "text/emphasis.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/error.h"
#include "golden_dir.h"
#include "text/prompt.h"

namespace dreamlab {
namespace {

std::string describe(const std::vector<PromptPart>& parts) {
  std::string text;
  for (const PromptPart& part : parts) {
    text += fmt::format("[{}|{}{}]", part.text, part.weight, part.is_break ? "|break" : "");
  }
  return text;
}

std::string parsed(std::string_view prompt) {
  return describe(parse_emphasis(prompt));
}

TEST(Emphasis, IsReadFromEveryGoldenPromptAsAutomatic1111Does) {
  const auto golden = nlohmann::json::parse(std::ifstream(golden_dir() / "emphasis.json"));
  ASSERT_GE(golden.at("prompts").size(), 50u);
  for (const auto& record : golden.at("prompts")) {
    std::vector<PromptPart> expected;
    for (const auto& part : record.at("parsed")) {
      const auto text = part.at(0).get<std::string>();
      const auto weight = part.at(1).get<double>();
      expected.push_back({text, weight, text == "BREAK" && weight < 0});
    }
    const auto prompt = record.at("prompt").get<std::string>();
    EXPECT_EQ(parsed(prompt), describe(expected)) << '"' << prompt << '"';  // {} prints a double so that it reads back
  }
}

TEST(Emphasis, LeavesTextAloneWhereThatParserWouldRaise) {
  EXPECT_EQ(parsed("(x:1.2.3)"), "[x:1.2.3|1.1]");
  EXPECT_EQ(parsed("(x:.)"), "[x:.|1.1]");
  EXPECT_EQ(parsed("(x:-)"), "[x:-|1.1]");
  EXPECT_EQ(parsed("(x:+-1)"), "[x:+-1|1.1]");
}

TEST(Emphasis, LeavesAnEmptyPartForALoneBackslash) {
  EXPECT_EQ(parsed("[\\"), "[|0.9090909090909091]");
  EXPECT_EQ(parsed("(a\\"), "[a|1.1]");
}

TEST(Emphasis, KeepsABreakApartFromTextOfTheSameWeight) {
  EXPECT_EQ(parsed("(a BREAK b:0)"), "[a|0][BREAK|-0|break][b|0]");
  EXPECT_EQ(parsed("(BREAK:-1)"), "[|-1][BREAK|1|break][|-1]");
}

TEST(Emphasis, TakesABreakOnlyAsAWordOfItsOwn) {
  EXPECT_EQ(parsed("éBREAK BREAKé _BREAK BREAK1"), "[éBREAK BREAKé _BREAK BREAK1|1]");
  EXPECT_EQ(parsed("a\u3000BREAK\u3000b"), "[a|1][BREAK|-1|break][b|1]");
  EXPECT_EQ(parsed("a:BREAK-b"), "[a:|1][BREAK|-1|break][-b|1]");
}

TEST(Emphasis, RefusesBracketsNestedWithoutEnd) {
  EXPECT_EQ(parse_emphasis(std::string(100, '(') + "a").size(), 1u);
  for (const char* brackets : {"(", "[", "(["}) {
    std::string prompt;
    while (prompt.size() < 101) prompt += brackets;
    try {
      parse_emphasis(prompt);
      FAIL() << "no error for " << brackets;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_NE(std::string(error.what()).find("100 brackets"), std::string::npos) << error.what();
    }
  }
}

TEST(Emphasis, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(parsed("(\xFF:1.5)\xC3"), "[\uFFFD|1.5][\uFFFD|1]");
}

class HugePrompt : public testing::TestWithParam<std::string> {};

TEST_P(HugePrompt, IsReadInSeconds) {
  std::string prompt(99, '(');
  while (prompt.size() < 1 << 18) prompt += GetParam();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(parse_emphasis(prompt).empty());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 60);
}

INSTANTIATE_TEST_SUITE_P(QuarterOfAMegabyte, HugePrompt,
                         testing::Values("a", "(a)", "[a]", ":", ": 1.2", "BREAK ", " ", "BREAKBREAK", "\\", "\\(",
                                         "\xFF"));

constexpr size_t kWidth = 4;
constexpr size_t kTokens = static_cast<size_t>(kWindowTokens);

std::vector<float> random_states(size_t windows, float offset) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(offset, 1.0f);
  std::vector<float> states(windows * kTokens * kWidth);
  for (float& state : states) state = normal(random);
  return states;
}

double mean_of(const std::vector<float>& states, size_t window) {
  const auto begin = states.begin() + static_cast<std::ptrdiff_t>(window * kTokens * kWidth);
  return std::accumulate(begin, begin + kTokens * kWidth, 0.0) / (kTokens * kWidth);
}

TEST(ApplyEmphasis, MultipliesByTokenAndRestoresTheMeanOfTheWindow) {
  const auto before = random_states(1, 0.3f);
  auto after = before;
  std::vector<float> weights(kTokens, 1.0f);
  weights[1] = 1.5f;
  weights[2] = 0.25f;
  weights[76] = -2.0f;
  apply_emphasis(after, weights, kWidth);
  EXPECT_NEAR(mean_of(after, 0), mean_of(before, 0), 1e-6);
  const double factor = after[0] / before[0];
  EXPECT_GT(std::abs(factor - 1), 1e-4);
  for (size_t i = 0; i < before.size(); ++i) {
    const double expected = before[i] * factor * weights[i / kWidth];
    EXPECT_NEAR(after[i], expected, 1e-5 * (1 + std::abs(expected))) << "token " << i / kWidth;
  }
}

TEST(ApplyEmphasis, LeavesWindowsWithoutWeightsUntouched) {
  const auto before = random_states(3, 0.3f);
  auto after = before;
  std::vector<float> weights(3 * kTokens, 1.0f);
  weights[kTokens + 5] = 1.3f;  // only in the second window
  apply_emphasis(after, weights, kWidth);
  const size_t window = kTokens * kWidth;
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + window, after.begin()));
  EXPECT_TRUE(std::equal(before.begin() + 2 * window, before.end(), after.begin() + 2 * window));
  EXPECT_NEAR(mean_of(after, 1), mean_of(before, 1), 1e-6);
  EXPECT_NE(after[window], before[window]);
}

TEST(ApplyEmphasis, StaysFiniteWhenEverythingIsWeightedAway) {
  auto states = random_states(1, 0.3f);
  apply_emphasis(states, std::vector<float>(kTokens, 0.0f), kWidth);
  for (float state : states) EXPECT_EQ(state, 0.0f);
}

TEST(ApplyEmphasis, RefusesSizesThatDoNotFit) {
  std::vector<float> states(kTokens * kWidth);
  EXPECT_THROW(apply_emphasis(states, std::vector<float>(kTokens, 1.0f), kWidth + 1), Error);
  EXPECT_THROW(apply_emphasis(states, std::vector<float>(kTokens - 1, 1.0f), kWidth), Error);
  EXPECT_THROW(apply_emphasis(states, std::vector<float>(kTokens, 1.0f), 0), Error);
}

}  // namespace
}  // namespace dreamlab
