#include "base/utf8.h"

namespace dreamlab {

namespace {

constexpr char32_t kReplacement = 0xFFFD;

struct Lead {
  int length;
  uint8_t payload;
  char32_t smallest;  // what needs that many bytes; anything below is an overlong form
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, byte, 0};
  if ((byte & 0xE0) == 0xC0) return {2, static_cast<uint8_t>(byte & 0x1F), 0x80};
  if ((byte & 0xF0) == 0xE0) return {3, static_cast<uint8_t>(byte & 0x0F), 0x800};
  if ((byte & 0xF8) == 0xF0) return {4, static_cast<uint8_t>(byte & 0x07), 0x10000};
  return {0, 0, 0};
}

bool is_scalar_value(char32_t c) {
  return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string points;
  points.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Lead lead = lead_of(static_cast<uint8_t>(text[i]));
    char32_t point = lead.payload;
    bool valid = lead.length > 0 && i + lead.length <= text.size();
    for (int k = 1; valid && k < lead.length; ++k) {
      const auto byte = static_cast<uint8_t>(text[i + k]);
      valid = (byte & 0xC0) == 0x80;
      point = point << 6 | (byte & 0x3F);
    }
    valid = valid && point >= lead.smallest && is_scalar_value(point);
    points.push_back(valid ? point : kReplacement);
    i += valid ? lead.length : 1;
  }
  return points;
}

void append_utf8(std::string& text, char32_t c) {
  if (!is_scalar_value(c)) c = kReplacement;
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string encode_utf8(std::u32string_view code_points) {
  std::string text;
  text.reserve(code_points.size());
  for (char32_t c : code_points) append_utf8(text, c);
  return text;
}

}  // namespace dreamlab
