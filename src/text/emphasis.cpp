#include "text/emphasis.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/characters.h"
#include "text/prompt.h"

namespace dreamlab {

namespace {

constexpr double kRoundMultiplier = 1.1;
constexpr double kSquareMultiplier = 1 / 1.1;
constexpr size_t kMaxOpenBrackets = 100;
constexpr std::u32string_view kBreak = U"BREAK";
constexpr std::u32string_view kSpecialCharacters = U"\\()[]:";

bool is_word_character(char32_t c) {
  return c == U'_' || is_letter(c) || is_number(c);
}

size_t skip_blanks(std::u32string_view text, size_t from) {
  while (from < text.size() && is_blank(text[from])) ++from;
  return from;
}

std::optional<double> read_number(std::u32string_view digits) {
  if (!digits.empty() && digits.front() == U'+') digits.remove_prefix(1);
  const std::string ascii = encode_utf8(digits);
  double value = 0;
  const auto [end, error] = std::from_chars(ascii.data(), ascii.data() + ascii.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end != ascii.data() + ascii.size()) return std::nullopt;
  return value;
}

class EmphasisParser {
 public:
  explicit EmphasisParser(std::u32string_view text) : text_(text) {}

  std::vector<PromptPart> parse() {
    while (at_ < text_.size()) read_item();
    for (size_t begin : round_) multiply_from(begin, kRoundMultiplier);
    for (size_t begin : square_) multiply_from(begin, kSquareMultiplier);
    return joined();
  }

 private:
  void read_item() {
    switch (text_[at_]) {
      case U'\\':
        return read_escape();
      case U'(':
        return open(round_);
      case U'[':
        return open(square_);
      case U')':
        return close(round_, kRoundMultiplier);
      case U']':
        return close(square_, kSquareMultiplier);
      case U':':
        return read_colon();
      default: {
        const auto run = text_.substr(at_, text_.find_first_of(kSpecialCharacters, at_) - at_);
        at_ += run.size();
        add_text(run);
      }
    }
  }

  void read_escape() {
    ++at_;
    const bool escapes = at_ < text_.size() && text_[at_] != U':' && kSpecialCharacters.find(text_[at_]) != text_.npos;
    const size_t length = escapes ? 1 : 0;  // a backslash before anything else leaves an empty part behind
    add(text_.substr(at_, length));
    at_ += length;
  }

  void open(std::vector<size_t>& brackets) {
    if (round_.size() + square_.size() == kMaxOpenBrackets) {
      fail(ErrorKind::invalid_argument,
           "prompt: more than {} brackets are open at once; write (text:1.5), or \\( for a plain bracket",
           kMaxOpenBrackets);
    }
    brackets.push_back(parts_.size());
    ++at_;
  }

  void close(std::vector<size_t>& brackets, double multiplier) {
    if (brackets.empty()) {
      add(text_.substr(at_, 1));
    } else {
      multiply_from(brackets.back(), multiplier);
      brackets.pop_back();
    }
    ++at_;
  }

  // ":1.3)" closes a round bracket; any other colon is text.
  void read_colon() {
    const size_t begin = skip_blanks(text_, at_ + 1);
    size_t end = begin;
    if (end < text_.size() && (text_[end] == U'+' || text_[end] == U'-')) ++end;
    while (end < text_.size() && (text_[end] == U'.' || (text_[end] >= U'0' && text_[end] <= U'9'))) ++end;
    const size_t bracket = skip_blanks(text_, end);
    std::optional<double> weight;
    if (!round_.empty() && bracket < text_.size() && text_[bracket] == U')') {
      weight = read_number(text_.substr(begin, end - begin));
    }
    if (weight) {
      at_ = bracket;
      close(round_, *weight);
    } else {
      add(text_.substr(at_++, 1));
    }
  }

  // Text without special characters, cut at every BREAK that stands alone; blanks around it go with it.
  void add_text(std::u32string_view run) {
    size_t begin = 0;
    for (size_t at = run.find(kBreak); at != run.npos; at = run.find(kBreak, std::max(at + 1, begin))) {
      const size_t after = at + kBreak.size();
      if ((at > 0 && is_word_character(run[at - 1])) || (after < run.size() && is_word_character(run[after]))) continue;
      size_t end = at;
      while (end > begin && is_blank(run[end - 1])) --end;
      add(run.substr(begin, end - begin));
      parts_.push_back({"BREAK", -1.0, true});
      begin = skip_blanks(run, after);
    }
    add(run.substr(begin));
  }

  void add(std::u32string_view text) { parts_.push_back({encode_utf8(text), 1.0, false}); }

  void multiply_from(size_t begin, double multiplier) {
    for (size_t i = begin; i < parts_.size(); ++i) parts_[i].weight *= multiplier;
  }

  std::vector<PromptPart> joined() {
    std::vector<PromptPart> result;
    for (PromptPart& part : parts_) {
      const bool joins =
          !result.empty() && !part.is_break && !result.back().is_break && result.back().weight == part.weight;
      if (joins) {
        result.back().text += part.text;
      } else {
        result.push_back(std::move(part));
      }
    }
    if (result.empty()) result.emplace_back();
    return result;
  }

  std::u32string_view text_;
  size_t at_ = 0;
  std::vector<PromptPart> parts_;
  std::vector<size_t> round_;  // where in parts_ each open bracket began
  std::vector<size_t> square_;
};

double mean(std::span<const float> values) {
  double sum = 0;
  for (float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

void scale(std::span<float> values, float factor) {
  for (float& value : values) value *= factor;
}

void apply_to_window(std::span<float> hidden, std::span<const float> weights, size_t width) {
  if (std::all_of(weights.begin(), weights.end(), [](float w) { return w == 1.0f; })) return;
  const double mean_before = mean(hidden);
  for (size_t token = 0; token < weights.size(); ++token) scale(hidden.subspan(token * width, width), weights[token]);
  const double mean_after = mean(hidden);
  if (mean_after != 0) scale(hidden, static_cast<float>(mean_before / mean_after));
}

}  // namespace

std::vector<PromptPart> parse_emphasis(std::string_view prompt) {
  const std::u32string text = decode_utf8(prompt);
  return EmphasisParser(text).parse();
}

void apply_emphasis(std::span<float> hidden, std::span<const float> weights, int64_t width) {
  const auto columns = static_cast<size_t>(width);
  if (width <= 0 || weights.size() % kWindowTokens != 0 || hidden.size() != weights.size() * columns) {
    fail(ErrorKind::internal, "apply_emphasis: {} states do not fit {} weights of width {}", hidden.size(),
         weights.size(), width);
  }
  for (size_t token = 0; token < weights.size(); token += kWindowTokens) {
    apply_to_window(hidden.subspan(token * columns, kWindowTokens * columns), weights.subspan(token, kWindowTokens),
                    columns);
  }
}

}  // namespace dreamlab
