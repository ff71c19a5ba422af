// Any bytes, as the body of /superres with the boundary "b", up to the decoded picture: within the limit, or
// RequestError by 400 or 422.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "server/multipart.h"
#include "server/superres_form.h"
#include "server/uploaded_picture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small pictures find the same mistakes sooner.
  constexpr int64_t kMaxPixels = 1 << 18;
  try {
    const std::string_view body(reinterpret_cast<const char*>(data), size);
    const dreamlab::SuperResForm form = dreamlab::superres_schema().parse_form(dreamlab::parse_multipart(body, "b"));
    const auto* bytes = reinterpret_cast<const uint8_t*>(form.file.data());
    const auto picture = dreamlab::decode_uploaded_picture(std::span(bytes, form.file.size()), "file", kMaxPixels);
    if (picture->width * picture->height > kMaxPixels) std::abort();
    if (picture->pixels.size() != static_cast<size_t>(picture->width * picture->height * picture->channels))
      std::abort();
  } catch (const dreamlab::RequestError& error) {
    if (error.status() != 400 && error.status() != 422) std::abort();
  }
  return 0;
}
