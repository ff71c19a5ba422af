#include "layer/lora.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "layer/batch.h"

namespace dreamlab {
namespace {

// What a layer's branch multiplies with.
struct Factors {
  HostTensor down;
  std::optional<HostTensor> up;  // unset: `down` is the whole change
};

// The stride of a module's convolution follows from its place: only downsamplers have one.
ConvGeometry geometry_of(std::string_view module, int64_t kernel) {
  ConvGeometry geometry;
  geometry.kernel = kernel;
  geometry.stride = module.find(".downsamplers.") == std::string::npos ? 1 : 2;
  geometry.pad_before = geometry.pad_after = geometry.kernel / 2;
  return geometry;
}

HostTensor as_matrix(const HostTensor& tensor) {
  return tensor.reshape({tensor.shape[0], tensor.shape.elements() / tensor.shape[0]});
}

bool has_window(const HostTensor& down) {
  return down.shape.rank() == 4 && down.shape[2] > 1;
}

// a o b row by row: row i * rows(b) + j of the result is row i of a times row j of b, element by element.
std::vector<float> row_products(const std::vector<float>& a, const std::vector<float>& b, size_t columns) {
  std::vector<float> out;
  out.reserve(a.size() / columns * b.size());
  for (size_t i = 0; i < a.size(); i += columns)
    for (size_t j = 0; j < b.size(); j += columns)
      for (size_t c = 0; c < columns; ++c) out.push_back(a[i + c] * b[j + c]);
  return out;
}

// For every row the products of each number of a's row with each of b's.
std::vector<float> column_products(const std::vector<float>& a, const std::vector<float>& b, size_t rows) {
  const size_t width_a = a.size() / rows, width_b = b.size() / rows;
  std::vector<float> out;
  out.reserve(a.size() * width_b);
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < width_a; ++i)
      for (size_t j = 0; j < width_b; ++j) out.push_back(a[row * width_a + i] * b[row * width_b + j]);
  return out;
}

// (A1 B1) o (A2 B2) is exactly the product of rank r1 * r2 whose factors are all products of A1's columns with A2's and
// of B1's rows with B2's. Where that rank is so high that the plain matrix is less work, it is multiplied out.
Factors hadamard_factors(const LoraLayer& layer) {
  const int64_t out = layer.up.shape[0], rank = layer.rank(), second_rank = layer.second_down.shape[0];
  const int64_t columns = layer.down.shape.elements() / rank, joint = rank * second_rank;
  Shape shape = layer.down.shape;
  if (joint * (columns + out) >= out * columns) {
    shape.set(0, out);
    return {HostTensor::from_f32(layer.dense(), shape), std::nullopt};
  }
  shape.set(0, joint);
  return {HostTensor::from_f32(
              row_products(layer.down.to_f32(), layer.second_down.to_f32(), static_cast<size_t>(columns)), shape),
          HostTensor::from_f32(column_products(layer.up.to_f32(), layer.second_up.to_f32(), static_cast<size_t>(out)),
                               {out, joint})};
}

Factors factors_of(const LoraLayer& layer) {
  return layer.is_hadamard() ? hadamard_factors(layer) : Factors{layer.down, layer.up};
}

}  // namespace

LoraAdapter::LoraAdapter(Device& device, std::span<const LoraLayer> layers) : id_(device.new_id()) {
  for (const LoraLayer& layer : layers) {
    const Factors factors = factors_of(layer);
    Branch branch;
    if (has_window(factors.down))
      branch.down_conv = device.pack_conv(factors.down, nullptr, geometry_of(layer.module, factors.down.shape[2]));
    else
      branch.down_linear = device.pack_linear(as_matrix(factors.down), nullptr);
    if (factors.up) branch.up = device.pack_linear(as_matrix(*factors.up), nullptr);
    branch.scale = layer.scale();
    if (!branches_.emplace(layer.module, std::move(branch)).second)
      fail(ErrorKind::invalid_file, "a low-rank adapter changes {} twice", layer.module);
  }
}

