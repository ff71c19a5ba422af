#include "convert/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace dreamlab {

namespace {

constexpr size_t kHeaderAlignment = 8;

const char* stored_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "F64";
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    default:
      fail(ErrorKind::internal, "{} is not written to safetensors", name_of(dtype));
  }
}

uint64_t bytes_of(const StoredTensor& tensor) {
  return static_cast<uint64_t>(tensor.shape.elements()) * size_of(tensor.dtype);
}

std::string make_header(const std::vector<StoredTensor>& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  for (const StoredTensor& tensor : tensors) {
    const uint64_t end = at + bytes_of(tensor);
    header[tensor.name] = {{"dtype", stored_name(tensor.dtype)},
                           {"shape", std::vector<int64_t>(tensor.shape.dims().begin(), tensor.shape.dims().end())},
                           {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
  return text;
}

bool is_infinite(uint16_t half) {
  return (half & 0x7FFF) == 0x7C00;
}

// f16 ends at 65504: what goes beyond must not become infinity unsaid.
void check_no_overflow(const StoredTensor& tensor, const HostTensor& values, std::span<const uint8_t> halves) {
  for (size_t i = 0; 2 * i < halves.size(); ++i) {
    uint16_t half;
    std::memcpy(&half, &halves[2 * i], 2);
    if (!is_infinite(half)) continue;
    const float value = values.to_f32()[i];
    if (std::isfinite(value))
      fail(ErrorKind::invalid_argument, "{}: {} is too large for fp16; bf16 and fp32 hold it", tensor.name, value);
  }
}

std::vector<uint8_t> converted(const StoredTensor& tensor, const HostTensor& values) {
  if (values.shape.elements() != tensor.shape.elements())
    fail(ErrorKind::internal, "{}: {} values for shape {}", tensor.name, values.shape.elements(),
         tensor.shape.to_string());
  std::vector<uint8_t> bytes(bytes_of(tensor));
  if (values.dtype == tensor.dtype) {
    std::copy_n(reinterpret_cast<const uint8_t*>(values.data), bytes.size(), bytes.data());
    return bytes;
  }
  convert_elements(values.data, values.dtype, bytes.data(), tensor.dtype, static_cast<size_t>(values.shape.elements()));
  if (tensor.dtype == DType::f16) check_no_overflow(tensor, values, bytes);
  return bytes;
}

}  // namespace

uint64_t write_safetensors(const std::filesystem::path& path, std::vector<StoredTensor> tensors,
                           const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  const std::string header = make_header(tensors, metadata);
  static_assert(std::endian::native == std::endian::little);
  const uint64_t length = header.size();
  FileReplacement file(path.string());
  file.write({reinterpret_cast<const uint8_t*>(&length), sizeof length});
  file.write({reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  uint64_t total = sizeof length + header.size();
  for (const StoredTensor& tensor : tensors) {
    file.write(converted(tensor, tensor.values()));
    total += bytes_of(tensor);
  }
  file.move_into_place();
  return total;
}

}  // namespace dreamlab
