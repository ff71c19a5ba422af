#include "text/prompt.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"
#include "text/emphasis.h"
#include "text/tokenizer.h"

namespace dreamlab {

namespace {

constexpr double kMaxWeight = 1e6;  // far beyond sense, far within float

struct Token {
  int32_t id;
  float weight;
};

void append_window(TokenWindows& out, std::span<const Token> tokens) {
  const auto begin = static_cast<size_t>(out.windows * kWindowTokens);
  ++out.windows;
  out.ids.resize(begin + kWindowTokens, out.pad_id);
  out.weights.resize(begin + kWindowTokens, 1.0f);
  size_t at = begin;
  out.ids[at++] = kStartOfText;
  for (const Token& token : tokens) {
    out.ids[at] = token.id;
    out.weights[at++] = token.weight;
  }
  out.ids[at] = kEndOfText;
}

class WindowWriter {
 public:
  WindowWriter(TokenWindows& out, int64_t backtrack)
      : out_(out), backtrack_(static_cast<size_t>(std::max<int64_t>(backtrack, 0))) {}

  void add(Token token) {
    const bool full = tokens_.size() == kWindowCapacity;
    if (full) end_window(moves_phrase(token) ? after_comma_ : tokens_.size());
    tokens_.push_back(token);
    if (token.id == comma_ && !full) after_comma_ = tokens_.size();
  }

  void end_window() { end_window(tokens_.size()); }

  void finish() {
    if (!tokens_.empty() || out_.windows == 0) end_window();
  }

 private:
  // A full window and one more token: does the unfinished phrase move on? (Not if that token is a comma: it is
  // finished.)
  bool moves_phrase(Token next) const {
    return next.id != comma_ && after_comma_ > 0 && tokens_.size() - after_comma_ < backtrack_;
  }

  // Writes the first `count` tokens as a window and keeps the others for the next one.
  void end_window(size_t count) {
    append_window(out_, std::span(tokens_).first(count));
    tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(count));
    after_comma_ = 0;
  }

  TokenWindows& out_;
  const size_t backtrack_;
  const int32_t comma_ = byte_token(',', true);
  std::vector<Token> tokens_;
  size_t after_comma_ = 0;  // how many tokens of the window go up to its last comma; 0: it has none
};

float checked_weight(const PromptPart& part) {
  if (!(std::abs(part.weight) <= kMaxWeight)) {
    fail(ErrorKind::invalid_argument, "prompt: a weight of {:g} is out of range; allowed are -1e6 to 1e6", part.weight);
  }
  return static_cast<float>(part.weight);
}

}  // namespace

TokenWindows tokenize_prompt(std::string_view prompt, const PromptOptions& options) {
  TokenWindows out;
  out.pad_id = options.pad_id;
  WindowWriter writer(out, options.comma_backtrack);
  const auto parts =
      options.emphasis ? parse_emphasis(prompt) : std::vector<PromptPart>{{std::string(prompt), 1.0, false}};
  for (const PromptPart& part : parts) {
    if (part.is_break) {
      writer.end_window();
      continue;
    }
    const float weight = checked_weight(part);
    for (int32_t id : encode_text(part.text)) writer.add({id, weight});
  }
  writer.finish();
  return out;
}

void pair_windows(TokenWindows& positive, TokenWindows& negative) {
  while (positive.windows < negative.windows) append_window(positive, {});
  while (negative.windows < positive.windows) append_window(negative, {});
}

}  // namespace dreamlab