const LoraAdapter::Branch* LoraAdapter::find(std::string_view module) const {
  const auto found = branches_.find(module);
  return found == branches_.end() ? nullptr : &found->second;
}

void LoraSet::add(std::shared_ptr<const LoraAdapter> adapter, float strength, int64_t begin, int64_t end) {
  if (strength == 0.0f || begin >= end) return;
  entries_.push_back({std::move(adapter), strength, begin, end});
}

std::string LoraSet::key() const {
  std::string key;
  for (const Entry& entry : entries_)
    key += fmt::format("{}:{}:{}:{} ", entry.adapter->id(), entry.strength, entry.begin, entry.end);
  return key;
}

namespace {

Tensor down_product(Device& device, const LoraAdapter::Branch& branch, const Tensor& x, const Epilogue& epilogue,
                    std::optional<Size> upsample_to) {
  return branch.down_conv ? device.conv2d(x, *branch.down_conv, epilogue, upsample_to)
                          : device.linear(x, *branch.down_linear, epilogue);
}

// total + scale * branch(x) for images [begin, end) of the batch, total for the others. total may be undefined: zero.
Tensor add_branch(Device& device, const LoraAdapter::Branch& branch, const Tensor& x, float scale, int64_t begin,
                  int64_t end, const Tensor& total, std::optional<Size> upsample_to) {
  const int64_t images = x.dim(0);
  const Tensor hidden = branch.up ? down_product(device, branch, x, {}, upsample_to) : x;
  const std::array<int64_t, 4> bounds = {0, std::min(begin, images), std::min(end, images), images};
  std::vector<Tensor> parts;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    if (bounds[i] == bounds[i + 1]) continue;
    const bool adapted = i == 1;
    Tensor before = total.defined() ? total.images(bounds[i], bounds[i + 1]) : Tensor();
    if (!adapted && before.defined()) {
      parts.push_back(std::move(before));
      continue;
    }
    Epilogue epilogue;
    epilogue.scale = adapted ? scale : 0.0f;
    if (before.defined()) epilogue.addend = &before;
    const Tensor part = hidden.images(bounds[i], bounds[i + 1]);
    parts.push_back(branch.up ? device.linear(part, *branch.up, epilogue)
                              : down_product(device, branch, part, epilogue, upsample_to));
  }
  return join_images(device, parts);
}

}  // namespace

Tensor LoraSet::addend(Device& device, std::string_view module, const Tensor& x, float scale,
                       std::optional<Size> upsample_to) const {
  Tensor total;
  for (const Entry& entry : entries_) {
    const LoraAdapter::Branch* branch = entry.adapter->find(module);
    if (branch == nullptr || entry.begin >= x.dim(0)) continue;
    total = add_branch(device, *branch, x, scale * entry.strength * branch->scale, entry.begin, entry.end, total,
                       upsample_to);
  }
  return total;
}

Tensor LoraSet::addend_fused(Device& device, std::span<const std::string> modules, int64_t width,
                             const Tensor& x) const {
  std::vector<Tensor> parts;
  for (const std::string& module : modules) parts.push_back(addend(device, module, x));
  if (std::none_of(parts.begin(), parts.end(), [](const Tensor& part) { return part.defined(); })) return {};
  Shape shape = x.shape();
  shape.set(-1, width);
  Tensor joined;
  for (Tensor& part : parts) {
    if (!part.defined())
      part = device.upload(std::vector<float>(static_cast<size_t>(shape.elements())), shape, device.compute_dtype());
    joined = joined.defined() ? device.concat_channels(joined, part) : part;
  }
  return joined;
}

Tensor addend_with_adapters(const Context& context, std::string_view module, const Tensor& x, const Epilogue& epilogue,
                            std::optional<Size> upsample_to) {
  if (context.loras == nullptr) return {};
  const Tensor addend = context.loras->addend(context.device, module, x, epilogue.scale, upsample_to);
  if (!addend.defined() || epilogue.addend == nullptr) return addend;
  return context.device.add(*epilogue.addend, addend);
}

}  // namespace dreamlab
