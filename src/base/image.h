#pragma once

// The one image codec: PNG, JPEG and WebP, to and from 8-bit pixels.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

// Rows from the top, pixels of a row from the left, channels interleaved: R, G, B and, with 4 channels, A (not
// premultiplied).
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 3;  // 3 or 4
  std::vector<uint8_t> pixels;

  // A picture of zeros. Throws Error(invalid_argument) for an empty one or other channel counts.
  static Image blank(int64_t width, int64_t height, int64_t channels = 3);
  const uint8_t* row(int64_t y) const { return pixels.data() + y * width * channels; }
  uint8_t* row(int64_t y) { return pixels.data() + y * width * channels; }
  bool operator==(const Image&) const = default;
};

enum class ImageFormat { png, jpeg, webp };
// "png", "jpeg", "webp"
std::string_view name_of(ImageFormat format);
// "image/png", ...
std::string_view mime_type_of(ImageFormat format);
// By the file name's extension (png, jpg, jpeg, webp; any case).
std::optional<ImageFormat> image_format_from_path(std::string_view path);
// By the first bytes of the file.
std::optional<ImageFormat> image_format_from_content(std::span<const uint8_t> bytes);

// A text that travels in the file: a tEXt/zTXt/iTXt chunk of a PNG, or the EXIF UserComment of a JPEG or WebP, whose
// keyword is always "parameters".
struct ImageText {
  std::string keyword;
  std::string text;  // UTF-8
  bool operator==(const ImageText&) const = default;
};

struct ImageLimits {
  int64_t max_pixels = int64_t{64} << 20;  // checked against the header, before memory for the pixels is taken
};

struct DecodedImage {
  Image image;  // upright: the EXIF orientation has been applied
  ImageFormat format = ImageFormat::png;
  std::vector<ImageText> texts;
};

// Reads a picture by its content. `name` is what error messages call it (a path). Gray and palette pictures become RGB,
// those with transparency RGBA, 16-bit channels 8-bit. Throws Error(invalid_file) for what is damaged, truncated or
// larger than the limits, Error(unsupported) for a format that is none of the three and for CMYK.
DecodedImage decode_image(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits = {});

struct EncodeOptions {
  int quality = 92;  // JPEG and WebP, 1..100; 100 makes a WebP lossless
  std::vector<ImageText> texts;
};

// The same picture and options give the same bytes. JPEG drops alpha over black.
// Throws Error(invalid_argument) for sizes that the format cannot hold (JPEG 65,500, WebP 16,383 a side).
std::vector<uint8_t> encode_image(const Image& image, ImageFormat format, const EncodeOptions& options = {});

// Another size through a separable Lanczos filter of radius 3, widened when shrinking so that nothing aliases; edges
// repeat.
Image resize_image(const Image& image, int64_t width, int64_t height);
// The same filter on numbers [height, width, channels] to [to_height, to_width, channels], neither rounded nor clamped.
std::vector<float> resize_values(std::span<const float> values, int64_t width, int64_t height, int64_t channels,
                                 int64_t to_width, int64_t to_height);

// Without its alpha channel, laid over black.
Image drop_alpha(const Image& image);

// Channel 0 weighed with the others as luma (Rec. 601), in 0..255; alpha is left out.
std::vector<uint8_t> to_gray(const Image& image);

}  // namespace dreamlab
