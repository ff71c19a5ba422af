#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "weights/tensor_file.h"

namespace dreamlab {

// A file of recorded tensors, "<case>/<tensor>" or so, which remembers what was taken from it: what nobody asked for is
// a tensor that this program does not understand.
class RecordFile {
 public:
  // name: the path inside the folder, as reports show it. Throws Error as open_tensor_file does.
  RecordFile(const std::filesystem::path& folder, std::string name);

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& name() const { return name_; }
  // The file of settings beside it: the same name with .json.
  std::filesystem::path settings_path() const;

  bool contains(std::string_view tensor) const { return file_->contains(tensor); }
  // Marks it as taken. Throws Error(invalid_file) where it is not there.
  const HostTensor& tensor(std::string_view tensor) const;
  // The same, as numbers.
  std::vector<float> floats(std::string_view tensor) const;
  std::vector<int64_t> integers(std::string_view tensor) const;

  // What stands before the first '/' of its tensors' names, each once, sorted, those that start with `prefix`.
  std::vector<std::string> cases(std::string_view prefix = "") const;
  // Names of all tensors that start with `prefix`, sorted.
  std::vector<std::string> names(std::string_view prefix = "") const;
  std::vector<std::string> not_taken() const;

 private:
  std::filesystem::path folder_;
  std::string name_;
  std::shared_ptr<const TensorFile> file_;
  mutable std::set<std::string, std::less<>> taken_;
};

// Reads a file of settings. Python's NaN and Infinity count as null.
nlohmann::json read_settings(const std::filesystem::path& path);

// The 64-bit integers that a tensor of any integer dtype holds.
std::vector<int64_t> to_integers(const HostTensor& tensor);

}  // namespace dreamlab
