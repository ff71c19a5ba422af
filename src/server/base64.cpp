#include "server/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace dreamlab {

namespace {

// Lengths of OpenSSL are ints: pieces of whole groups (3 bytes, 4 characters) keep below.
constexpr size_t kPieceGroups = size_t{1} << 20;

}  // namespace

std::string encode_base64(std::span<const uint8_t> bytes) {
  // One more character, for the terminating zero that EVP_EncodeBlock writes.
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  size_t written = 0;
  for (size_t at = 0; at < bytes.size(); at += kPieceGroups * 3) {
    const auto piece = bytes.subspan(at, std::min(kPieceGroups * 3, bytes.size() - at));
    written += static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data() + written),
                                                   piece.data(), static_cast<int>(piece.size())));
  }
  text.resize(written);
  return text;
}

std::optional<std::vector<uint8_t>> decode_base64(std::string_view text) {
  std::string characters;
  characters.reserve(text.size() + 3);
  std::copy_if(text.begin(), text.end(), std::back_inserter(characters), [](char c) { return c != '\r' && c != '\n'; });
  size_t padding = 0;
  while (padding < 2 && !characters.empty() && characters.back() == '=') {
    characters.pop_back();
    ++padding;
  }
  // EVP_DecodeBlock takes padding anywhere and blanks around.
  if (characters.size() % 4 == 1 || characters.find_first_of("= \t") != std::string::npos) return std::nullopt;
  const size_t missing = (4 - characters.size() % 4) % 4;
  if (padding != 0 && padding != missing) return std::nullopt;
  characters.append(missing, '=');
  std::vector<uint8_t> bytes(characters.size() / 4 * 3);
  for (size_t at = 0; at < characters.size(); at += kPieceGroups * 4) {
    const size_t size = std::min(kPieceGroups * 4, characters.size() - at);
    const int written =
        EVP_DecodeBlock(bytes.data() + at / 4 * 3, reinterpret_cast<const unsigned char*>(characters.data() + at),
                        static_cast<int>(size));
    if (written != static_cast<int>(size / 4 * 3)) return std::nullopt;
  }
  bytes.resize(bytes.size() - missing);
  return bytes;
}

}  // namespace dreamlab
