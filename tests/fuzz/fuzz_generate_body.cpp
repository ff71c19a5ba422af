// Any bytes, as the JSON body of /generate: a request whose fields are in range, or RequestError by 400 or 422.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/generate_request.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const dreamlab::GenerateBody& body) {
  if (body.steps) require(*body.steps >= 1 && *body.steps <= 50);
  if (body.guidance_scale) require(*body.guidance_scale >= 0 && *body.guidance_scale <= 20);
  if (body.seed) require(*body.seed <= 2147483647);
  if (body.style) require(body.style->level >= 0 && body.style->level <= 8 && !body.style->style.empty());
  if (!body.size.empty()) dreamlab::parse_size(body.size);
  require(body.superres_magnitude >= 1 && body.superres_magnitude <= 3);
  require(body.superres_quality >= 1 && body.superres_quality <= 100);
  require(body.superres_format == "png" || body.superres_format == "jpeg");
  require(body.strength > 0 && body.strength <= 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(dreamlab::generate_schema().parse_json({reinterpret_cast<const char*>(data), size}));
  } catch (const dreamlab::RequestError& error) {
    require(error.status() == 400 || error.status() == 422);
  }
  return 0;
}
