#pragma once

// Pictures as clients send them.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/image.h"

namespace dreamlab {

// What an upload may have before it is decoded; results have limits of their own.
constexpr int64_t kMaxUploadPixels = 24'000'000;

// A PNG, JPEG or WebP, upright. Throws RequestError (422) that begins with `field`.
std::shared_ptr<const Image> decode_uploaded_picture(std::span<const uint8_t> bytes, const std::string& field,
                                                     int64_t max_pixels = kMaxUploadPixels);
// The same from base64, with or without "data:image/png;base64," before it.
std::shared_ptr<const Image> decode_base64_picture(std::string_view text, const std::string& field,
                                                   int64_t max_pixels = kMaxUploadPixels);

}  // namespace dreamlab
