#include "weights/tensor_file.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "weights/config_json.h"
#include "weights/printable.h"

namespace dreamlab {
namespace {

bool is_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0;
}

// PROTO 2 to 5. A safetensors header cannot begin so: its length would exceed every limit... unless it is 0x..0280
// bytes long, which is why the '{' in the ninth byte decides first.
bool is_pickle(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{2} && bytes[1] <= std::byte{5};
}

bool is_safetensors(std::span<const std::byte> bytes) {
  return bytes.size() > 8 && bytes[8] == std::byte{'{'} && !is_zip(bytes);
}

bool is_index(const std::filesystem::path& path) {
  return path.extension() == ".json";
}

// {"weight_map": {tensor: file name}}: the tensors of all files together.
std::shared_ptr<const TensorFile> open_sharded(const std::filesystem::path& path) {
  const nlohmann::json index = read_json_file(path);
  const auto map = index.find("weight_map");
  if (!index.is_object() || map == index.end() || !map->is_object())
    fail(ErrorKind::invalid_file, "{}: a sharded index with a weight_map is expected", path.string());

  std::map<std::string, std::shared_ptr<const TensorFile>> shards;
  TensorFile::Tensors tensors;
  std::map<std::string, std::string> metadata;
  for (const auto& item : map->items()) {
    if (!item.value().is_string())
      fail(ErrorKind::invalid_file, "{}: weight_map names no file for {}", path.string(), printable(item.key()));
    const auto file = item.value().get<std::string>();
    if (std::filesystem::path(file).filename() != file || file.empty() || file == "." || file == ".." || is_index(file))
      fail(ErrorKind::invalid_file, "{}: {} is no name of a shard beside the index", path.string(), printable(file));
    auto& shard = shards[file];
    if (!shard) {
      shard = open_tensor_file(path.parent_path() / file);
      metadata.insert(shard->metadata().begin(), shard->metadata().end());
    }
    const HostTensor* tensor = shard->find(item.key());
    if (!tensor)
      fail(ErrorKind::invalid_file, "{}: {} has no tensor {}, though the index says so", path.string(), printable(file),
           printable(item.key()));
    tensors.emplace(item.key(), *tensor);
  }
  if (shards.empty()) fail(ErrorKind::invalid_file, "{}: the weight_map is empty", path.string());
  return std::make_shared<TensorFile>(path,
                                      fmt::format("{} ({} shards)", shards.begin()->second->format(), shards.size()),
                                      std::move(tensors), std::move(metadata));
}

}  // namespace

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> out;
  out.reserve(tensors_.size());
  for (const auto& item : tensors_) out.push_back(item.first);
  return out;
}

const HostTensor* TensorFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

bool TensorFile::has_prefix(std::string_view prefix) const {
  const auto item = tensors_.lower_bound(prefix);
  return item != tensors_.end() && item->first.starts_with(prefix);
}

std::shared_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path) {
  if (is_index(path)) return open_sharded(path);
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (is_safetensors(bytes)) return read_safetensors(bytes, file, path);
  if (is_zip(bytes) || is_pickle(bytes)) return read_pytorch(bytes, file, path);
  if (path.extension() == ".safetensors") return read_safetensors(bytes, file, path);  // says what is wrong with it
  fail(ErrorKind::invalid_file, "{}: neither a safetensors nor a PyTorch file ({} bytes)", path.string(), bytes.size());
}

HostTensor aligned(const HostTensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.data) % size_of(tensor.dtype) == 0) return tensor;
  const size_t size = tensor.bytes();
  std::shared_ptr<std::byte[]> copy(new std::byte[size]);
  std::memcpy(copy.get(), tensor.data, size);
  return {copy.get(), tensor.dtype, tensor.shape, copy};
}

}  // namespace dreamlab
