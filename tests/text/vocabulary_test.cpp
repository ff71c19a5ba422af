#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace dreamlab {
namespace {

TEST(Vocabulary, IsThatOfOpenAiClip) {
  // FNV-1a over the bytes of all 49,408 tokens in order, a zero behind each; the expected value was computed from the
  // vocab.json that HuggingFace distributes with the models.
  uint64_t hash = 0xCBF29CE484222325;
  const auto add = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001B3; };
  for (int32_t id = 0; id < kVocabularySize; ++id) {
    for (char c : token_text(id)) add(static_cast<unsigned char>(c));
    add(0);
  }
  EXPECT_EQ(hash, 0x966121D61FAD86D8);
}

TEST(Vocabulary, SpellsEveryTokenDifferently) {
  std::set<std::string> spellings;
  for (int32_t id = 0; id < kVocabularySize; ++id) spellings.insert(token_text(id));
  EXPECT_EQ(spellings.size(), static_cast<size_t>(kVocabularySize));
}

TEST(Vocabulary, KnowsWellKnownTokens) {
  EXPECT_EQ(token_text(320), "a</w>");
  EXPECT_EQ(token_text(267), ",</w>");
  EXPECT_EQ(token_text(2368), "cat</w>");
  EXPECT_EQ(token_text(3306), "hello</w>");
  EXPECT_EQ(token_text(kStartOfText), "<|startoftext|>");
  EXPECT_EQ(token_text(kEndOfText), "<|endoftext|>");
}

TEST(Vocabulary, GivesEveryByteTwoTokens) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string spelled(1, static_cast<char>(byte));
    EXPECT_EQ(token_text(byte_token(static_cast<uint8_t>(byte), false)), spelled) << "byte " << byte;
    EXPECT_EQ(token_text(byte_token(static_cast<uint8_t>(byte), true)), spelled + "</w>") << "byte " << byte;
  }
}

TEST(Vocabulary, MergesOnlyWhatIsInTheTable) {
  const int32_t i = byte_token('i', false);
  const int32_t n = byte_token('n', false);
  EXPECT_EQ(merged_token(i, n), 512);  // the first merge of the table
  EXPECT_EQ(merged_token(n, byte_token(' ', false)), std::nullopt);
  EXPECT_EQ(merged_token(kEndOfText, kEndOfText), std::nullopt);
}

TEST(Vocabulary, RefusesIdsOutsideIt) {
  EXPECT_THROW(token_text(-1), Error);
  EXPECT_THROW(token_text(kVocabularySize), Error);
}

}  // namespace
}  // namespace dreamlab
