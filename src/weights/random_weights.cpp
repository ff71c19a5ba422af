#include "weights/random_weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>

#include "base/error.h"
#include "weights/tensor_map.h"

namespace dreamlab {
namespace {

// Bits that look random from any two numbers (the finalizer of splitmix64).
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

uint64_t hash_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Tensors are filled with short runs copied from random places of a table of normals, which is as fast as memory. The
// runs are too short and the places too many for rows of a matrix to become alike.
constexpr size_t kTable = size_t{1} << 16;
constexpr size_t kRun = 64;

// Box-Muller over a fixed sequence: the same table in every run.
std::vector<float> make_normals() {
  std::vector<float> table(kTable);
  for (size_t i = 0; i + 1 < table.size(); i += 2) {
    const uint64_t bits = mix(i);
    const double u = (static_cast<double>(bits >> 32) + 1.0) * 0x1p-32;
    const double angle = static_cast<double>(bits & 0xffffffffu) * 0x1p-32 * 2.0 * M_PI;
    const double radius = std::sqrt(-2.0 * std::log(u));
    table[i] = static_cast<float>(radius * std::cos(angle));
    table[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return table;
}

const std::vector<float>& normals() {
  static const std::vector<float> table = make_normals();
  return table;
}

struct Distribution {
  float mean, deviation;
};

std::vector<float> scaled_normals(Distribution distribution, size_t first, size_t count) {
  const std::vector<float>& table = normals();
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = distribution.mean + distribution.deviation * table[(first + i) % kTable];
  return out;
}

// Norm scales, biases, embeddings and everything that multiplies, told apart by name and rank.
Distribution distribution_of(std::string_view name, const Shape& shape) {
  if (name.ends_with("bias")) return {0.0f, 0.02f};
  if (shape.rank() <= 1) return {1.0f, 0.05f};
  if (name.find("embeddings.") != std::string_view::npos) return {0.0f, 0.02f};
  const int64_t fan_in = std::max<int64_t>(1, shape.elements() / std::max<int64_t>(1, shape[0]));
  return {0.0f, 1.0f / std::sqrt(static_cast<float>(fan_in))};
}

// Anonymous memory straight from the kernel, in huge pages where it has them, so that it returns at once when the
// tensor goes.
std::shared_ptr<std::byte> allocate(size_t bytes) {
  const size_t size = std::max<size_t>(bytes, 1);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) fail(ErrorKind::out_of_memory, "no memory for random weights of {} bytes", bytes);
  ::madvise(data, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(data), [size](std::byte* memory) { ::munmap(memory, size); }};
}

}  // namespace

RandomWeights::RandomWeights(uint64_t seed, DType dtype, const ExpectedTensors& tensors) : seed_(seed), dtype_(dtype) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    fail(ErrorKind::invalid_argument, "random weights in {}; f32, f16 and bf16 are allowed", name_of(dtype));
  for (const ExpectedTensor& tensor : tensors) shapes_.emplace(tensor.name, tensor.shape);
}

HostTensor RandomWeights::get(std::string_view name, const Shape& shape) const {
  const auto found = shapes_.find(name);
  if (found == shapes_.end()) fail(ErrorKind::invalid_file, "random weights: the network has no tensor {}", name);
  if (!shapes_agree(found->second, shape))
    fail(ErrorKind::invalid_file, "random weights: tensor {} has shape {}; {} is expected", name,
         found->second.to_string(), shape.to_string());

  const Distribution distribution = distribution_of(name, found->second);
  const size_t element = size_of(dtype_);
  const auto count = static_cast<size_t>(shape.elements());
  const std::shared_ptr<std::byte> memory = allocate(count * element);
  uint64_t state = mix(seed_ ^ hash_of(name));
  if (count <= kTable) {
    const std::vector<float> values = scaled_normals(distribution, state % kTable, count);
    convert_elements(values.data(), DType::f32, memory.get(), dtype_, count);
    return {memory.get(), dtype_, shape, memory};
  }
  const std::vector<float> values = scaled_normals(distribution, 0, kTable + kRun);
  std::vector<std::byte> table(values.size() * element);
  convert_elements(values.data(), DType::f32, table.data(), dtype_, values.size());
  for (size_t at = 0; at < count; at += kRun) {
    state = mix(state);
    std::memcpy(memory.get() + at * element, table.data() + (state % kTable) * element,
                std::min(kRun, count - at) * element);
  }
  return {memory.get(), dtype_, shape, memory};
}

std::optional<Shape> RandomWeights::shape_of(std::string_view name) const {
  const auto found = shapes_.find(name);
  if (found == shapes_.end()) return std::nullopt;
  return found->second;
}

}  // namespace dreamlab
