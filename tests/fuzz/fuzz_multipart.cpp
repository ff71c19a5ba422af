// Any bytes, as a form: a first line with its Content-Type, then the body. Parts lie within the body, or RequestError
// by 400.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/multipart.h"
#include "server/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string_view body = input.substr(std::min(line + 1, input.size()));
  const auto boundary = dreamlab::multipart_boundary(input.substr(0, line));
  if (!boundary) return 0;
  if (boundary->empty() || boundary->size() > 70) std::abort();
  try {
    const dreamlab::FormLimits limits;
    const auto parts = dreamlab::parse_multipart(body, *boundary, limits);
    if (parts.size() > limits.parts) std::abort();
    size_t bytes = 0;
    for (const dreamlab::FormPart& part : parts) {
      bytes += part.body.size();
      if (body.find(part.body) == std::string_view::npos) std::abort();
    }
    if (bytes > body.size()) std::abort();
  } catch (const dreamlab::RequestError& error) {
    if (error.status() != 400) std::abort();
  }
  return 0;
}
