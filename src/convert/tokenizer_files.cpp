#include "convert/tokenizer_files.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/file.h"
#include "text/vocabulary.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;

constexpr int32_t kPrintableBytes = 188;  // the first tokens, which stand for themselves
constexpr int32_t kBytes = 256;

void append_utf8(std::string& text, int32_t code_point) {
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else {
    text += static_cast<char>(0xC0 | code_point >> 6);
    text += static_cast<char>(0x80 | (code_point & 0x3F));
  }
}

// How the files spell a token: every byte as a character that can be seen, bytes that cannot be from U+0100 on.
std::string spelling(int32_t id) {
  if (id >= kStartOfText) return token_text(id);
  if (id >= kFirstMerge) {
    const auto [left, right] = merge_parts(id);
    return spelling(left) + spelling(right);
  }
  const int32_t token = id % kBytes;
  std::string text;
  append_utf8(text,
              token < kPrintableBytes ? static_cast<uint8_t>(token_text(token)[0]) : kBytes + token - kPrintableBytes);
  return id < kBytes ? text : text + "</w>";
}

void write_text(const fs::path& path, const std::string& text) {
  write_file(path.string(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace

void write_tokenizer_files(const fs::path& directory, int32_t pad_id) {
  fs::create_directories(directory);
  std::string vocabulary = "{";  // by hand, since a JSON object that keeps the order looks for every key in all others
  for (int32_t id = 0; id < kVocabularySize; ++id)
    vocabulary += fmt::format("{}{}: {}", id == 0 ? "" : ", ", nlohmann::json(spelling(id)).dump(), id);
  write_text(directory / "vocab.json", vocabulary + "}\n");

  std::string merges = "#version: 0.2\n";
  for (int32_t id = kFirstMerge; id < kStartOfText; ++id) {
    const auto [left, right] = merge_parts(id);
    merges += fmt::format("{} {}\n", spelling(left), spelling(right));
  }
  write_text(directory / "merges.txt", merges);

  const std::string start = token_text(kStartOfText), end = token_text(kEndOfText);
  const nlohmann::ordered_json special = {
      {"bos_token", start}, {"eos_token", end}, {"pad_token", pad_id == 0 ? "!" : end}, {"unk_token", end}};
  write_text(directory / "special_tokens_map.json", special.dump(2) + "\n");
  nlohmann::ordered_json config = special;
  config["add_prefix_space"] = false;
  config["do_lower_case"] = true;
  config["model_max_length"] = 77;
  config["tokenizer_class"] = "CLIPTokenizer";
  write_text(directory / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace dreamlab
