#pragma once

// multipart/form-data (RFC 7578, RFC 2046).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

struct FormPart {
  std::string name;
  std::string filename;      // "": a plain field
  std::string content_type;  // "" where it was not given
  std::string body;
};

struct FormLimits {
  size_t parts = 32;
  size_t header_bytes = 8192;  // of one part
};

// The boundary of a Content-Type header, or nullopt where that is not multipart/form-data with a valid one.
std::optional<std::string> multipart_boundary(std::string_view content_type);

// Throws RequestError (400) for what is malformed or truncated, with the byte at which it is noticed.
std::vector<FormPart> parse_multipart(std::string_view body, std::string_view boundary, const FormLimits& limits = {});

}  // namespace dreamlab
