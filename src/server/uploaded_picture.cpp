#include "server/uploaded_picture.h"

#include <fmt/format.h>

#include "server/base64.h"
#include "server/schema.h"

namespace dreamlab {

std::shared_ptr<const Image> decode_uploaded_picture(std::span<const uint8_t> bytes, const std::string& field,
                                                     int64_t max_pixels) {
  try {
    return std::make_shared<const Image>(decode_image(bytes, field, {.max_pixels = max_pixels}).image);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_file && error.kind() != ErrorKind::unsupported) throw;
    throw RequestError(422, field, error.what());
  }
}

std::shared_ptr<const Image> decode_base64_picture(std::string_view text, const std::string& field,
                                                   int64_t max_pixels) {
  if (text.substr(0, 5) == "data:") {
    const size_t comma = text.find(',');
    if (comma == std::string_view::npos || text.substr(0, comma).find(";base64") == std::string_view::npos)
      throw RequestError(422, field,
                         fmt::format("{} is a data URL without base64; allowed: data:image/png;base64,...", field));
    text.remove_prefix(comma + 1);
  }
  const auto bytes = decode_base64(text);
  if (!bytes)
    throw RequestError(422, field, fmt::format("{} is not base64; allowed: a PNG, JPEG or WebP file in base64", field));
  return decode_uploaded_picture(*bytes, field, max_pixels);
}

}  // namespace dreamlab
