#include "layer/lora.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "layer/batch.h"

namespace dreamlab {
namespace {

// The stride of a module's convolution follows from its place: only downsamplers have one.
ConvGeometry geometry_of(const LoraLayer& layer) {
  ConvGeometry geometry;
  geometry.kernel = layer.down.shape[2];
  geometry.stride = layer.module.find(".downsamplers.") == std::string::npos ? 1 : 2;
  geometry.pad_before = geometry.pad_after = geometry.kernel / 2;
  return geometry;
}

HostTensor as_matrix(const HostTensor& tensor) {
  return tensor.reshape({tensor.shape[0], tensor.shape.elements() / tensor.shape[0]});
}

bool has_window(const LoraLayer& layer) {
  return layer.down.shape.rank() == 4 && layer.down.shape[2] > 1;
}

}  // namespace

LoraAdapter::LoraAdapter(Device& device, std::span<const LoraLayer> layers) {
  for (const LoraLayer& layer : layers) {
    Branch branch;
    if (has_window(layer))
      branch.down_conv = device.pack_conv(layer.down, nullptr, geometry_of(layer));
    else
      branch.down_linear = device.pack_linear(as_matrix(layer.down), nullptr);
    branch.up = device.pack_linear(as_matrix(layer.up), nullptr);
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

namespace {

// total + scale * B(hidden) for images [begin, end) of the batch, total for the others. total may be undefined: zero.
Tensor add_branch(Device& device, const LoraAdapter::Branch& branch, const Tensor& hidden, float scale, int64_t begin,
                  int64_t end, const Tensor& total) {
  const int64_t images = hidden.dim(0);
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
    parts.push_back(device.linear(hidden.images(bounds[i], bounds[i + 1]), *branch.up, epilogue));
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
    const Tensor hidden = branch->down_conv ? device.conv2d(x, *branch->down_conv, {}, upsample_to)
                                            : device.linear(x, *branch->down_linear);
    total = add_branch(device, *branch, hidden, scale * entry.strength * branch->scale, entry.begin, entry.end, total);
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
