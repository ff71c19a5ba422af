#include "verify/record_file.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "weights/config_json.h"

namespace dreamlab {
namespace {

template <typename T>
std::vector<int64_t> widen(const HostTensor& tensor) {
  std::vector<T> values(static_cast<size_t>(tensor.shape.elements()));
  std::memcpy(values.data(), tensor.data, tensor.bytes());
  return {values.begin(), values.end()};
}

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.substr(0, word.size()) == word;
}

}  // namespace

RecordFile::RecordFile(const std::filesystem::path& folder, std::string name)
    : folder_(folder), name_(std::move(name)), file_(open_tensor_file(folder / name_)) {}

std::filesystem::path RecordFile::settings_path() const {
  return (folder_ / name_).replace_extension(".json");
}

const HostTensor& RecordFile::tensor(std::string_view tensor) const {
  const HostTensor* found = file_->find(tensor);
  if (found == nullptr) fail(ErrorKind::invalid_file, "the record has no tensor \"{}\"", tensor);
  taken_.emplace(tensor);
  return *found;
}

std::vector<float> RecordFile::floats(std::string_view name) const {
  const HostTensor& found = tensor(name);
  if (is_floating_point(found.dtype)) return aligned(found).to_f32();
  const std::vector<int64_t> values = to_integers(found);
  return {values.begin(), values.end()};
}

std::vector<int64_t> RecordFile::integers(std::string_view name) const {
  return to_integers(tensor(name));
}

std::vector<std::string> RecordFile::cases(std::string_view prefix) const {
  std::vector<std::string> cases;
  for (const auto& [name, tensor] : file_->tensors()) {
    const std::string head = name.substr(0, name.find('/'));
    if (head.size() == name.size() || head.rfind(prefix, 0) != 0) continue;
    if (cases.empty() || cases.back() != head) cases.push_back(head);
  }
  return cases;
}

std::vector<std::string> RecordFile::names(std::string_view prefix) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file_->tensors()) {
    if (name.rfind(prefix, 0) == 0) names.push_back(name);
  }
  return names;
}

std::vector<std::string> RecordFile::not_taken() const {
  std::vector<std::string> rest;
  for (const auto& [name, tensor] : file_->tensors()) {
    if (taken_.find(name) == taken_.end()) rest.push_back(name);
  }
  return rest;
}

nlohmann::json read_settings(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path.string());
  std::string text;
  bool quoted = false;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const std::string_view rest(reinterpret_cast<const char*>(bytes.data()) + i, bytes.size() - i);
    if (!quoted) {
      size_t skip = 0;
      for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
        if (skip == 0 && starts_with_word(rest, word)) skip = word.size();
      }
      if (skip > 0) {
        text += "null";
        i += skip - 1;
        continue;
      }
    }
    if (rest.front() == '"') quoted = !quoted;
    text += rest.front();
    if (quoted && rest.front() == '\\' && rest.size() > 1) text += rest[1], ++i;
  }
  return parse_json(text, path.string());
}

std::vector<int64_t> to_integers(const HostTensor& tensor) {
  switch (tensor.dtype) {
    case DType::i64:
      return widen<int64_t>(tensor);
    case DType::i32:
      return widen<int32_t>(tensor);
    case DType::i16:
      return widen<int16_t>(tensor);
    case DType::i8:
      return widen<int8_t>(tensor);
    case DType::u8:
    case DType::boolean:
      return widen<uint8_t>(tensor);
    default:
      fail(ErrorKind::invalid_file, "a tensor of {} where integers are expected", name_of(tensor.dtype));
  }
}

}  // namespace dreamlab
