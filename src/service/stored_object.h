#pragma once

// How an object and its content type become one run of bytes, so that a store can replace both in one move.
//
//   bytes | content type | length of the content type (1 byte) | "DLobj1"
//
// What describes the bytes stands behind them: a picture viewer shows the file as it is, and a file that was cut off
// has no ending and is nobody's object.
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "service/storage.h"

namespace dreamlab {

// Throw Error(invalid_argument).
void check_storage_key(std::string_view key);
void check_content_type(std::string_view content_type);

// What follows the bytes.
std::vector<uint8_t> object_ending(std::string_view content_type);
// nullopt where the ending is not there.
std::optional<StoredObject> parse_object(std::vector<uint8_t> bytes);
// Bytes that the longest ending takes.
constexpr uint64_t kMaxObjectEnding = 128 + 1 + 6;

}  // namespace dreamlab
