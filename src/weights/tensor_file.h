#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/host_tensor.h"

namespace dreamlab {

// The tensors of one file (or of one sharded index) by name. They are views of the mapped file, except strided tensors
// of a pickle, which are copied. Each HostTensor keeps the mapping alive by itself, so it may outlive the TensorFile.
// A view starts wherever the file puts it: not necessarily at a multiple of its element size (see aligned()).
class TensorFile {
 public:
  using Tensors = std::map<std::string, HostTensor, std::less<>>;

  TensorFile(std::filesystem::path path, std::string format, Tensors tensors,
             std::map<std::string, std::string> metadata)
      : path_(std::move(path)),
        format_(std::move(format)),
        tensors_(std::move(tensors)),
        metadata_(std::move(metadata)) {}

  const std::filesystem::path& path() const { return path_; }
  // "safetensors", "safetensors (3 shards)", "PyTorch zip", "PyTorch legacy"
  const std::string& format() const { return format_; }
  // Sorted by name.
  const Tensors& tensors() const { return tensors_; }
  std::vector<std::string> names() const;
  // nullptr where there is no such tensor.
  const HostTensor* find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  // True if there is a tensor whose name starts with `prefix`.
  bool has_prefix(std::string_view prefix) const;
  // safetensors' __metadata__; for a pickle the numbers and strings that stand beside the tensors ("global_step").
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::filesystem::path path_;
  std::string format_;
  Tensors tensors_;
  std::map<std::string, std::string> metadata_;
};

// Opens a .safetensors file, a PyTorch file (.ckpt, .pt, .pth, .bin; zip or legacy) or a sharded index
// (*.safetensors.index.json); the content decides, not the name. Throws Error(invalid_file) with one line that names
// the file and what is wrong with it, Error(unsupported) for a pickle that holds more than tensors, Error(unavailable)
// for a missing file.
std::shared_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path);

// The readers by themselves, on bytes that `owner` keeps alive. `path` is for messages only.
std::shared_ptr<const TensorFile> read_safetensors(std::span<const std::byte> bytes,
                                                   const std::shared_ptr<const void>& owner,
                                                   const std::filesystem::path& path);
std::shared_ptr<const TensorFile> read_pytorch(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                               const std::filesystem::path& path);

// The tensor itself if its data is aligned to its element size, else an aligned copy.
HostTensor aligned(const HostTensor& tensor);

}  // namespace dreamlab
