// WebP: pixels through libwebp, the RIFF container (RFC 9649) read and written here for the sake of EXIF.
#include <webp/decode.h>
#include <webp/encode.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/exif.h"
#include "base/image_codecs.h"

namespace dreamlab {

namespace {

constexpr size_t kRiffHeader = 12, kChunkHeader = 8;
constexpr uint8_t kHasExif = 0x08, kHasAlpha = 0x10;
constexpr int kLosslessQuality = 100;
constexpr int kLosslessEffort = 2;  // of 0..9; higher ones cost seconds for a few percent

struct WebpFree {
  void operator()(uint8_t* memory) const { WebPFree(memory); }
};

uint32_t little_endian32(const uint8_t* p) {
  return p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24;
}

void put_little_endian(std::vector<uint8_t>& out, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<uint8_t>(value >> 8 * i));
}

// The first chunk of that name; empty where there is none or the container is damaged.
std::span<const uint8_t> find_chunk(std::span<const uint8_t> file, std::string_view fourcc) {
  for (size_t at = kRiffHeader; at + kChunkHeader <= file.size();) {
    const size_t length = little_endian32(file.data() + at + 4);
    if (length > file.size() - at - kChunkHeader) return {};
    if (std::memcmp(file.data() + at, fourcc.data(), 4) == 0) return file.subspan(at + kChunkHeader, length);
    at += kChunkHeader + length + length % 2;
  }
  return {};
}

void put_riff_chunk(std::vector<uint8_t>& out, std::string_view fourcc, std::span<const uint8_t> data) {
  out.insert(out.end(), fourcc.begin(), fourcc.end());
  put_little_endian(out, static_cast<uint32_t>(data.size()), 4);
  out.insert(out.end(), data.begin(), data.end());
  if (data.size() % 2 != 0) out.push_back(0);
}

// libwebp writes the simple container; metadata wants the extended one: VP8X, the picture, EXIF.
std::vector<uint8_t> add_exif(const Image& image, std::span<const uint8_t> simple, std::span<const uint8_t> exif) {
  std::vector<uint8_t> extended;
  put_little_endian(extended, kHasExif | (image.channels == 4 ? kHasAlpha : 0), 4);
  put_little_endian(extended, static_cast<uint32_t>(image.width - 1), 3);
  put_little_endian(extended, static_cast<uint32_t>(image.height - 1), 3);

  std::vector<uint8_t> body = {'W', 'E', 'B', 'P'};
  put_riff_chunk(body, "VP8X", extended);
  for (std::string_view fourcc : {"ALPH", "VP8 ", "VP8L"}) {
    if (const auto chunk = find_chunk(simple, fourcc); !chunk.empty()) put_riff_chunk(body, fourcc, chunk);
  }
  put_riff_chunk(body, "EXIF", exif);

  std::vector<uint8_t> out;
  put_riff_chunk(out, "RIFF", body);
  return out;
}

struct Picture {
  Picture() { WebPPictureInit(&value); }
  ~Picture() { WebPPictureFree(&value); }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
  WebPPicture value;
};

struct Writer {
  Writer() { WebPMemoryWriterInit(&value); }
  ~Writer() { WebPMemoryWriterClear(&value); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  WebPMemoryWriter value;
};

std::vector<uint8_t> encode_simple(const Image& image, int quality) {
  WebPConfig config;
  WebPConfigInit(&config);
  config.quality = static_cast<float>(quality);
  if (quality == kLosslessQuality) WebPConfigLosslessPreset(&config, kLosslessEffort);
  config.exact = 1;  // colors under full transparency stay as they are

  Picture picture;
  Writer writer;
  picture.value.use_argb = config.lossless;
  picture.value.width = static_cast<int>(image.width);
  picture.value.height = static_cast<int>(image.height);
  picture.value.writer = WebPMemoryWrite;
  picture.value.custom_ptr = &writer.value;
  const int stride = static_cast<int>(image.width * image.channels);
  const bool imported = image.channels == 4 ? WebPPictureImportRGBA(&picture.value, image.pixels.data(), stride)
                                            : WebPPictureImportRGB(&picture.value, image.pixels.data(), stride);
  if (!imported || !WebPEncode(&config, &picture.value)) {
    fail(ErrorKind::internal, "writing a WebP of {}x{} failed (libwebp error {})", image.width, image.height,
         static_cast<int>(picture.value.error_code));
  }
  return {writer.value.mem, writer.value.mem + writer.value.size};
}

}  // namespace

DecodedImage decode_webp(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) {
    fail(ErrorKind::invalid_file, "{}: damaged or truncated WebP", name);
  }
  if (features.has_animation) fail(ErrorKind::unsupported, "{}: an animated WebP; a still picture is needed", name);
  check_image_size(features.width, features.height, name, limits);

  Image image = Image::blank(features.width, features.height, features.has_alpha ? 4 : 3);
  const auto decode = features.has_alpha ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  const int stride = static_cast<int>(image.width * image.channels);
  if (decode(bytes.data(), bytes.size(), image.pixels.data(), image.pixels.size(), stride) == nullptr) {
    fail(ErrorKind::invalid_file, "{}: damaged or truncated WebP", name);
  }
  const ExifData exif = parse_exif(find_chunk(bytes, "EXIF"));
  DecodedImage decoded{
      .image = apply_orientation(std::move(image), exif.orientation), .format = ImageFormat::webp, .texts = {}};
  if (!exif.user_comment.empty()) decoded.texts.push_back({"parameters", exif.user_comment});
  return decoded;
}

std::vector<uint8_t> encode_webp(const Image& image, const EncodeOptions& options) {
  if (image.width > WEBP_MAX_DIMENSION || image.height > WEBP_MAX_DIMENSION) {
    fail(ErrorKind::invalid_argument, "a WebP cannot be {}x{}; at most {} a side", image.width, image.height,
         WEBP_MAX_DIMENSION);
  }
  std::vector<uint8_t> simple = encode_simple(image, options.quality);
  if (options.texts.empty()) return simple;
  return add_exif(image, simple, make_exif(options.texts.front().text));
}

}  // namespace dreamlab
