#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace dreamlab {

// The byte-pair vocabulary of CLIP, which every Stable Diffusion text encoder shares (openai/CLIP,
// bpe_simple_vocab_16e6):
//   0..255        the bytes, printable ones first
//   256..511      the same bytes as the last of a word
//   512..49405    the merges, by rank
//   49406, 49407  start and end of text
// It is compiled in as the two ids that each merge joins (300 KB); spellings follow from those.
inline constexpr int32_t kVocabularySize = 49408;
inline constexpr int32_t kFirstMerge = 512;
inline constexpr int32_t kStartOfText = 49406;
inline constexpr int32_t kEndOfText = 49407;

int32_t byte_token(uint8_t byte, bool ends_word);

// The token that a merge makes of two neighbors; the smaller it is, the earlier the merge applies. No value: they do
// not merge. The result is larger than both, and no other pair gives the same token.
std::optional<int32_t> merged_token(int32_t left, int32_t right);

// The two tokens that a merge, 512..49405, joins.
std::pair<int32_t, int32_t> merge_parts(int32_t id);

// The bytes a token stands for, with "</w>" after them when it ends a word; "<|startoftext|>" and "<|endoftext|>" for
// the specials. Throws Error (invalid_argument) for an id outside the vocabulary.
std::string token_text(int32_t id);

}  // namespace dreamlab
