#pragma once

// Where finished pictures are kept under opaque keys.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

struct StoredObject {
  std::vector<uint8_t> bytes;
  std::string content_type;
  bool operator==(const StoredObject&) const = default;
};

struct StorageOptions {
  double ttl_s = 86400;
  uint64_t max_bytes = uint64_t{1} << 30;  // of a directory
};

constexpr uint64_t kMaxObjectBytes = uint64_t{128} << 20;

// Safe to use from several threads; calls may block, for some seconds at most. All throw Error(unavailable) when the
// store cannot be reached, Error(invalid_argument) for a key that is none: 1..128 of A-Z a-z 0-9 . _ - and no leading
// dot.
class Storage {
 public:
  virtual ~Storage() = default;
  virtual std::string_view kind() const = 0;  // "file", "redis"
  // Replaces what is there in one move. Throws Error(too_large) over kMaxObjectBytes or what the store holds in all,
  // Error(invalid_argument) for a content type that is not 1..128 printable ASCII characters.
  virtual void put(const std::string& key, std::span<const uint8_t> bytes, std::string_view content_type) = 0;
  // nullopt: never put, or its time is over.
  virtual std::optional<StoredObject> get(const std::string& key) = 0;
  // Throws where it does not work; one line of details for people else.
  virtual std::string health() = 0;
};

// "none": null; "file:DIR", made where it is missing; "redis://[:PASSWORD@]HOST[:PORT][/DB]", which need not be up yet.
// Throws Error(invalid_argument) that says what is allowed, Error(unavailable) for a directory that cannot be written.
std::unique_ptr<Storage> open_storage(const std::string& where, const StorageOptions& options);
// A new key: 32 hexadecimal digits.
std::string make_storage_key();

}  // namespace dreamlab
