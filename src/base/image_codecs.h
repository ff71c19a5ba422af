#pragma once

// The codecs behind decode_image and encode_image; for image.cpp and the tests of single formats.
#include "base/image.h"

namespace dreamlab {

DecodedImage decode_png(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits);
DecodedImage decode_jpeg(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits);
DecodedImage decode_webp(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits);

std::vector<uint8_t> encode_png(const Image& image, const EncodeOptions& options);
std::vector<uint8_t> encode_jpeg(const Image& image, const EncodeOptions& options);
std::vector<uint8_t> encode_webp(const Image& image, const EncodeOptions& options);

// Throws Error(invalid_file) when a header's size is empty or over the limit.
void check_image_size(int64_t width, int64_t height, std::string_view name, const ImageLimits& limits);

}  // namespace dreamlab
