#include "base/pixel_deflate.h"

#include <gtest/gtest.h>
#include <libdeflate.h>

#include <algorithm>
#include <random>

namespace dreamlab {
namespace {

using Bytes = std::vector<uint8_t>;

// Through a decompressor of someone else's.
Bytes inflate(const Bytes& compressed, size_t size) {
  Bytes out(size);
  libdeflate_decompressor* decompressor = libdeflate_alloc_decompressor();
  const auto result =
      libdeflate_zlib_decompress(decompressor, compressed.data(), compressed.size(), out.data(), size, nullptr);
  libdeflate_free_decompressor(decompressor);
  EXPECT_EQ(result, LIBDEFLATE_SUCCESS) << size << " bytes";
  return out;
}

void expect_round_trip(const Bytes& bytes) {
  ASSERT_EQ(inflate(compress_pixels(bytes), bytes.size()), bytes) << bytes.size();
}

TEST(PixelDeflate, AnySizeOfAnyNoiseComesBack) {
  std::mt19937 random(2);
  for (uint32_t spread : {1u, 2u, 3u, 17u, 256u}) {
    for (size_t size : {0, 1, 2, 7, 8, 9, 10, 255, 1000, 131071, 131072, 131073, 300001}) {
      Bytes bytes(size);
      for (uint8_t& value : bytes) value = static_cast<uint8_t>(random() % spread);
      expect_round_trip(bytes);
    }
  }
}

TEST(PixelDeflate, RunsOfEveryLengthComeBack) {
  Bytes bytes;
  for (size_t length = 1; length < 600; ++length) {
    bytes.insert(bytes.end(), length, static_cast<uint8_t>(length * 7));
    bytes.push_back(3);
  }
  expect_round_trip(bytes);
}

TEST(PixelDeflate, CodesDeeperThanDeflateAllowsAreFlattened) {
  // Counts that grow as Fibonacci numbers make the deepest Huffman code.
  Bytes bytes;
  size_t count = 1, before = 1;
  for (int symbol = 0; symbol < 22; ++symbol) {
    bytes.insert(bytes.end(), count, static_cast<uint8_t>(symbol * 11));
    std::tie(count, before) = std::pair(count + before, count);
  }
  std::shuffle(bytes.begin(), bytes.end(), std::mt19937(4));
  expect_round_trip(bytes);
}

TEST(PixelDeflate, NoiseAroundZeroIsAsSmallAsThroughAGeneralCompressor) {
  std::mt19937 random(1);
  Bytes bytes(1 << 20);
  for (uint8_t& value : bytes) value = static_cast<uint8_t>(random() % 12 - random() % 12);
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(1);
  Bytes other(libdeflate_zlib_compress_bound(compressor, bytes.size()));
  const size_t size = libdeflate_zlib_compress(compressor, bytes.data(), bytes.size(), other.data(), other.size());
  libdeflate_free_compressor(compressor);
  EXPECT_LT(static_cast<double>(compress_pixels(bytes).size()), 1.02 * static_cast<double>(size));
}

}  // namespace
}  // namespace dreamlab
