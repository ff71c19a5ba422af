// tokenizer.json and emphasis.json: prompts with the ids and weights that openai/CLIP and AUTOMATIC1111's web UI give
// them.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/emphasis.h"
#include "text/prompt.h"
#include "text/tokenizer.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

using nlohmann::json;

void expect_known_fields(RecordCase& record_case, const json& object, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    const bool is_known = std::find(known.begin(), known.end(), key) != known.end();
    record_case.expect(is_known, "unknown field \"{}\"", key);
  }
}

std::vector<int64_t> integers(std::span<const int32_t> values) {
  return {values.begin(), values.end()};
}

void check_tokens(RecordCase& record_case, const json& entry) {
  // ids_nfc_nounescape tells how another tokenizer differs; it is not what these models were trained with.
  expect_known_fields(record_case, entry, {"prompt", "ids", "ids77", "ids_nfc_nounescape"});
  const auto prompt = entry.at("prompt").get<std::string>();
  record_case.compare_exactly("ids", integers(encode_text(prompt)), entry.at("ids").get<std::vector<int64_t>>());

  const TokenWindows windows = tokenize_prompt(prompt, {.emphasis = false, .pad_id = kEndOfText, .comma_backtrack = 0});
  const std::span<const int32_t> first = std::span(windows.ids).first(kWindowTokens);
  record_case.compare_exactly("ids77", integers(first), entry.at("ids77").get<std::vector<int64_t>>());
}

void check_emphasis(RecordCase& record_case, const json& entry) {
  expect_known_fields(record_case, entry, {"prompt", "parsed"});
  const std::vector<PromptPart> found = parse_emphasis(entry.at("prompt").get<std::string>());
  const json& expected = entry.at("parsed");
  std::vector<double> found_weights, expected_weights;
  for (size_t i = 0; i < found.size() && i < expected.size(); ++i) {
    const auto text = expected[i].at(0).get<std::string>();
    record_case.expect(found[i].text == text, "part {} is \"{}\", expected \"{}\"", i, found[i].text, text);
    found_weights.push_back(found[i].weight);
    expected_weights.push_back(expected[i].at(1).get<double>());
  }
  record_case.expect(found.size() == expected.size(), "{} parts, expected {}", found.size(), expected.size());
  record_case.compare("weights", found_weights, expected_weights, BoundKind::exact);
}

// One case per prompt, named by its position.
void run_prompts(RecordRun& run, const std::string& record, void (*check)(RecordCase&, const json&)) {
  json prompts;
  run.run_case(record, "fields", "", [&](RecordCase& record_case) {
    const json file = read_settings(run.folder() / record);
    expect_known_fields(record_case, file, {"made_by", "fields", "prompts"});
    prompts = file.at("prompts");
    record_case.compare_exactly("prompts", std::vector<int64_t>{prompts.is_array()}, std::vector<int64_t>{1});
  });
  for (size_t i = 0; i < prompts.size(); ++i) {
    run.run_case(record, fmt::format("prompt{}", i), "",
                 [&](RecordCase& record_case) { check(record_case, prompts[i]); });
  }
}

}  // namespace

void run_tokenizer_record(RecordRun& run, const std::string& record) {
  run_prompts(run, record, check_tokens);
}

void run_emphasis_record(RecordRun& run, const std::string& record) {
  run_prompts(run, record, check_emphasis);
}

}  // namespace dreamlab
