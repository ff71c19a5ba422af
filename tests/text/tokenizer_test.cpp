#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "golden_dir.h"
#include "text/vocabulary.h"

namespace dreamlab {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Tokenizer, EncodesEveryGoldenPromptAsOpenAiClipDoes) {
  const auto golden = nlohmann::json::parse(std::ifstream(golden_dir() / "tokenizer.json"));
  ASSERT_GE(golden.at("prompts").size(), 60u);
  for (const auto& record : golden.at("prompts")) {
    const auto prompt = record.at("prompt").get<std::string>();
    EXPECT_EQ(encode_text(prompt), record.at("ids").get<std::vector<int32_t>>()) << '"' << prompt << '"';
  }
}

// What follows was computed with openai/CLIP's SimpleTokenizer, too.
TEST(Tokenizer, TakesContractionsApartWhateverTheirCase) {
  EXPECT_EQ(encode_text("IT'S we'LL"), encode_text("it's we'll"));
  EXPECT_THAT(encode_text("a'\u017Fb"), ElementsAre(320, 6, 129, 379, 321));  // the long s folds to s
}

TEST(Tokenizer, ReadsTheSpecialTokensInTextWhateverTheirCase) {
  EXPECT_THAT(encode_text("<|StartOfText|>a<|ENDOFTEXT|>"), ElementsAre(kStartOfText, 320, kEndOfText));
  EXPECT_THAT(encode_text("!<|endoftext|>"),
              ElementsAre(0, 27, 347, 40786, 4160, 91, 285));  // within symbols it is none
}

TEST(Tokenizer, KeepsSeparatorControlsThatOnlyStripRemoves) {
  EXPECT_THAT(encode_text("\x1C x\x1Cy \x1C"), ElementsAre(343, 472, 344));
}

TEST(Tokenizer, LeavesOutTheCombiningIotaThatThePatternMisses) {
  EXPECT_EQ(encode_text("a\u0345b"), encode_text("a b"));
  EXPECT_THAT(encode_text("\u0345"), IsEmpty());
}

TEST(Tokenizer, ReadsBytesThatAreNotUtf8AsReplacementCharacters) {
  EXPECT_EQ(encode_text("a\xFF\xFE"
                        "b"),
            encode_text("a\uFFFD\uFFFDb"));
  EXPECT_EQ(encode_text("\xC0\xAF"), encode_text("\uFFFD\uFFFD"));  // overlong
  EXPECT_EQ(encode_text("cut \xF0\x9F\x98"), encode_text("cut \uFFFD\uFFFD\uFFFD"));
  EXPECT_EQ(encode_text("\xED\xA0\x80"), encode_text("\uFFFD\uFFFD\uFFFD"));  // a surrogate
}

TEST(Tokenizer, GivesOnlyIdsOfTheVocabularyForRandomBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    EXPECT_THAT(encode_text(text), Each(testing::AllOf(testing::Ge(0), testing::Lt(kVocabularySize))))
        << "round " << round;
  }
}

TEST(Tokenizer, SpellsTheTextItWasGiven) {
  const std::string text = "a café in 東京, 2024 🐱!";
  std::string spelled;
  for (int32_t id : encode_text(text)) spelled += token_text(id);
  for (size_t at; (at = spelled.find("</w>")) != std::string::npos;) spelled.erase(at, 4);
  EXPECT_EQ(spelled, "acaféin東京,2024🐱!");
}

// Merging by repeated passes would take hours for these; the limit leaves room for sanitizers and a busy machine.
class HugeText : public testing::TestWithParam<std::string> {};

TEST_P(HugeText, IsEncodedInSeconds) {
  const size_t bytes = 1 << 18;
  std::string text;
  while (text.size() < bytes) text += GetParam();
  const auto start = std::chrono::steady_clock::now();
  const auto ids = encode_text(text);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_FALSE(ids.empty());
  EXPECT_LT(seconds, 60) << ids.size() << " tokens";
}

INSTANTIATE_TEST_SUITE_P(QuarterOfAMegabyte, HugeText,
                         testing::Values("a", "qzjxkvbtheing", "!", "'s", "Σ", "&", "&#65", "&amp;amp;",
                                         "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "猫", "\xF0", "1", "<|startoftext|>",
                                         "\u0301Σ"));

}  // namespace
}  // namespace dreamlab
