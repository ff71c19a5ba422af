#include "text/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

namespace dreamlab {

namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

struct Range {
  char32_t first;
  char32_t last;
};

template <size_t N>
bool contains(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges), [c](Range r) { return c >= r.first && c <= r.last; });
}

// Cased without being a cased letter (Other_Lowercase and Other_Uppercase of PropList.txt, less what is
// case-ignorable).
constexpr Range kOtherCased[] = {{0xAA, 0xAA},       {0xBA, 0xBA},       {0x2160, 0x217F},  {0x24B6, 0x24E9},
                                 {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

// Punctuation that may stand inside a word (Word_Break MidLetter, MidNumLet and Single_Quote).
constexpr Range kInsideWords[] = {{0x27, 0x27},     {0x2E, 0x2E},     {0x3A, 0x3A},     {0xB7, 0xB7},
                                  {0x387, 0x387},   {0x55F, 0x55F},   {0x5F4, 0x5F4},   {0x2018, 0x2019},
                                  {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
                                  {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A}};

bool is_cased(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return contains(kOtherCased, c);
  }
}

bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return contains(kInsideWords, c);
  }
}

constexpr char32_t kCapitalSigma = U'\u03A3';
constexpr char32_t kSmallSigma = U'\u03C3';
constexpr char32_t kFinalSigma = U'\u03C2';
constexpr char32_t kCapitalDottedI = U'\u0130';

// For every position: does a cased character follow, with nothing but case-ignorable ones between?
std::vector<bool> cased_follows(std::u32string_view text) {
  std::vector<bool> follows(text.size());
  bool cased = false;
  for (size_t i = text.size(); i-- > 0;) {
    follows[i] = cased;
    if (!is_case_ignorable(text[i])) cased = is_cased(text[i]);
  }
  return follows;
}

}  // namespace

bool is_letter(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_number(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  const auto k = category(c);
  return c == 0x85 || (k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP);
}

bool is_blank(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::u32string lower_case(std::u32string_view text) {
  std::vector<bool> follows;
  if (text.find(kCapitalSigma) != text.npos) follows = cased_follows(text);
  std::u32string lower;
  lower.reserve(text.size());
  bool cased_before = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == kCapitalSigma) {
      lower += cased_before && !follows[i] ? kFinalSigma : kSmallSigma;
    } else if (c == kCapitalDottedI) {
      lower += U"i\u0307";
    } else {
      lower += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    }
    if (!is_case_ignorable(c)) cased_before = is_cased(c);
  }
  return lower;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace dreamlab
