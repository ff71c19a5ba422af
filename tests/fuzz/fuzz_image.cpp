// Any bytes, as a picture: decode_image may only return a consistent picture or throw Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "base/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small pictures find the same mistakes sooner.
  constexpr dreamlab::ImageLimits kLimits{.max_pixels = 1 << 18};
  try {
    const dreamlab::Image image = dreamlab::decode_image({data, size}, "fuzz", kLimits).image;
    if (image.pixels.size() != static_cast<size_t>(image.width * image.height * image.channels)) std::abort();
  } catch (const dreamlab::Error& error) {
    if (error.kind() == dreamlab::ErrorKind::internal) std::abort();
  }
  return 0;
}
