#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

std::string encode_base64(std::span<const uint8_t> bytes);
// Standard alphabet, padding and line breaks optional; nullopt for anything else.
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);

}  // namespace dreamlab
