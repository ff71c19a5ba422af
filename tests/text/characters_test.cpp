#include "text/characters.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace dreamlab {
namespace {

std::string lower(std::string_view text) {
  return encode_utf8(lower_case(decode_utf8(text)));
}

TEST(LowerCase, LowersLettersOfEveryScript) {
  EXPECT_EQ(lower("CAFÉ ÅNGSTRÖM"), "café ångström");
  EXPECT_EQ(lower("МОСКВА"), "москва");
  EXPECT_EQ(lower("ẞ Ǆ Ⅷ Ⓐ"), "ß ǆ ⅷ ⓐ");
  EXPECT_EQ(lower("𐐀 猫 123"), "𐐨 猫 123");
}

TEST(LowerCase, TurnsTheDottedCapitalIIntoTwoCodePoints) {
  EXPECT_EQ(lower("İ"), "i\u0307");
}

// Python: "ΑΣ".lower() == "ας", and so on.
TEST(LowerCase, WritesASigmaThatEndsAWordInItsFinalForm) {
  EXPECT_EQ(lower("ΑΣ"), "ας");
  EXPECT_EQ(lower("Σ"), "σ");
  EXPECT_EQ(lower("ΣΑΣ ΣΑ"), "σας σα");
  EXPECT_EQ(lower("ΑΣΒ"), "ασβ");
  EXPECT_EQ(lower("Α.Σ.Β"), "α.σ.β");    // a full stop does not end the word
  EXPECT_EQ(lower("Α'Σ' Β"), "α'ς' β");  // nor does an apostrophe, but a space does
  EXPECT_EQ(lower("ªΣ"), "ªς");          // cased though it is no cased letter
  EXPECT_EQ(lower("1Σ"), "1σ");
}

TEST(Characters, TellPythonsBlanksFromUnicodesWhiteSpace) {
  for (char32_t c : {U'\t', U'\r', U' ', U'\u0085', U'\u00A0', U'\u2003', U'\u2028', U'\u3000'}) {
    EXPECT_TRUE(is_white_space(c)) << "U+" << std::hex << static_cast<uint32_t>(c);
    EXPECT_TRUE(is_blank(c)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
  for (char32_t c : {U'\x1C', U'\x1F'}) {
    EXPECT_FALSE(is_white_space(c)) << "U+" << std::hex << static_cast<uint32_t>(c);
    EXPECT_TRUE(is_blank(c)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
  for (char32_t c : {U'\u200B', U'\uFEFF', U'_', U'\0', U'\x1B'}) {
    EXPECT_FALSE(is_blank(c)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Characters, AreClassedByUnicode) {
  EXPECT_TRUE(is_letter(U'é') && is_letter(U'猫') && is_letter(U'ª') && is_letter(U'ʰ'));
  EXPECT_TRUE(is_number(U'7') && is_number(U'½') && is_number(U'Ⅷ') && is_number(U'٤'));
  EXPECT_FALSE(is_letter(U'7') || is_letter(U'\u0301') || is_letter(U'\U0001F600') || is_number(U'a') ||
               is_number(U'一'));
  EXPECT_FALSE(is_letter(U'\uFFFF') || is_number(U'\U0010FFFF') || is_letter(0xFFFFFFFF));
}

}  // namespace
}  // namespace dreamlab
