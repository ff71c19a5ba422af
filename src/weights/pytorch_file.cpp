// What torch.save writes. Zip: NAME/data.pkl describes the tensors, NAME/data/KEY holds the bytes of one storage each.
// Legacy: pickles of a magic number, a version, the machine's sizes and the object, then a pickled list of storage keys
// and, in its order, each storage as a 64-bit element count and its bytes.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "weights/checked_math.h"
#include "weights/pickle.h"
#include "weights/printable.h"
#include "weights/tensor_file.h"
#include "weights/zip_archive.h"

namespace dreamlab {
namespace {

using StorageBytes = std::map<std::string, std::span<const std::byte>, std::less<>>;

// Where the weights lie in a dictionary of other things: Lightning's and CompVis' "state_dict", BasicSR's "params_ema"
// (the better copy) and "params", others' "model".
constexpr std::array<std::string_view, 4> kContainers{"state_dict", "params_ema", "params", "model"};

// The tensors of one pickle, with the bytes of its storages known.
class TensorCollector {
 public:
  TensorCollector(const pickle::Heap& heap, const StorageBytes& storages, uint64_t file_bytes,
                  std::shared_ptr<const void> owner, std::string file)
      : heap_(heap), storages_(storages), copy_budget_(file_bytes), owner_(std::move(owner)), file_(std::move(file)) {}

  TensorFile::Tensors tensors;
  std::map<std::string, std::string> metadata;

  void collect(const pickle::Value& root) {
    const auto* dict = std::get_if<pickle::DictRef>(&root);
    for (int depth = 0; dict && depth < 4; ++depth) {
      collect_metadata(*dict);
      if (collect_tensors(*dict)) return;
      dict = container(*dict);
    }
    fail(ErrorKind::invalid_file, "{}: the pickle holds no dictionary of tensors", file_);
  }

 private:
  using Items = std::vector<std::pair<pickle::Value, pickle::Value>>;
  const Items& items(pickle::DictRef dict) const { return heap_.dicts[dict.index]; }

  const pickle::DictRef* container(pickle::DictRef dict) const {
    for (const std::string_view name : kContainers)
      for (const auto& item : items(dict)) {
        const auto* key = std::get_if<std::string_view>(&item.first);
        if (key && *key == name && std::holds_alternative<pickle::DictRef>(item.second))
          return std::get_if<pickle::DictRef>(&item.second);
      }
    return nullptr;
  }

  void collect_metadata(pickle::DictRef dict) {
    for (const auto& item : items(dict)) {
      const auto* key = std::get_if<std::string_view>(&item.first);
      if (!key) continue;
      if (const auto* number = std::get_if<int64_t>(&item.second))
        metadata[std::string(*key)] = std::to_string(*number);
      if (const auto* text = std::get_if<std::string_view>(&item.second))
        metadata[std::string(*key)] = printable(*text);
    }
  }

  bool collect_tensors(pickle::DictRef dict) {
    bool found = false;
    for (const auto& item : items(dict)) {
      const auto* key = std::get_if<std::string_view>(&item.first);
      const auto* tensor = std::get_if<pickle::TensorRef>(&item.second);
      if (!key || !tensor) continue;
      found = true;
      tensors[std::string(*key)] = make(heap_.tensors[tensor->index], printable(*key));
    }
    return found;
  }

  HostTensor make(const pickle::Tensor& tensor, const std::string& name) {
    const pickle::Storage& storage = heap_.storages[tensor.storage];
    const auto found = storages_.find(storage.key);
    if (found == storages_.end())
      fail(ErrorKind::invalid_file, "{}: tensor {}: storage {} is not in the file", file_, name,
           printable(storage.key));
    const auto bytes = checked_multiply(static_cast<uint64_t>(storage.elements), size_of(storage.dtype));
    if (!bytes || *bytes > found->second.size())
      fail(ErrorKind::invalid_file,
           "{}: tensor {}: storage {} should have {} elements of {} and has {} bytes (truncated?)", file_, name,
           printable(storage.key), storage.elements, name_of(storage.dtype), found->second.size());
    check_reach(tensor, storage, name);
    const std::byte* data = found->second.data() + static_cast<uint64_t>(tensor.offset) * size_of(storage.dtype);
    const HostTensor view{data, storage.dtype, Shape(std::span<const int64_t>(tensor.sizes)), owner_};
    return is_contiguous(tensor) ? view : copy(view, tensor, name);
  }

