#include "text/html_entities.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace dreamlab {

namespace {

struct Entity {
  std::string_view name;
  char32_t first;
  char32_t second;  // 0: one code point
  bool bare;        // valid without a semicolon
};

// Sorted by name.
constexpr Entity kEntities[] = {
#include "text/html_entities.inc"
};

constexpr size_t kLongestName = 32;  // html.unescape looks no further

// What 0x80..0x9F mean in a numeric reference (HTML standard, numeric character reference end state); 0: themselves.
constexpr std::array<char16_t, 32> kWindows1252 = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                                   0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                                   0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                                   0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

constexpr uint32_t kTooLarge = 0x110000;

const Entity* find_entity(std::string_view name) {
  const auto* found = std::lower_bound(std::begin(kEntities), std::end(kEntities), name,
                                       [](const Entity& entity, std::string_view n) { return entity.name < n; });
  return found != std::end(kEntities) && found->name == name ? found : nullptr;
}

void append_entity(std::u32string& out, const Entity& entity) {
  out += entity.first;
  if (entity.second != 0) out += entity.second;
}

bool is_noncharacter_or_control(uint32_t c) {
  return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || (c >= 0xFDD0 && c <= 0xFDEF) ||
         (c & 0xFFFE) == 0xFFFE;
}

void append_numbered(std::u32string& out, uint32_t number) {
  if (number >= 0x80 && number <= 0x9F) {
    const char16_t known = kWindows1252[number - 0x80];
    out += known != 0 ? char32_t{known} : char32_t{number};
  } else if (number == 0 || number >= kTooLarge || (number >= 0xD800 && number <= 0xDFFF)) {
    out += U'\uFFFD';
  } else if (!is_noncharacter_or_control(number)) {
    out += char32_t{number};
  }
}

int digit_value(char32_t c, uint32_t base) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (base == 16 && c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (base == 16 && c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

// Both read the reference behind an ampersand, append what it means and return how much of `text` it was; 0: it is
// none.
size_t read_numbered(std::u32string_view text, std::u32string& out) {
  const bool hexadecimal = text.size() > 1 && (text[1] == 'x' || text[1] == 'X');
  const uint32_t base = hexadecimal ? 16 : 10;
  const size_t begin = hexadecimal ? 2 : 1;
  size_t i = begin;
  uint32_t number = 0;
  for (; i < text.size() && digit_value(text[i], base) >= 0; ++i) {
    number = std::min(number * base + static_cast<uint32_t>(digit_value(text[i], base)), kTooLarge);
  }
  if (i == begin) return 0;
  append_numbered(out, number);
  return i < text.size() && text[i] == ';' ? i + 1 : i;
}

size_t read_named(std::u32string_view text, std::u32string& out) {
  std::string name;  // entities are spelled in ASCII, so the first other character ends every possible name
  while (name.size() < std::min(kLongestName, text.size()) && text[name.size()] < 0x80 &&
         std::u32string_view(U"\t\n\f <&#;").find(text[name.size()]) == std::u32string_view::npos) {
    name += static_cast<char>(text[name.size()]);
  }
  if (name.size() < text.size() && text[name.size()] == ';') {
    if (const Entity* entity = find_entity(name)) {
      append_entity(out, *entity);
      return name.size() + 1;
    }
  }
  for (; name.size() >= 2; name.pop_back()) {
    const Entity* entity = find_entity(name);
    if (entity != nullptr && entity->bare) {
      append_entity(out, *entity);
      return name.size();
    }
  }
  return 0;
}

}  // namespace

std::u32string unescape_html(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t used = 0;
    if (text[i] == '&' && i + 1 < text.size()) {
      const auto rest = text.substr(i + 1);
      used = rest[0] == '#' ? read_numbered(rest, out) : read_named(rest, out);
    }
    if (used == 0) out += text[i];
    i += 1 + used;
  }
  return out;
}

}  // namespace dreamlab
