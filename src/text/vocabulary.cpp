#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/error.h"

namespace dreamlab {

namespace {

struct Merge {
  uint16_t left;
  uint16_t right;
};

constexpr Merge kMerges[] = {
#include "text/clip_merges.inc"
};

// Ranks, sorted by (left, right).
constexpr uint16_t kMergesByPair[] = {
#include "text/clip_merges_by_pair.inc"
};

constexpr int32_t kFirstEndOfWord = 256;
static_assert(std::size(kMerges) == kStartOfText - kFirstMerge);
static_assert(std::size(kMergesByPair) == std::size(kMerges));

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// kBytes[id] is the byte of token id.
constexpr std::array<uint8_t, 256> kBytes = [] {
  std::array<uint8_t, 256> bytes{};
  size_t id = 0;
  for (bool printable : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (is_printable(byte) == printable) bytes[id++] = static_cast<uint8_t>(byte);
    }
  }
  return bytes;
}();

constexpr std::array<uint8_t, 256> kTokenOfByte = [] {
  std::array<uint8_t, 256> tokens{};
  for (size_t id = 0; id < 256; ++id) tokens[kBytes[id]] = static_cast<uint8_t>(id);
  return tokens;
}();

constexpr uint32_t sort_key(uint32_t left, uint32_t right) {
  return left << 16 | right;
}

}  // namespace

int32_t byte_token(uint8_t byte, bool ends_word) {
  return kTokenOfByte[byte] + (ends_word ? kFirstEndOfWord : 0);
}

std::optional<int32_t> merged_token(int32_t left, int32_t right) {
  const uint32_t key = sort_key(static_cast<uint32_t>(left), static_cast<uint32_t>(right));
  const auto rank = std::lower_bound(
      std::begin(kMergesByPair), std::end(kMergesByPair), key,
      [](uint16_t merge, uint32_t wanted) { return sort_key(kMerges[merge].left, kMerges[merge].right) < wanted; });
  if (rank == std::end(kMergesByPair)) return std::nullopt;
  if (kMerges[*rank].left != left || kMerges[*rank].right != right) return std::nullopt;
  return kFirstMerge + *rank;
}

std::pair<int32_t, int32_t> merge_parts(int32_t id) {
  if (id < kFirstMerge || id >= kStartOfText) fail(ErrorKind::invalid_argument, "token id {} is no merge", id);
  const Merge& merge = kMerges[id - kFirstMerge];
  return {merge.left, merge.right};
}

std::string token_text(int32_t id) {
  if (id < 0 || id >= kVocabularySize) {
    fail(ErrorKind::invalid_argument, "token id {} is not in the CLIP vocabulary (0 to {})", id, kVocabularySize - 1);
  }
  if (id == kStartOfText) return "<|startoftext|>";
  if (id == kEndOfText) return "<|endoftext|>";
  if (id >= kFirstMerge) {
    const Merge& merge = kMerges[id - kFirstMerge];
    return token_text(merge.left) + token_text(merge.right);
  }
  const std::string byte(1, static_cast<char>(kBytes[id % kFirstEndOfWord]));
  return id < kFirstEndOfWord ? byte : byte + "</w>";
}

}  // namespace dreamlab
