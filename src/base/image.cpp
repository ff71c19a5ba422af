#include "base/image.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "base/error.h"
#include "base/image_codecs.h"

namespace dreamlab {

namespace {

struct FormatRow {
  ImageFormat format;
  std::string_view name;
  std::string_view mime_type;
  std::array<std::string_view, 2> extensions;
};

constexpr FormatRow kFormats[] = {
    {ImageFormat::png, "png", "image/png", {".png", ""}},
    {ImageFormat::jpeg, "jpeg", "image/jpeg", {".jpg", ".jpeg"}},
    {ImageFormat::webp, "webp", "image/webp", {".webp", ""}},
};

const FormatRow& row_of(ImageFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

bool starts_with(std::span<const uint8_t> bytes, size_t at, std::string_view text) {
  return bytes.size() >= at + text.size() && std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

}  // namespace

Image Image::blank(int64_t width, int64_t height, int64_t channels) {
  if (width < 1 || height < 1 || (channels != 3 && channels != 4)) {
    fail(ErrorKind::invalid_argument, "an image of {}x{} pixels and {} channels; at least 1x1 and 3 or 4 channels",
         width, height, channels);
  }
  Image image{width, height, channels, {}};
  image.pixels.resize(static_cast<size_t>(width * height * channels));
  return image;
}

std::string_view name_of(ImageFormat format) {
  return row_of(format).name;
}

std::string_view mime_type_of(ImageFormat format) {
  return row_of(format).mime_type;
}

std::optional<ImageFormat> image_format_from_path(std::string_view path) {
  std::string lower(path);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const FormatRow& row : kFormats) {
    for (std::string_view extension : row.extensions) {
      if (!extension.empty() && lower.size() > extension.size() && lower.ends_with(extension)) return row.format;
    }
  }
  return std::nullopt;
}

std::optional<ImageFormat> image_format_from_content(std::span<const uint8_t> bytes) {
  if (starts_with(bytes, 0, "\x89PNG\r\n\x1a\n")) return ImageFormat::png;
  if (starts_with(bytes, 0, "\xff\xd8\xff")) return ImageFormat::jpeg;
  if (starts_with(bytes, 0, "RIFF") && starts_with(bytes, 8, "WEBP")) return ImageFormat::webp;
  return std::nullopt;
}

void check_image_size(int64_t width, int64_t height, std::string_view name, const ImageLimits& limits) {
  if (width < 1 || height < 1)
    fail(ErrorKind::invalid_file, "{}: an image of {}x{} pixels has nothing in it", name, width, height);
  if (width > limits.max_pixels / height) {
    fail(ErrorKind::invalid_file, "{}: an image of {}x{} pixels is larger than the {} pixels allowed", name, width,
         height, limits.max_pixels);
  }
}

DecodedImage decode_image(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits) {
  const auto format = image_format_from_content(bytes);
  if (!format) fail(ErrorKind::unsupported, "{}: not an image in a known format; PNG, JPEG and WebP are", name);
  switch (*format) {
    case ImageFormat::png:
      return decode_png(bytes, name, limits);
    case ImageFormat::jpeg:
      return decode_jpeg(bytes, name, limits);
    case ImageFormat::webp:
      return decode_webp(bytes, name, limits);
  }
  fail(ErrorKind::internal, "{}: unhandled image format", name);
}

std::vector<uint8_t> encode_image(const Image& image, ImageFormat format, const EncodeOptions& options) {
  if (options.quality < 1 || options.quality > 100) {
    fail(ErrorKind::invalid_argument, "image quality {} is not in 1..100", options.quality);
  }
  switch (format) {
    case ImageFormat::png:
      return encode_png(image, options);
    case ImageFormat::jpeg:
      return encode_jpeg(image, options);
    case ImageFormat::webp:
      return encode_webp(image, options);
  }
  fail(ErrorKind::internal, "unhandled image format");
}

Image drop_alpha(const Image& image) {
  if (image.channels == 3) return image;
  Image opaque = Image::blank(image.width, image.height, 3);
  const int64_t count = image.width * image.height;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* from = image.pixels.data() + 4 * i;
    for (int c = 0; c < 3; ++c) opaque.pixels[3 * i + c] = static_cast<uint8_t>((from[c] * from[3] + 127) / 255);
  }
  return opaque;
}

std::vector<uint8_t> to_gray(const Image& image) {
  std::vector<uint8_t> gray(static_cast<size_t>(image.width * image.height));
  for (size_t i = 0; i < gray.size(); ++i) {
    const uint8_t* p = image.pixels.data() + static_cast<size_t>(image.channels) * i;
    // 16-bit fixed point of 0.299, 0.587, 0.114.
    gray[i] = static_cast<uint8_t>((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
  }
  return gray;
}

}  // namespace dreamlab
