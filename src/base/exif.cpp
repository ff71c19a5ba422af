#include "base/exif.h"

#include <optional>

#include "base/big_endian.h"
#include "base/utf8.h"

namespace dreamlab {

namespace {

constexpr uint16_t kOrientation = 0x0112;
constexpr uint16_t kExifIfd = 0x8769;
constexpr uint16_t kUserComment = 0x9286;
constexpr uint16_t kTypeShort = 3, kTypeLong = 4, kTypeUndefined = 7;
constexpr std::string_view kUnicode{"UNICODE\0", 8};
constexpr std::string_view kAscii{"ASCII\0\0\0", 8};
constexpr int kMaxEntries = 1024;

// Reads numbers of either byte order inside a block; what lies outside reads as absent.
class TiffReader {
 public:
  explicit TiffReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool read_header() {
    if (bytes_.size() < 8) return false;
    big_endian_ = bytes_[0] == 'M' && bytes_[1] == 'M';
    const bool little_endian = bytes_[0] == 'I' && bytes_[1] == 'I';
    return (big_endian_ || little_endian) && u16(2) == 42;
  }

  std::optional<uint32_t> u16(size_t at) const { return number(at, 2); }
  std::optional<uint32_t> u32(size_t at) const { return number(at, 4); }

  // Offset of the 12-byte entry of `tag` in the directory at `directory`.
  std::optional<size_t> find(size_t directory, uint16_t tag) const {
    const auto count = u16(directory);
    if (!count || *count > kMaxEntries) return std::nullopt;
    for (size_t i = 0; i < *count; ++i) {
      const size_t entry = directory + 2 + 12 * i;
      if (u16(entry) == tag) return entry;
    }
    return std::nullopt;
  }

  std::span<const uint8_t> range(size_t at, size_t length) const {
    if (at > bytes_.size() || length > bytes_.size() - at) return {};
    return bytes_.subspan(at, length);
  }
  bool big_endian() const { return big_endian_; }

 private:
  std::optional<uint32_t> number(size_t at, size_t length) const {
    const auto bytes = range(at, length);
    if (bytes.empty()) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < length; ++i) value = value << 8 | bytes[big_endian_ ? i : length - 1 - i];
    return value;
  }

  std::span<const uint8_t> bytes_;
  bool big_endian_ = true;
};

// Byte order: a mark if there is one, else big-endian unless the text only makes sense the other way round (ASCII
// swapped).
std::string decode_utf16(std::span<const uint8_t> bytes) {
  const auto unit = [&](size_t i, bool big) {
    return static_cast<char32_t>(big ? bytes[i] << 8 | bytes[i + 1] : bytes[i + 1] << 8 | bytes[i]);
  };
  if (bytes.size() < 2) return "";
  bool big = bytes[1] != 0 || bytes[0] == 0;
  size_t i = 0;
  if (unit(0, true) == 0xFEFF || unit(0, true) == 0xFFFE) {
    big = unit(0, true) == 0xFEFF;
    i = 2;
  }
  std::string text;
  for (; i + 1 < bytes.size(); i += 2) {
    char32_t c = unit(i, big);
    const bool high = c >= 0xD800 && c < 0xDC00 && i + 3 < bytes.size();
    if (high && unit(i + 2, big) >= 0xDC00 && unit(i + 2, big) < 0xE000) {
      c = 0x10000 + ((c - 0xD800) << 10) + (unit(i + 2, big) - 0xDC00);
      i += 2;
    }
    append_utf8(text, c);
  }
  return text;
}

std::string decode_user_comment(std::span<const uint8_t> bytes) {
  if (bytes.size() < 8) return "";
  const std::string_view code(reinterpret_cast<const char*>(bytes.data()), 8);
  const auto body = bytes.subspan(8);
  if (code == kUnicode) return decode_utf16(body);
  if (code != kAscii) return "";
  return encode_utf8(decode_utf8({reinterpret_cast<const char*>(body.data()), body.size()}));
}

void put_entry(std::vector<uint8_t>& out, uint16_t tag, uint16_t type, uint32_t count, uint32_t value) {
  put_u16(out, tag);
  put_u16(out, type);
  put_u32(out, count);
  put_u32(out, value);
}

std::vector<uint8_t> encode_utf16(std::string_view text) {
  std::vector<uint8_t> out;
  for (char32_t c : decode_utf8(text)) {
    if (c >= 0x10000) {
      put_u16(out, 0xD800 + ((c - 0x10000) >> 10));
      put_u16(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      put_u16(out, c);
    }
  }
  return out;
}

}  // namespace

ExifData parse_exif(std::span<const uint8_t> tiff) {
  ExifData exif;
  TiffReader reader(tiff);
  if (!reader.read_header()) return exif;
  const auto directory = reader.u32(4);
  if (!directory) return exif;
  if (const auto entry = reader.find(*directory, kOrientation); entry && reader.u16(*entry + 2) == kTypeShort) {
    const uint32_t value = reader.u16(*entry + 8).value_or(1);
    if (value >= 1 && value <= 8) exif.orientation = static_cast<int>(value);
  }
  const auto pointer = reader.find(*directory, kExifIfd);
  if (!pointer) return exif;
  const auto exif_directory = reader.u32(*pointer + 8);
  if (!exif_directory) return exif;
  if (const auto entry = reader.find(*exif_directory, kUserComment);
      entry && reader.u16(*entry + 2) == kTypeUndefined) {
    const uint32_t count = reader.u32(*entry + 4).value_or(0);
    exif.user_comment = decode_user_comment(reader.range(reader.u32(*entry + 8).value_or(0), count));
  }
  return exif;
}

std::vector<uint8_t> make_exif(std::string_view user_comment) {
  const std::vector<uint8_t> body = encode_utf16(user_comment);
  // Header (8), IFD0 with one entry (18), Exif IFD with one entry (18), then the comment.
  constexpr uint32_t kFirst = 8, kDirectoryBytes = 2 + 12 + 4;
  std::vector<uint8_t> out = {'M', 'M', 0, 42};
  put_u32(out, kFirst);
  put_u16(out, 1);
  put_entry(out, kExifIfd, kTypeLong, 1, kFirst + kDirectoryBytes);
  put_u32(out, 0);
  put_u16(out, 1);
  put_entry(out, kUserComment, kTypeUndefined, static_cast<uint32_t>(kUnicode.size() + body.size()),
            kFirst + 2 * kDirectoryBytes);
  put_u32(out, 0);
  out.insert(out.end(), kUnicode.begin(), kUnicode.end());
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

Image apply_orientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const bool swaps_sides = orientation >= 5;
  Image upright = swaps_sides ? Image::blank(image.height, image.width, image.channels)
                              : Image::blank(image.width, image.height, image.channels);
  const int64_t last_x = image.width - 1, last_y = image.height - 1;
  for (int64_t y = 0; y < upright.height; ++y) {
    for (int64_t x = 0; x < upright.width; ++x) {
      int64_t from_x = swaps_sides ? y : x;
      int64_t from_y = swaps_sides ? x : y;
      // Where the top row and the left column of the stored picture belong: Exif 2.32, table of tag 0x0112.
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) from_x = last_x - from_x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) from_y = last_y - from_y;
      const uint8_t* from = image.row(from_y) + from_x * image.channels;
      std::copy(from, from + image.channels, upright.row(y) + x * image.channels);
    }
  }
  return upright;
}

}  // namespace dreamlab
