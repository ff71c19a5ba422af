#include "text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>

#include "base/utf8.h"
#include "text/characters.h"
#include "text/html_entities.h"
#include "text/vocabulary.h"

namespace dreamlab {

namespace {

constexpr std::u32string_view kStartMark = U"<|startoftext|>";
constexpr std::u32string_view kEndMark = U"<|endoftext|>";

// The literal alternatives of the word pattern, in its order.
constexpr std::u32string_view kLiterals[] = {kStartMark, kEndMark, U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"};

// basic_clean, whitespace_clean and lower of openai/CLIP.
std::u32string normalize(std::string_view text) {
  const std::u32string resolved = unescape_html(unescape_html(decode_utf8(text)));
  std::u32string collapsed;
  for (char32_t c : strip(resolved)) {
    if (!is_white_space(c)) {
      collapsed += c;
    } else if (collapsed.empty() || collapsed.back() != U' ') {
      collapsed += U' ';
    }
  }
  return lower_case(strip(collapsed));
}

// The pattern ignores case. The text is lowered already; what is left is the long s, which folds to s.
bool starts_with_literal(std::u32string_view text, std::u32string_view literal) {
  if (text.size() < literal.size()) return false;
  return std::equal(literal.begin(), literal.end(), text.begin(),
                    [](char32_t want, char32_t c) { return c == want || (want == U's' && c == U'\u017F'); });
}

size_t length_while(std::u32string_view text, bool (*belongs)(char32_t)) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), belongs) - text.begin());
}

// U+0345 is no letter, but its other case is; to `regex`, ignoring case, it is then in neither class and left out.
constexpr char32_t kCombiningIota = U'\u0345';

bool is_symbol(char32_t c) {
  return !is_white_space(c) && !is_letter(c) && !is_number(c) && c != kCombiningIota;
}

// How long the word is that starts at the front of `text`; 0: none does (white space, a combining iota).
//   a literal | [\p{L}]+ | [\p{N}] | [^\s\p{L}\p{N}]+
size_t word_length(std::u32string_view text) {
  for (std::u32string_view literal : kLiterals) {
    if (starts_with_literal(text, literal)) return literal.size();
  }
  if (is_letter(text.front())) return length_while(text, is_letter);
  if (is_number(text.front())) return 1;
  return length_while(text, is_symbol);
}

// Joins the tokens of one word, cheapest merge first and from left to right, as byte-pair encoding asks. Every pair
// that a merge makes possible ranks after that merge, so a heap of (merged token, position) gives the same result as
// passes over the word, and a word of a million letters takes a second, not days.
class WordMerger {
 public:
  void append_word(std::string_view bytes, std::vector<int32_t>& out) {
    load(bytes);
    while (!candidates_.empty()) apply(pop());
    for (size_t i = 0; i < tokens_.size(); i = next_[i]) out.push_back(tokens_[i]);
  }

 private:
  struct Candidate {
    int32_t merged;
    size_t left;
    bool operator>(const Candidate& other) const {
      return merged != other.merged ? merged > other.merged : left > other.left;
    }
  };

  static constexpr int32_t kGone = -1;  // joined into the token at its left
  static constexpr size_t kNone = static_cast<size_t>(-1);

  void load(std::string_view bytes) {
    const size_t size = bytes.size();
    tokens_.resize(size);
    next_.resize(size);
    previous_.resize(size);
    for (size_t i = 0; i < size; ++i) {
      tokens_[i] = byte_token(static_cast<uint8_t>(bytes[i]), i + 1 == size);
      next_[i] = i + 1;
      previous_[i] = i == 0 ? kNone : i - 1;
    }
    for (size_t i = 0; i + 1 < size; ++i) consider(i);
  }

  std::optional<int32_t> merged_at(size_t left) const {
    if (left == kNone || tokens_[left] == kGone || next_[left] == tokens_.size()) return std::nullopt;
    return merged_token(tokens_[left], tokens_[next_[left]]);
  }

  void consider(size_t left) {
    if (const auto merged = merged_at(left)) {
      candidates_.push_back({*merged, left});
      std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    }
  }

  Candidate pop() {
    std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    const Candidate best = candidates_.back();
    candidates_.pop_back();
    return best;
  }

  void apply(const Candidate& candidate) {
    if (merged_at(candidate.left) != candidate.merged) return;  // a neighbor has been joined elsewhere since
    const size_t left = candidate.left;
    const size_t right = next_[left];
    tokens_[left] = candidate.merged;
    tokens_[right] = kGone;
    next_[left] = next_[right];
    if (next_[left] != tokens_.size()) previous_[next_[left]] = left;
    consider(previous_[left]);
    consider(left);
  }

  std::vector<int32_t> tokens_;
  std::vector<size_t> next_;
  std::vector<size_t> previous_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<int32_t> encode_text(std::string_view text) {
  const std::u32string normal = normalize(text);
  std::vector<int32_t> ids;
  WordMerger merger;
  for (std::u32string_view rest = normal; !rest.empty();) {
    const size_t length = word_length(rest);
    const auto word = rest.substr(0, length);
    if (word == kStartMark) {
      ids.push_back(kStartOfText);
    } else if (word == kEndMark) {
      ids.push_back(kEndOfText);
    } else if (length > 0) {
      merger.append_word(encode_utf8(word), ids);
    }
    rest.remove_prefix(std::max<size_t>(length, 1));
  }
  return ids;
}

}  // namespace dreamlab
