#include "base/picture_size.h"

#include <charconv>

#include "base/error.h"

namespace dreamlab {

namespace {

// The whole text as a number without sign or blanks.
bool parse_number(std::string_view text, int64_t& value) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_allowed(int64_t side) {
  return side >= kSizeStep && side <= kMaxPictureSide && side % kSizeStep == 0;
}

}  // namespace

std::string to_string(PictureSize size) {
  return fmt::format("{}x{}", size.width, size.height);
}

PictureSize parse_size(std::string_view text) {
  const size_t separator = text.find_first_of("xX");
  PictureSize size;
  if (separator == std::string_view::npos || !parse_number(text.substr(0, separator), size.width) ||
      !parse_number(text.substr(separator + 1), size.height)) {
    fail(ErrorKind::invalid_argument, "Invalid size '{}': WIDTHxHEIGHT in pixels is needed, as in 512x768", text);
  }
  check_size(size);
  return size;
}

void check_size(PictureSize size) {
  if (is_allowed(size.width) && is_allowed(size.height)) return;
  fail(ErrorKind::invalid_argument, "Invalid size '{}': both sides must be multiples of {} from {} to {}",
       to_string(size), kSizeStep, kSizeStep, kMaxPictureSide);
}

}  // namespace dreamlab
