#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dreamlab {

// A zlib stream (RFC 1950, 1951) of filtered picture rows, made for speed. What the PNG filters leave of a picture is
// noise around zero, where looking for repetitions finds nothing that Huffman codes do not: so only runs of one byte
// value become matches (distance 1), and every stripe of the data gets codes of its own. Several times faster than a
// general compressor's fastest level and about as small on such data; not meant for text.
std::vector<uint8_t> compress_pixels(std::span<const uint8_t> bytes);

}  // namespace dreamlab