  // Every element lies inside the storage, and the tensor has no more elements than it: a stride of 0 may not blow one
  // value up.
  void check_reach(const pickle::Tensor& tensor, const pickle::Storage& storage, const std::string& name) const {
    const auto elements = checked_elements(tensor.sizes);
    std::optional<uint64_t> end = static_cast<uint64_t>(tensor.offset);
    if (elements && *elements > 0) {
      end = checked_add(*end, 1);
      for (size_t i = 0; i < tensor.sizes.size() && end; ++i) {
        const auto step =
            checked_multiply(static_cast<uint64_t>(tensor.sizes[i] - 1), static_cast<uint64_t>(tensor.strides[i]));
        end = step ? checked_add(*end, *step) : std::nullopt;
      }
    }
    if (!elements || !end || *end > static_cast<uint64_t>(storage.elements) ||
        *elements > static_cast<uint64_t>(storage.elements))
      fail(ErrorKind::invalid_file, "{}: tensor {} of shape [{}] does not fit its storage of {} elements", file_, name,
           fmt::join(tensor.sizes, ", "), storage.elements);
  }

  static bool is_contiguous(const pickle::Tensor& tensor) {
    uint64_t step = 1;
    for (size_t i = tensor.sizes.size(); i-- > 0;) {
      if (tensor.sizes[i] == 0) return true;
      if (tensor.sizes[i] != 1 && static_cast<uint64_t>(tensor.strides[i]) != step) return false;
      step *= static_cast<uint64_t>(tensor.sizes[i]);
    }
    return true;
  }

  // Row-major from any strides. All copies together may not exceed the file.
  HostTensor copy(const HostTensor& view, const pickle::Tensor& tensor, const std::string& name) {
    const size_t total = view.bytes(), element = size_of(view.dtype);
    if (total > copy_budget_)
      fail(ErrorKind::invalid_file, "{}: tensor {}: the file's strided tensors take more bytes than the file", file_,
           name);
    copy_budget_ -= total;
    auto out = std::make_shared<std::vector<std::byte>>(total);
    std::vector<int64_t> index(tensor.sizes.size(), 0);
    for (size_t written = 0; written < total; written += element) {
      int64_t from = 0;
      for (size_t d = 0; d < index.size(); ++d) from += index[d] * tensor.strides[d];
      std::memcpy(out->data() + written, view.data + static_cast<size_t>(from) * element, element);
      for (size_t d = index.size(); d-- > 0;) {
        if (++index[d] < tensor.sizes[d]) break;
        index[d] = 0;
      }
    }
    return {out->data(), view.dtype, view.shape, out};
  }

