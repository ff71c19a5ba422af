// What concerns the folder as a whole: its index, and the model files in it.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "text/vocabulary.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "weights/inspect.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kIndex = "INDEX.json";

// "float32" is numpy's name of f32.
const std::map<std::string, DType>& index_dtypes() {
  static const std::map<std::string, DType> kNames = {
      {"float64", DType::f64}, {"float32", DType::f32}, {"float16", DType::f16},
      {"int64", DType::i64},   {"int32", DType::i32},   {"int16", DType::i16},
      {"int8", DType::i8},     {"uint8", DType::u8},    {"bool", DType::boolean}};
  return kNames;
}

void check_listed_tensors(RecordCase& record_case, const json& listed, const RecordFile& record) {
  for (const auto& [name, description] : listed.items()) {
    record_case.expect(record.contains(name), "it lists the tensor {}, which is not there", name);
    if (!record.contains(name)) continue;
    const HostTensor& tensor = record.tensor(name);
    const auto dims = description.at(1).get<std::vector<int64_t>>();
    const auto dtype = index_dtypes().find(description.at(0).get<std::string>());
    record_case.expect(dtype != index_dtypes().end() && dtype->second == tensor.dtype && Shape(dims) == tensor.shape,
                       "{} is {} {}, listed as {}", name, name_of(tensor.dtype), tensor.shape.to_string(),
                       description.dump());
  }
}

void check_listed_file(RecordCase& record_case, const fs::path& folder, const std::string& name, const json& entry) {
  const fs::path path = folder / name;
  record_case.expect(fs::exists(path), "it lists {}, which is not there", name);
  if (!fs::is_regular_file(path)) return;
  if (entry.contains("bytes") && entry.at("bytes").is_number()) {
    const auto bytes = entry.at("bytes").get<uint64_t>();
    record_case.expect(fs::file_size(path) == bytes, "{} has {} bytes, listed as {}", name, fs::file_size(path), bytes);
  }
  if (entry.contains("tensors")) check_listed_tensors(record_case, entry.at("tensors"), RecordFile(folder, name));
}

// A picture's worth of missing and unknown names.
std::string some_of(const std::vector<std::string>& names) {
  return fmt::format("{}{}", names.front(), names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "");
}

void check_model(RecordCase& record_case, const fs::path& path) {
  const FileReport report = inspect_file(path);
  record_case.expect(report.kind != FileKind::unknown, "it is none of the kinds of model file that are known");
  for (const PartReport& part : report.parts) {
    if (!part.missing.empty()) record_case.expect(false, "{} lacks {}", part.name, some_of(part.missing));
  }
  if (!report.unknown.empty()) record_case.expect(false, "unknown tensor {}", some_of(report.unknown));
  int64_t tensors = 0;
  for (const PartReport& part : report.parts) tensors += part.tensors;
  record_case.expect(tensors > 0, "there is no network in it");
  record_case.compare_exactly("unknown", std::vector<int64_t>{static_cast<int64_t>(report.unknown.size())},
                              std::vector<int64_t>{0});
}

// vocab.json spells bytes as printable characters: those that are printable in Latin-1 as themselves, the others from
// U+0100 on, in order.
std::string bytes_of_spelling(const std::string& spelling) {
  static const std::map<std::string, char> kBytes = [] {
    std::map<std::string, char> bytes;
    int hidden = 0;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      const int code = printable ? byte : 0x100 + hidden++;
      const std::string spelled =
          code < 0x80 ? std::string{static_cast<char>(code)}
                      : std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
      bytes.emplace(spelled, static_cast<char>(byte));
    }
    return bytes;
  }();
  std::string result;
  for (size_t i = 0; i < spelling.size();) {
    const size_t length = static_cast<unsigned char>(spelling[i]) < 0x80 ? 1 : 2;
    const auto found = kBytes.find(spelling.substr(i, length));
    if (found == kBytes.end()) fail(ErrorKind::invalid_file, "\"{}\" is no spelling of bytes", spelling);
    result += found->second;
    i += length;
  }
  return result;
}

// A model's own vocabulary must be the one that is built in.
void check_vocabulary(RecordCase& record_case, const fs::path& path) {
  const json vocabulary = read_settings(path);
  std::vector<int64_t> size = {static_cast<int64_t>(vocabulary.size())};
  record_case.compare_exactly("size", size, std::vector<int64_t>{kVocabularySize});
  for (const auto& [spelling, id] : vocabulary.items()) {
    const std::string ours = token_text(id.get<int32_t>());
    record_case.expect(ours == bytes_of_spelling(spelling), "token {} is \"{}\", built in is \"{}\"", id.get<int32_t>(),
                       spelling, ours);
  }
}

}  // namespace

void run_index(RecordRun& run) {
  run.run_case(kIndex, "", "", [&](RecordCase& record_case) {
    const json index = read_settings(run.folder() / kIndex);
    int64_t files = 0;
    for (const auto& [name, entry] : index.items()) {
      if (name.rfind('_', 0) == 0) continue;  // remarks
      check_listed_file(record_case, run.folder(), name, entry);
      ++files;
    }
    record_case.compare_exactly("files", std::vector<int64_t>{files > 0}, std::vector<int64_t>{1});
  });
}

void run_model_files(RecordRun& run) {
  for (const ModelFile& file : model_files_with(run.folder(), "")) {
    run.run_case(file.name, "complete", "", [&](RecordCase& record_case) { check_model(record_case, file.path); });
    if (!fs::is_directory(file.path)) continue;
    for (const fs::directory_entry& entry : fs::directory_iterator(file.path)) {
      if (!fs::exists(entry.path() / "vocab.json")) continue;
      run.run_case(file.name, entry.path().filename().string(), "",
                   [&](RecordCase& record_case) { check_vocabulary(record_case, entry.path() / "vocab.json"); });
    }
  }
}

}  // namespace dreamlab
