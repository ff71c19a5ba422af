#include "base/pixel_deflate.h"

#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <queue>

#include "base/thread_pool.h"

namespace dreamlab {

namespace {

static_assert(std::endian::native == std::endian::little, "bits are written through little-endian words");

// Codes of its own are worth some 120 bytes of header; a stripe this long follows what a picture shows from top to
// bottom.
constexpr size_t kStripeBytes = 128 << 10;

constexpr int kLiterals = 256, kEndOfBlock = 256, kFirstLength = 257;
constexpr int kSymbols = 286;
constexpr int kMaxBits = 15, kMaxHeaderBits = 7;
constexpr size_t kMinRun = 8, kMaxMatch = 258;
constexpr size_t kMinMatch = 3;

// RFC 1951, 3.2.5: the smallest length of every length symbol, and its extra bits.
constexpr std::array<uint16_t, 29> kLengthBase = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                                  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr std::array<uint8_t, 29> kLengthExtra = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                                  2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
// RFC 1951, 3.2.7: the order in which the lengths of the header's own codes stand.
constexpr std::array<uint8_t, 19> kHeaderOrder = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

int length_index(size_t length) {
  return static_cast<int>(std::upper_bound(kLengthBase.begin(), kLengthBase.end(), length) - kLengthBase.begin()) - 1;
}

// Lengths of a Huffman code for the counts, none over `limit`: where the true code is deeper, counts are flattened
// until it fits.
template <size_t n>
std::array<uint8_t, n> code_lengths(std::array<uint32_t, n> counts, int limit) {
  struct Node {
    uint64_t weight;
    int index;  // below n a symbol, else a pair
    bool operator>(const Node& other) const { return std::pair(weight, index) > std::pair(other.weight, other.index); }
  };
  while (true) {
    std::priority_queue<Node, std::vector<Node>, std::greater<>> heap;
    for (size_t i = 0; i < n; ++i) {
      if (counts[i] > 0) heap.push({counts[i], static_cast<int>(i)});
    }
    std::array<uint8_t, n> lengths{};
    if (heap.size() == 1) {
      lengths[heap.top().index] = 1;
      return lengths;
    }
    std::vector<std::pair<int, int>> pairs;
    while (heap.size() > 1) {
      const Node a = heap.top();
      heap.pop();
      const Node b = heap.top();
      heap.pop();
      pairs.emplace_back(a.index, b.index);
      heap.push({a.weight + b.weight, static_cast<int>(n + pairs.size() - 1)});
    }
    int deepest = 0;
    std::vector<int> depth(pairs.size(), 0);
    for (size_t p = pairs.size(); p-- > 0;) {
      for (int child : {pairs[p].first, pairs[p].second}) {
        if (child < static_cast<int>(n)) {
          lengths[child] = static_cast<uint8_t>(depth[p] + 1);
          deepest = std::max(deepest, depth[p] + 1);
        } else {
          depth[child - static_cast<int>(n)] = depth[p] + 1;
        }
      }
    }
    if (deepest <= limit) return lengths;
    for (uint32_t& count : counts) count = count == 0 ? 0 : count / 4 + 1;
  }
}

struct Code {
  uint32_t bits;  // in the order they are written: the first one lowest
  uint32_t length;
};

// The canonical codes of RFC 1951, 3.2.2.
template <size_t n>
std::array<Code, n> make_codes(const std::array<uint8_t, n>& lengths) {
  std::array<uint32_t, kMaxBits + 2> next{};
  for (uint8_t length : lengths) {
    if (length > 0) ++next[length + 1];
  }
  for (int bits = 1; bits <= kMaxBits + 1; ++bits) next[bits] = (next[bits] + next[bits - 1]) << 1;
  std::array<Code, n> codes{};
  for (size_t i = 0; i < n; ++i) {
    const uint32_t length = lengths[i];
    if (length == 0) continue;
    uint32_t code = next[length]++, reversed = 0;
    for (uint32_t b = 0; b < length; ++b, code >>= 1) reversed = reversed << 1 | (code & 1);
    codes[i] = {reversed, length};
  }
  return codes;
}

// Appends bits to memory that is large enough.
class BitWriter {
 public:
  explicit BitWriter(uint8_t* out) : out_(out) {}

  // At most 56 bits between two calls of flush().
  void put(uint64_t bits, uint32_t count) {
    buffer_ |= bits << filled_;
    filled_ += count;
  }
  void put(Code code) { put(code.bits, code.length); }
  void flush() {
    std::memcpy(out_, &buffer_, sizeof(buffer_));
    out_ += filled_ >> 3;
    buffer_ >>= filled_ & ~7u;
    filled_ &= 7;
  }
  // Fills the current byte with zeros.
  uint8_t* align() {
    filled_ = (filled_ + 7) & ~7u;
    flush();
    return out_;
  }

