#pragma once

#include <string>
#include <string_view>

namespace dreamlab {

// Character classes and case as Python and its `regex` module have them, which is what the prompts of published models
// were prepared with. Data by utf8proc; unassigned code points belong to no class.
bool is_letter(char32_t c);       // \p{L}
bool is_number(char32_t c);       // \p{N}
bool is_white_space(char32_t c);  // the Unicode property White_Space: \s in `regex`
bool is_blank(char32_t c);  // White_Space and the separators U+001C..U+001F: str.isspace(), str.strip(), \s in `re`

// str.lower(): full lower case, that is with the two rules of Unicode's SpecialCasing.txt that need no language: U+0130
// becomes two code points, and a sigma that ends a word its final form.
std::u32string lower_case(std::u32string_view text);

// str.strip()
std::u32string_view strip(std::u32string_view text);

}  // namespace dreamlab
