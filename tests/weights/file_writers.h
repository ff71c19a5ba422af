#pragma once

// Writes small model files byte by byte, also wrong ones, so that each test shows the whole file it reads.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "temporary_directory.h"

namespace dreamlab {

inline std::string little_endian(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

inline std::string safetensors_file(std::string_view header, std::string_view data) {
  return little_endian(header.size(), 8) + std::string(header) + std::string(data);
}

// A zip archive of stored members.
inline std::string zip_file(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out, directory;
  for (const auto& [name, data] : members) {
    const std::string sizes = little_endian(0, 4) + little_endian(data.size(), 4) + little_endian(data.size(), 4);
    const std::string common = little_endian(0, 2) /*flags*/ + little_endian(0, 2) /*stored*/ +
                               little_endian(0, 4) /*time*/ + sizes + little_endian(name.size(), 2) +
                               little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + little_endian(20, 2) + common + little_endian(0, 2) +
                 little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4) + little_endian(out.size(), 4) + name;
    out += "PK\x03\x04" + little_endian(20, 2) + common + name + data;
  }
  const std::string count = little_endian(members.size(), 2);
  return out + directory + "PK\x05\x06" + little_endian(0, 4) + count + count + little_endian(directory.size(), 4) +
         little_endian(out.size(), 4) + little_endian(0, 2);
}

// Opcodes of the pickles that torch.save writes.
namespace pickle_text {

inline std::string integer(int64_t value) {
  if (value >= 0 && value < 256) return "K" + little_endian(static_cast<uint64_t>(value), 1);
  if (value >= INT32_MIN && value <= INT32_MAX) return "J" + little_endian(static_cast<uint64_t>(value), 4);
  return std::string("\x8a\x08") + little_endian(static_cast<uint64_t>(value), 8);
}
inline std::string text(std::string_view value) {
  return "X" + little_endian(value.size(), 4) + std::string(value);
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string call(const std::string& callee, const std::vector<std::string>& arguments) {
  return callee + tuple(arguments) + "R";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
inline std::string storage(std::string_view type, std::string_view key, int64_t elements) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(elements)}) + "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& sizes,
                          const std::vector<int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, integer(offset), integers(sizes), integers(strides), "\x89",
               call(global("collections", "OrderedDict"), {})});
}
inline std::string pickle(const std::string& value) {
  return "\x80\x02" + value + ".";
}

}  // namespace pickle_text

// torch.save of `object` (opcodes of a value), in its zip form and its legacy form.
inline std::string pytorch_zip(const std::string& object,
                               const std::vector<std::pair<std::string, std::string>>& storages) {
  std::vector<std::pair<std::string, std::string>> members{{"archive/data.pkl", pickle_text::pickle(object)}};
  for (const auto& [key, data] : storages) members.emplace_back("archive/data/" + key, data);
  members.emplace_back("archive/version", "3\n");
  return zip_file(members);
}

// storages: key, number of elements, bytes
struct LegacyStorage {
  std::string key;
  uint64_t elements;
  std::string data;
};
inline std::string pytorch_legacy(const std::string& object, const std::vector<LegacyStorage>& storages) {
  using namespace pickle_text;
  const std::string magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  std::string keys = "](", data;
  for (const LegacyStorage& storage : storages) {
    keys += text(storage.key);
    data += little_endian(storage.elements, 8) + storage.data;
  }
  return magic + pickle(integer(1001)) + pickle(dict({{"little_endian", "\x88"}})) + pickle(object) +
         pickle(keys + "e") + data;
}

// Runs `action`, which must throw an Error of this kind with one line that contains `part`.
// Short names for tables of bad files.
inline constexpr ErrorKind kInvalid = ErrorKind::invalid_file, kUnsupported = ErrorKind::unsupported;

template <typename Action>
void expect_error(ErrorKind kind, std::string_view part, Action action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), kind) << message;
    EXPECT_NE(message.find(part), std::string::npos) << "\"" << message << "\" does not contain \"" << part << "\"";
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return;
  }
  ADD_FAILURE() << "no error; expected one with \"" << part << "\"";
}

}  // namespace dreamlab
