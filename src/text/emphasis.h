#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

// A piece of a prompt and how much it counts.
struct PromptPart {
  std::string text;
  double weight = 1.0;
  bool is_break =
      false;  // the keyword BREAK: what follows starts in a new window. Text "BREAK", weight -1 times its brackets
};

// Reads the emphasis of a prompt as AUTOMATIC1111's parse_prompt_attention does, weights equal to the last bit:
//   (text)      1.1 times        (text:1.3)  1.3 times; the number is [+-]?[.0-9]+, blanks may surround it
//   [text]      1/1.1 times      \( \) \[ \] \\  the character itself; any other backslash is dropped
//   BREAK       as a word of its own
// Brackets nest and multiply; one left open counts to the end, one that was never opened is text. Neighbors of equal
// weight are joined. A prompt without text is one empty part. Where that parser raises (a number such as 1.2.3) the
// text stays text. Throws Error (invalid_argument) when more than 100 brackets are open at once, so that the work stays
// in proportion.
std::vector<PromptPart> parse_emphasis(std::string_view prompt);

// Applies weights to the hidden states of a text encoder, in place, as AUTOMATIC1111's default ("Original") does: in
// every window of 77 tokens each state is multiplied by its token's weight, then the whole window is scaled so that its
// mean is what it was before. (Left unscaled if the new mean is zero; untouched, bit for bit, if every weight of the
// window is 1.)
//   hidden   [windows * 77, width]
//   weights  [windows * 77]
// SDXL: call it on the states of each encoder, before they are joined. Pooled output is never weighted.
void apply_emphasis(std::span<float> hidden, std::span<const float> weights, int64_t width);

}  // namespace dreamlab
