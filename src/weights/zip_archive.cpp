// The structures are those of PKWARE's APPNOTE, sections 4.3 and 4.5.3.
#include "weights/zip_archive.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "weights/printable.h"

namespace dreamlab {
namespace {

constexpr uint64_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50;
constexpr uint64_t kZip64End = 0x06064b50, kZip64Locator = 0x07064b50;
constexpr uint64_t kLocalHeaderBytes = 30, kCentralHeaderBytes = 46, kEndBytes = 22, kZip64EndBytes = 56,
                   kZip64LocatorBytes = 20;
constexpr uint64_t kLongestComment = 0xffff;
constexpr uint64_t kIn64 = 0xffffffff;  // "see the zip64 extra field"

}  // namespace

struct ZipArchive::Entry {
  std::string name;
  uint64_t flags = 0, method = 0, compressed = 0, size = 0, local_header = 0;
};

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {
  const Directory directory = find_directory();
  if (directory.offset > bytes_.size() || directory.bytes > bytes_.size() - directory.offset)
    damaged("its directory lies outside the file");
  if (directory.entries > directory.bytes / kCentralHeaderBytes) damaged("its directory is too short for its entries");

  // Where each member lies, to see that no two share bytes: the sum of the members then never exceeds the file.
  std::vector<std::pair<uint64_t, uint64_t>> places;
  uint64_t position = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    Entry entry = read_entry(position, directory.offset + directory.bytes);
    const std::span<const std::byte> data = member_bytes(entry);
    const auto begin = static_cast<uint64_t>(data.data() - bytes_.data());
    places.emplace_back(entry.local_header, begin + data.size());
    const std::string shown = printable(entry.name);
    if (!members_.emplace(std::move(entry.name), data).second) damaged("it has " + shown + " twice");
  }
  std::sort(places.begin(), places.end());
  for (size_t i = 1; i < places.size(); ++i)
    if (places[i].first < places[i - 1].second) damaged("its members overlap");
}

uint64_t ZipArchive::number(uint64_t position, int bytes) const {
  if (position > bytes_.size() || static_cast<uint64_t>(bytes) > bytes_.size() - position) damaged("it ends early");
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i)
    value |= std::to_integer<uint64_t>(bytes_[position + static_cast<uint64_t>(i)]) << (8 * i);
  return value;
}

void ZipArchive::damaged(std::string_view what) const {
  fail(ErrorKind::invalid_file, "{}: damaged zip archive: {} (truncated?)", file_, what);
}

ZipArchive::Directory ZipArchive::find_directory() const {
  if (bytes_.size() < kEndBytes) damaged("it has no end record");
  const uint64_t last = bytes_.size() - kEndBytes;
  const uint64_t first = last > kLongestComment ? last - kLongestComment : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (number(at, 4) != kEnd || number(at + 20, 2) != last - at) continue;
    Directory directory{number(at + 10, 2), number(at + 12, 4), number(at + 16, 4)};
    const bool zip64 = at >= kZip64LocatorBytes && number(at - kZip64LocatorBytes, 4) == kZip64Locator;
    return zip64 ? read_zip64_directory(at - kZip64LocatorBytes) : directory;
  }
  damaged("it has no end record");
}

ZipArchive::Directory ZipArchive::read_zip64_directory(uint64_t locator) const {
  const uint64_t at = number(locator + 8, 8);
  if (at > bytes_.size() || bytes_.size() - at < kZip64EndBytes || number(at, 4) != kZip64End)
    damaged("its zip64 end record is not where it should be");
  return {number(at + 32, 8), number(at + 40, 8), number(at + 48, 8)};
}

ZipArchive::Entry ZipArchive::read_entry(uint64_t& position, uint64_t end) const {
  if (end - position < kCentralHeaderBytes || number(position, 4) != kCentralHeader)
    damaged("its directory has a wrong entry");
  Entry entry;
  entry.flags = number(position + 8, 2);
  entry.method = number(position + 10, 2);
  entry.compressed = number(position + 20, 4);
  entry.size = number(position + 24, 4);
  entry.local_header = number(position + 42, 4);
  const uint64_t name_bytes = number(position + 28, 2), extra_bytes = number(position + 30, 2),
                 comment_bytes = number(position + 32, 2);
  if (end - position < kCentralHeaderBytes + name_bytes + extra_bytes + comment_bytes)
    damaged("its directory has a wrong entry");
  entry.name.assign(reinterpret_cast<const char*>(bytes_.data() + position + kCentralHeaderBytes), name_bytes);

  uint64_t extra = position + kCentralHeaderBytes + name_bytes;
  const uint64_t extra_end = extra + extra_bytes;
  position = extra_end + comment_bytes;
  while (extra_end - extra >= 4) {
    const uint64_t id = number(extra, 2), field_end = extra + 4 + number(extra + 2, 2);
    if (field_end > extra_end) damaged("its directory has a wrong entry");
    if (id == 1) {  // zip64: those of the three that did not fit, in this order
      uint64_t at = extra + 4;
      for (uint64_t* value : {&entry.size, &entry.compressed, &entry.local_header}) {
        if (*value != kIn64) continue;
        if (field_end - at < 8) damaged("its directory has a wrong entry");
        *value = number(at, 8);
        at += 8;
      }
    }
    extra = field_end;
  }
  return entry;
}

std::span<const std::byte> ZipArchive::member_bytes(const Entry& entry) const {
  const std::string shown = printable(entry.name);
  if (entry.flags & 1) fail(ErrorKind::unsupported, "{}: {} is encrypted", file_, shown);
  if (entry.method != 0)
    fail(ErrorKind::unsupported, "{}: {} is compressed (method {}); PyTorch stores without compression", file_, shown,
         entry.method);
  const uint64_t at = entry.local_header;
  if (entry.compressed != entry.size) damaged(shown + " has two sizes");
  if (at > bytes_.size() || bytes_.size() - at < kLocalHeaderBytes || number(at, 4) != kLocalHeader)
    damaged(shown + " is not where the directory says");
  const uint64_t header = kLocalHeaderBytes + number(at + 26, 2) + number(at + 28, 2);
  if (bytes_.size() - at < header || bytes_.size() - at - header < entry.size)
    damaged(shown + " reaches past the end of the file");
  return bytes_.subspan(at + header, entry.size);
}

}  // namespace dreamlab
