#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace dreamlab {

inline constexpr int64_t kWindowTokens = 77;    // what a CLIP text encoder reads at once: start, 75 tokens, end
inline constexpr int64_t kWindowCapacity = 75;  // tokens of the prompt in it

// A prompt as a text encoder takes it: one encoder pass per window, the states of all windows one after the other.
struct TokenWindows {
  int64_t windows = 0;
  std::vector<int32_t> ids;    // [windows, 77]: start, the tokens, end, padding
  std::vector<float> weights;  // [windows, 77]: for apply_emphasis; 1 for start, end and padding
  int32_t pad_id = kEndOfText;
};

struct PromptOptions {
  bool emphasis = true;         // off: brackets, backslashes and BREAK are text like any other
  int32_t pad_id = kEndOfText;  // 0 for OpenCLIP encoders (SD 2.x, the second of SDXL)
  int64_t comma_backtrack =
      20;  // AUTOMATIC1111's comma_padding_backtrack; 0: windows are cut after 75 tokens, wherever it is
};

// Splits a prompt of any length into windows as AUTOMATIC1111 does (tokenize_line): a window takes 75 tokens; if the
// text goes on and a comma is among the last `comma_backtrack` of them, what follows the last comma moves to the next
// window, so that a phrase is not cut. BREAK ends a window (and may leave an empty one). There is at least one window.
// One thing differs: AUTOMATIC1111 takes a BREAK inside weighted brackets for the word "break"; here it is a BREAK.
// Throws Error (invalid_argument) for a weight beyond one million or brackets nested too deep.
TokenWindows tokenize_prompt(std::string_view prompt, const PromptOptions& options);

// Adds empty windows to the shorter one until both have the same number, as guidance needs of a prompt and its
// negative.
void pair_windows(TokenWindows& positive, TokenWindows& negative);

}  // namespace dreamlab
