#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dreamlab {

// The code points of a UTF-8 text; every byte that belongs to no valid sequence (overlong forms, surrogates and what is
// above U+10FFFF included) becomes U+FFFD.
std::u32string decode_utf8(std::string_view text);
void append_utf8(std::string& text, char32_t code_point);
std::string encode_utf8(std::u32string_view code_points);

}  // namespace dreamlab
