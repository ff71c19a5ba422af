#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace dreamlab {

// The token ids of a text, without start and end (they are added per window: text/prompt.h). Equal to
// SimpleTokenizer.encode of openai/CLIP with ftfy left out: character references are resolved twice, white space is
// collapsed, letters are lowered, words are split and merged. "<|startoftext|>" and "<|endoftext|>" in the text become
// the special tokens. Bytes that are not UTF-8 count as U+FFFD. Takes O(n log n) time for n bytes, whatever they are,
// and holds no state.
std::vector<int32_t> encode_text(std::string_view text);

}  // namespace dreamlab
