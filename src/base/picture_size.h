#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dreamlab {

// A picture's extent in pixels.
struct PictureSize {
  int64_t width = 0;
  int64_t height = 0;
  bool operator==(const PictureSize&) const = default;
};

constexpr int64_t kSizeStep = 8;  // sides are multiples of it: one latent pixel
constexpr int64_t kMaxPictureSide = 4096;

// "1024x768"
std::string to_string(PictureSize size);

// "1024x768" to numbers. Throws Error(invalid_argument), always beginning "Invalid size", for another form and for what
// check_size refuses.
PictureSize parse_size(std::string_view text);

// Throws Error(invalid_argument), beginning "Invalid size", unless both sides are multiples of 8 in 8..4096.
void check_size(PictureSize size);

}  // namespace dreamlab
