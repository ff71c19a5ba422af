// PNG (ISO/IEC 15948). Reading is spng's; writing is our own container around libdeflate, since the usual encoders
// spend longer on a picture than a fast GPU does.
#include <libdeflate.h>
#include <spng.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/big_endian.h"
#include "base/error.h"
#include "base/exif.h"
#include "base/image_codecs.h"
#include "base/pixel_deflate.h"
#include "base/thread_pool.h"
#include "base/utf8.h"

namespace dreamlab {

namespace {

// Deflate cannot shrink anything by more than 1032 to 1 (258 bytes for two bits): a header that promises more is a lie.
constexpr int64_t kMaxDeflateRatio = 1032;
constexpr size_t kMaxChunkBytes = 8 << 20;  // of text and other metadata, each and all of them
constexpr int kMaxKeyword = 79;

struct SpngFree {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using SpngContext = std::unique_ptr<spng_ctx, SpngFree>;

[[noreturn]] void fail_png(std::string_view name, int code) {
  fail(ErrorKind::invalid_file, "{}: damaged or truncated PNG ({})", name, spng_strerror(code));
}

std::string latin1_to_utf8(std::string_view text) {
  std::string utf8;
  for (char c : text) append_utf8(utf8, static_cast<uint8_t>(c));
  return utf8;
}

std::vector<ImageText> read_texts(spng_ctx* context) {
  uint32_t count = 0;
  if (spng_get_text(context, nullptr, &count) != 0 || count == 0) return {};
  std::vector<spng_text> chunks(count);
  if (spng_get_text(context, chunks.data(), &count) != 0) return {};
  std::vector<ImageText> texts;
  for (const spng_text& chunk : chunks) {
    const std::string_view body(chunk.text, chunk.length);
    texts.push_back({latin1_to_utf8(chunk.keyword),
                     chunk.type == SPNG_ITXT ? encode_utf8(decode_utf8(body)) : latin1_to_utf8(body)});
  }
  return texts;
}

// Bytes of the picture before compression, filter bytes left out.
int64_t stored_bytes(const spng_ihdr& header) {
  constexpr int kChannels[] = {1, 0, 3, 1, 2, 0, 4};
  const int64_t row_bits = int64_t{header.width} * kChannels[header.color_type] * header.bit_depth;
  return (row_bits + 7) / 8 * header.height;
}

bool is_opaque(spng_ctx* context, const spng_ihdr& header) {
  spng_trns trns;
  const bool alpha_channel =
      header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA || header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA;
  return !alpha_channel && spng_get_trns(context, &trns) != 0;
}

}  // namespace

DecodedImage decode_png(std::span<const uint8_t> bytes, std::string_view name, const ImageLimits& limits) {
  SpngContext context(spng_ctx_new(0));
  if (!context) fail(ErrorKind::out_of_memory, "{}: no memory for the PNG reader", name);
  spng_set_chunk_limits(context.get(), kMaxChunkBytes, kMaxChunkBytes);
  spng_set_png_buffer(context.get(), bytes.data(), bytes.size());

  spng_ihdr header;
  if (const int code = spng_get_ihdr(context.get(), &header)) fail_png(name, code);
  check_image_size(header.width, header.height, name, limits);
  if (stored_bytes(header) / kMaxDeflateRatio > static_cast<int64_t>(bytes.size())) {
    fail(ErrorKind::invalid_file, "{}: {} bytes cannot hold the {}x{} pixels that the header promises", name,
         bytes.size(), header.width, header.height);
  }

  const bool opaque = is_opaque(context.get(), header);
  const int format = opaque ? SPNG_FMT_RGB8 : SPNG_FMT_RGBA8;
  size_t size = 0;
  if (const int code = spng_decoded_image_size(context.get(), format, &size)) fail_png(name, code);
  DecodedImage decoded{
      .image = Image::blank(header.width, header.height, opaque ? 3 : 4), .format = ImageFormat::png, .texts = {}};
  if (size != decoded.image.pixels.size())
    fail(ErrorKind::internal, "{}: spng wants {} bytes for the pixels", name, size);
  if (const int code = spng_decode_image(context.get(), decoded.image.pixels.data(), size, format, SPNG_DECODE_TRNS)) {
    fail_png(name, code);
  }
  // Text may also stand behind the pixels. The picture is whole already, so that a damaged chunk there only costs the
  // text.
  if (spng_decode_chunks(context.get()) == 0) decoded.texts = read_texts(context.get());
  spng_exif exif;
  if (spng_get_exif(context.get(), &exif) == 0) {
    const auto* data = reinterpret_cast<const uint8_t*>(exif.data);
    decoded.image = apply_orientation(std::move(decoded.image), parse_exif({data, exif.length}).orientation);
  }
  return decoded;
}

namespace {

uint8_t paeth(int left, int up, int corner) {
  const int to_left = std::abs(up - corner);
  const int to_up = std::abs(left - corner);
  const int to_corner = std::abs(left + up - 2 * corner);
  if (to_left <= to_up && to_left <= to_corner) return static_cast<uint8_t>(left);
  return static_cast<uint8_t>(to_up <= to_corner ? up : corner);
}

enum Filter : uint8_t { kNone = 0, kSub = 1, kUp = 2, kAverage = 3, kPaeth = 4 };
constexpr Filter kFilters[] = {kNone, kSub, kUp, kAverage, kPaeth};

// One filtered byte; left and corner are 0 in the first pixel, up and corner in the first row (ISO/IEC 15948, 9.2).
template <Filter filter>
uint8_t filtered(uint8_t value, uint8_t left, uint8_t up, uint8_t corner) {
  switch (filter) {
    case kNone:
      return value;
    case kSub:
      return static_cast<uint8_t>(value - left);
    case kUp:
      return static_cast<uint8_t>(value - up);
    case kAverage:
      return static_cast<uint8_t>(value - (left + up) / 2);
    case kPaeth:
      return static_cast<uint8_t>(value - paeth(left, up, corner));
  }
}

struct Row {
  const uint8_t* values;
  const uint8_t* above;
  int64_t bytes;
  int64_t pixel;  // bytes of a pixel
};

template <Filter filter>
void write_row(const Row& row, uint8_t* out) {
  for (int64_t i = 0; i < row.pixel; ++i) out[i] = filtered<filter>(row.values[i], 0, row.above[i], 0);
  for (int64_t i = row.pixel; i < row.bytes; ++i) {
    out[i] = filtered<filter>(row.values[i], row.values[i - row.pixel], row.above[i], row.above[i - row.pixel]);
  }
}

// The usual measure of a filter: the sum of its output read as signed bytes, small meaning well predicted. Every eighth
// run of eight bytes is enough to tell filters apart.
template <Filter filter>
int64_t sampled_cost(const Row& row) {
  constexpr int64_t kRun = 8, kStride = 64;
  int64_t cost = 0;
  for (int64_t start = row.pixel; start < row.bytes; start += kStride) {
    const int64_t end = std::min(start + kRun, row.bytes);
    for (int64_t i = start; i < end; ++i) {
      cost += std::abs(static_cast<int8_t>(
          filtered<filter>(row.values[i], row.values[i - row.pixel], row.above[i], row.above[i - row.pixel])));
    }
  }
  return cost;
}

Filter best_filter(const Row& row) {
  const int64_t costs[] = {sampled_cost<kNone>(row), sampled_cost<kSub>(row), sampled_cost<kUp>(row),
                           sampled_cost<kAverage>(row), sampled_cost<kPaeth>(row)};
  return kFilters[std::min_element(std::begin(costs), std::end(costs)) - std::begin(costs)];
}

void write_filtered(const Row& row, Filter filter, uint8_t* out) {
  switch (filter) {
    case kNone:
      return write_row<kNone>(row, out);
    case kSub:
      return write_row<kSub>(row, out);
    case kUp:
      return write_row<kUp>(row, out);
    case kAverage:
      return write_row<kAverage>(row, out);
    case kPaeth:
      return write_row<kPaeth>(row, out);
  }
}

// Every row with its filter byte before it, as it goes into the compressor.
std::vector<uint8_t> filter_image(const Image& image) {
  constexpr int64_t kRowsAtOnce = 32;
  const int64_t row_bytes = image.width * image.channels;
  std::vector<uint8_t> out(static_cast<size_t>((row_bytes + 1) * image.height));
  const std::vector<uint8_t> nothing(static_cast<size_t>(row_bytes), 0);
  const auto filter_row = [&](int64_t y) {
    const Row row{image.row(y), y > 0 ? image.row(y - 1) : nothing.data(), row_bytes, image.channels};
    uint8_t* to = out.data() + y * (row_bytes + 1);
    const Filter filter = best_filter(row);
    *to = filter;
    write_filtered(row, filter, to + 1);
  };
  helper_threads().parallel_for((image.height + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t part, int) {
    const int64_t begin = part * kRowsAtOnce;
    for (int64_t y = begin; y < std::min(begin + kRowsAtOnce, image.height); ++y) filter_row(y);
  });
  return out;
}

void put_png_chunk(std::vector<uint8_t>& out, std::string_view type, std::span<const uint8_t> data) {
  put_u32(out, static_cast<uint32_t>(data.size()));
  const size_t start = out.size();
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), data.begin(), data.end());
  put_u32(out, libdeflate_crc32(0, out.data() + start, out.size() - start));
}

void put_header(std::vector<uint8_t>& out, const Image& image) {
  std::vector<uint8_t> header;
  put_u32(header, static_cast<uint32_t>(image.width));
  put_u32(header, static_cast<uint32_t>(image.height));
  const uint8_t color_type = image.channels == 4 ? SPNG_COLOR_TYPE_TRUECOLOR_ALPHA : SPNG_COLOR_TYPE_TRUECOLOR;
  header.insert(header.end(), {8, color_type, 0, 0, 0});
  put_png_chunk(out, "IHDR", header);
}

// tEXt holds Latin-1; anything else goes into an uncompressed iTXt. A NUL cannot be written and is left out.
void put_text(std::vector<uint8_t>& out, const ImageText& text) {
  std::u32string points = decode_utf8(text.text);
  points.erase(std::remove(points.begin(), points.end(), U'\0'), points.end());
  const bool latin1 = std::all_of(points.begin(), points.end(), [](char32_t c) { return c < 0x100; });

  const std::string keyword = text.keyword.substr(0, kMaxKeyword);
  std::vector<uint8_t> data(keyword.begin(), keyword.end());
  data.push_back(0);
  if (latin1) {
    data.insert(data.end(), points.begin(), points.end());
  } else {
    data.insert(data.end(), {0, 0, 0, 0});  // not compressed, method 0, no language, no translated keyword
    const std::string utf8 = encode_utf8(points);
    data.insert(data.end(), utf8.begin(), utf8.end());
  }
  put_png_chunk(out, latin1 ? "tEXt" : "iTXt", data);
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image, const EncodeOptions& options) {
  const std::vector<uint8_t> compressed = compress_pixels(filter_image(image));
  std::vector<uint8_t> out = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  out.reserve(compressed.size() + 1024);
  put_header(out, image);
  for (const ImageText& text : options.texts) put_text(out, text);
  // A chunk's length is a signed 32-bit number; one IDAT holds anything that the pixel limits allow but the largest
  // pictures.
  constexpr size_t kMaxIdat = size_t{1} << 30;
  for (size_t at = 0; at < compressed.size(); at += kMaxIdat) {
    put_png_chunk(out, "IDAT", std::span(compressed).subspan(at, std::min(kMaxIdat, compressed.size() - at)));
  }
  put_png_chunk(out, "IEND", {});
  return out;
}

}  // namespace dreamlab
