#pragma once

// The two things of EXIF (a TIFF structure, Exif 2.32 section 4.6) that this program cares about.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/image.h"

namespace dreamlab {

struct ExifData {
  int orientation = 1;       // 1..8, tag 0x0112: how the stored picture lies
  std::string user_comment;  // tag 0x9286, UTF-8; "" where there is none
};

// Reads a TIFF block (without the "Exif\0\0" of a JPEG). What is damaged counts as absent: EXIF never makes a picture
// unreadable.
ExifData parse_exif(std::span<const uint8_t> tiff);

// A TIFF block that holds the user comment alone, as big-endian UTF-16, the form that other image generators write and
// read.
std::vector<uint8_t> make_exif(std::string_view user_comment);

// Turns a stored picture upright: what a viewer does for EXIF orientation 1..8.
Image apply_orientation(Image image, int orientation);

}  // namespace dreamlab