 private:
  uint8_t* out_;
  uint64_t buffer_ = 0;
  uint32_t filled_ = 0;
};

// Splits a stripe into literals and runs: literals(position, count) and run(length), in order. A run repeats the byte
// before it, so that the first byte of a stripe is always a literal. Only runs that begin at the start of a word are
// looked for.
template <typename Literals, typename Run>
void for_each_token(std::span<const uint8_t> stripe, const Literals& literals, const Run& run) {
  const uint8_t* data = stripe.data();
  const size_t size = stripe.size();
  size_t at = std::min<size_t>(1, size);
  literals(data, at);
  while (at + kMinRun <= size) {
    uint64_t here, before;
    std::memcpy(&here, data + at, 8);
    std::memcpy(&before, data + at - 1, 8);
    if (here != before) {
      literals(data + at, 8);
      at += 8;
      continue;
    }
    size_t end = at + 8;
    while (end < size && data[end] == data[at]) ++end;
    size_t length = end - at;
    at = end;
    for (; length >= kMinMatch; length -= std::min(length, kMaxMatch)) run(std::min(length, kMaxMatch));
    if (length > 0) literals(data + at - length, length);
  }
  literals(data + at, size - at);
}

std::array<uint32_t, kSymbols> count_symbols(std::span<const uint8_t> stripe) {
  // Four tables, so that equal neighbors do not wait for each other's increment.
  std::array<std::array<uint32_t, kLiterals>, 4> tables{};
  std::array<uint32_t, kSymbols> counts{};
  const auto literals = [&](const uint8_t* p, size_t count) {
    for (size_t i = 0; i < count; ++i) ++tables[i & 3][p[i]];
  };
  for_each_token(stripe, literals, [&](size_t length) { ++counts[kFirstLength + length_index(length)]; });
  for (int i = 0; i < kLiterals; ++i) counts[i] = tables[0][i] + tables[1][i] + tables[2][i] + tables[3][i];
  counts[kEndOfBlock] = 1;
  return counts;
}

// RFC 1951, 3.2.7: which codes the block uses. One distance code of one bit stands for distance 1.
void put_block_header(BitWriter& writer, const std::array<uint8_t, kSymbols>& lengths, bool last) {
  constexpr uint8_t kDistanceLength = 1;
  std::array<uint32_t, 19> counts{};
  for (uint8_t length : lengths) ++counts[length];
  ++counts[kDistanceLength];
  const std::array<uint8_t, 19> header_lengths = code_lengths(counts, kMaxHeaderBits);
  const std::array<Code, 19> codes = make_codes(header_lengths);

  writer.put(last ? 1 : 0, 1);
  writer.put(2, 2);                        // dynamic codes
  writer.put(kSymbols - kFirstLength, 5);  // literal and length codes
  writer.put(0, 5);                        // one distance code
  writer.put(kHeaderOrder.size() - 4, 4);
  writer.flush();
  for (uint8_t symbol : kHeaderOrder) {
    writer.put(header_lengths[symbol], 3);
    writer.flush();
  }
  for (uint8_t length : lengths) {
    writer.put(codes[length]);
    writer.flush();
  }
  writer.put(codes[kDistanceLength]);
  writer.flush();
}

// One block; all but the last one end on a byte boundary through an empty stored block.
std::vector<uint8_t> compress_stripe(std::span<const uint8_t> stripe, bool last) {
  const std::array<uint8_t, kSymbols> lengths = code_lengths(count_symbols(stripe), kMaxBits);
  const std::array<Code, kSymbols> codes = make_codes(lengths);

  constexpr size_t kHeaderBound = 1024;
  std::vector<uint8_t> out(stripe.size() * 2 + kHeaderBound);
  BitWriter writer(out.data());
  put_block_header(writer, lengths, last);

  const auto literals = [&](const uint8_t* p, size_t count) {
    constexpr size_t kPerFlush = 3;  // three codes of 15 bits beside the 7 that may be waiting
    size_t i = 0;
    for (; i + kPerFlush <= count; i += kPerFlush) {
      for (size_t k = 0; k < kPerFlush; ++k) writer.put(codes[p[i + k]]);
      writer.flush();
    }
    for (; i < count; ++i) writer.put(codes[p[i]]);
    writer.flush();
  };
  const auto run = [&](size_t length) {
    const int index = length_index(length);
    writer.put(codes[kFirstLength + index]);
    writer.put(length - kLengthBase[index], kLengthExtra[index]);
    writer.put(0, 1);  // distance 1
    writer.flush();
  };
  for_each_token(stripe, literals, run);
  writer.put(codes[kEndOfBlock]);
  if (!last) writer.put(0, 3);  // the header of the stored block
  uint8_t* end = writer.align();
  if (!last) {
    constexpr uint8_t kNothingStored[] = {0, 0, 0xFF, 0xFF};
    end = std::copy(std::begin(kNothingStored), std::end(kNothingStored), end);
  }
  out.resize(static_cast<size_t>(end - out.data()));
  return out;
}

}  // namespace

std::vector<uint8_t> compress_pixels(std::span<const uint8_t> bytes) {
  // At least one, which may be empty.
  const size_t count = std::max<size_t>(1, (bytes.size() + kStripeBytes - 1) / kStripeBytes);
  std::vector<std::vector<uint8_t>> stripes(count);
  helper_threads().parallel_for(static_cast<int64_t>(count), [&](int64_t index, int) {
    const auto i = static_cast<size_t>(index);
    const size_t at = i * kStripeBytes;
    stripes[i] = compress_stripe(bytes.subspan(at, std::min(kStripeBytes, bytes.size() - at)), i + 1 == count);
  });
  std::vector<uint8_t> out = {0x78, 0x01};  // deflate, 32 KiB window, fastest
  out.reserve(bytes.size() / 2 + 1024);
  for (const std::vector<uint8_t>& stripe : stripes) out.insert(out.end(), stripe.begin(), stripe.end());
  const uint32_t checksum = libdeflate_adler32(1, bytes.data(), bytes.size());
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(checksum >> shift));
  return out;
}

}  // namespace dreamlab
