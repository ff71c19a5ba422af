#include "service/stored_object.h"

#include <algorithm>

#include "base/error.h"

namespace dreamlab {

namespace {

constexpr size_t kMaxKey = 128;
constexpr size_t kMaxContentType = 128;
constexpr std::string_view kMark = "DLobj1";

bool is_key_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_printable(char c) {
  return c >= 0x20 && c < 0x7f;
}

}  // namespace

// The key itself is not repeated: it may be any bytes.
void check_storage_key(std::string_view key) {
  if (key.empty() || key.size() > kMaxKey || key.front() == '.' ||
      !std::all_of(key.begin(), key.end(), is_key_character)) {
    fail(ErrorKind::invalid_argument,
         "storage key of {} bytes: not allowed; 1..{} of A-Z a-z 0-9 . _ - without a leading dot are", key.size(),
         kMaxKey);
  }
}

void check_content_type(std::string_view content_type) {
  if (content_type.empty() || content_type.size() > kMaxContentType ||
      !std::all_of(content_type.begin(), content_type.end(), is_printable)) {
    fail(ErrorKind::invalid_argument, "content type of {} bytes: not allowed; 1..{} printable ASCII characters are",
         content_type.size(), kMaxContentType);
  }
}

std::vector<uint8_t> object_ending(std::string_view content_type) {
  check_content_type(content_type);
  std::vector<uint8_t> ending(content_type.begin(), content_type.end());
  ending.push_back(static_cast<uint8_t>(content_type.size()));
  ending.insert(ending.end(), kMark.begin(), kMark.end());
  return ending;
}

std::optional<StoredObject> parse_object(std::vector<uint8_t> bytes) {
  if (bytes.size() < kMark.size() + 1 || !std::equal(kMark.rbegin(), kMark.rend(), bytes.rbegin())) return std::nullopt;
  const size_t length_at = bytes.size() - kMark.size() - 1;
  const size_t length = bytes[length_at];
  if (length == 0 || length > length_at || length > kMaxContentType) return std::nullopt;
  const auto content_type = bytes.begin() + static_cast<std::ptrdiff_t>(length_at - length);
  StoredObject object;
  object.content_type.assign(content_type, content_type + static_cast<std::ptrdiff_t>(length));
  bytes.erase(content_type, bytes.end());
  object.bytes = std::move(bytes);
  return object;
}

}  // namespace dreamlab