  const pickle::Heap& heap_;
  const StorageBytes& storages_;
  uint64_t copy_budget_;
  std::shared_ptr<const void> owner_;
  std::string file_;
};

std::shared_ptr<const TensorFile> finish(TensorCollector& collector, const pickle::Value& root,
                                         const std::filesystem::path& path, const char* format) {
  collector.collect(root);
  return std::make_shared<TensorFile>(path, format, std::move(collector.tensors), std::move(collector.metadata));
}

std::shared_ptr<const TensorFile> read_zip(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                           const std::filesystem::path& path) {
  const std::string file = path.string();
  const ZipArchive archive(bytes, file);
  constexpr std::string_view kPickle = "data.pkl";
  std::string prefix;
  std::span<const std::byte> description;
  for (const auto& [name, data] : archive.members()) {
    if (!name.ends_with(kPickle)) continue;
    prefix = name.substr(0, name.size() - kPickle.size());
    if (!prefix.empty() && (!prefix.ends_with('/') || prefix.find('/') != prefix.size() - 1)) continue;
    description = data;
    break;
  }
  if (description.empty())
    fail(ErrorKind::invalid_file, "{}: a zip archive, but not PyTorch's: it has no data.pkl", file);
  if (archive.members().contains(prefix + "constants.pkl"))
    fail(ErrorKind::unsupported, "{}: a TorchScript program; a file of tensors is expected", file);
  const auto order = archive.members().find(prefix + "byteorder");
  if (order != archive.members().end() &&
      std::string_view(reinterpret_cast<const char*>(order->second.data()), order->second.size()) != "little")
    fail(ErrorKind::unsupported, "{}: its tensors are not little-endian", file);

  StorageBytes storages;
  const std::string data_prefix = prefix + "data/";
  for (const auto& [name, data] : archive.members())
    if (name.starts_with(data_prefix)) storages.emplace(name.substr(data_prefix.size()), data);
  pickle::Heap heap;
  const pickle::Value root = pickle::run(description, heap, file).value;
  TensorCollector collector(heap, storages, bytes.size(), std::move(owner), file);
  return finish(collector, root, path, "PyTorch zip");
}

// The bytes of each storage, which follow the pickles of a legacy file.
StorageBytes legacy_storages(std::span<const std::byte> bytes, const pickle::Heap& heap, const pickle::Value& keys,
                             const std::string& file) {
  std::map<std::string_view, DType> dtypes;
  for (const pickle::Storage& storage : heap.storages) dtypes.emplace(storage.key, storage.dtype);
  const auto* list = std::get_if<pickle::ListRef>(&keys);
  if (!list) fail(ErrorKind::invalid_file, "{}: damaged PyTorch file: no list of storages", file);

  StorageBytes out;
  for (const pickle::Value& value : heap.sequences[list->index]) {
    const auto* key = std::get_if<std::string_view>(&value);
    const auto dtype = key ? dtypes.find(*key) : dtypes.end();
    if (dtype == dtypes.end())
      fail(ErrorKind::invalid_file, "{}: damaged PyTorch file: a storage that no tensor uses", file);
    uint64_t elements = 0;
    std::optional<uint64_t> size;
    if (bytes.size() >= sizeof(elements)) {
      std::memcpy(&elements, bytes.data(), sizeof(elements));
      size = checked_multiply(elements, size_of(dtype->second));
    }
    if (!size || *size > bytes.size() - sizeof(elements))
      fail(ErrorKind::invalid_file, "{}: storage {} reaches past the end of the file (truncated?)", file,
           printable(*key));
    out.emplace(*key, bytes.subspan(sizeof(elements), *size));
    bytes = bytes.subspan(sizeof(elements) + *size);
  }
  return out;
}

std::shared_ptr<const TensorFile> read_legacy(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                              const std::filesystem::path& path) {
  const std::string file = path.string();
  // LONG1 of ten bytes: 0x1950a86a20f9469cfc6c, torch's magic number, after PROTO 2.
  constexpr std::array<uint8_t, 14> kMagic{0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  if (bytes.size() < kMagic.size() || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorKind::invalid_file, "{}: a pickle, but not PyTorch's", file);

  // Pickles in order: magic number, version of the format, sizes of the machine's integers, the object, the storages'
  // keys.
  constexpr int kObject = 3, kPickles = 5;
  const std::span<const std::byte> whole = bytes;
  pickle::Heap heap;
  std::array<pickle::Value, kPickles> values;
  for (int i = 0; i < kPickles; ++i) {
    const pickle::Result result = pickle::run(bytes, heap, file);
    values[static_cast<size_t>(i)] = result.value;
    bytes = bytes.subspan(result.bytes_read);
  }
  const StorageBytes storages = legacy_storages(bytes, heap, values[kObject + 1], file);
  TensorCollector collector(heap, storages, whole.size(), std::move(owner), file);
  return finish(collector, values[kObject], path, "PyTorch legacy");
}

}  // namespace

std::shared_ptr<const TensorFile> read_pytorch(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                               const std::filesystem::path& path) {
  const bool zip = bytes.size() >= 2 && bytes[0] == std::byte{'P'} && bytes[1] == std::byte{'K'};
  return zip ? read_zip(bytes, std::move(owner), path) : read_legacy(bytes, std::move(owner), path);
}

}  // namespace dreamlab
