#include "device/cuda/recordings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {
namespace {

// Kinds of work remembered: batch sizes, picture sizes, adapters. Each holds some MiB.
constexpr size_t kMost = 16;

void copy(const Tensor& from, const Tensor& to, cudaStream_t stream) {
  const size_t bytes = static_cast<size_t>(from.elements()) * size_of(from.dtype());
  check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream), "copying");
}

}  // namespace

void Recordings::release(Recording& recording) {
  if (recording.graph != nullptr) cudaGraphExecDestroy(recording.graph);
  recording = {};
}

void Recordings::clear() {
  if (recordings_.empty()) return;
  cudaStreamSynchronize(context_.stream());
  for (auto& [key, recording] : recordings_) release(recording);
  recordings_.clear();
}

void Recordings::forget_oldest() {
  const auto oldest = std::min_element(recordings_.begin(), recordings_.end(), [](const auto& a, const auto& b) {
    return a.second.last_use < b.second.last_use;
  });
  context_.synchronize();
  release(oldest->second);
  recordings_.erase(oldest);
}

// Tensors never change once they are made: one at the same address, while the copied one is kept, is the same.
void Recordings::fill(Recording& recording, std::span<const Tensor> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (recording.sources[i].data() == inputs[i].data()) continue;
    copy(inputs[i], recording.inputs[i], context_.stream());
    recording.sources[i] = inputs[i];
  }
}

void Recordings::record(Recording& recording, std::span<const Tensor> inputs, const Device::Work& work,
                        const MakeTensor& make_tensor, uint64_t& operations) {
  for (const Tensor& input : inputs) recording.inputs.push_back(make_tensor(input.shape(), input.dtype()));
  recording.sources.resize(inputs.size());
  const uint64_t before = operations;
  context_.begin_recording();
  try {
    recording.output = work(recording.inputs);
    recording.operations = operations - before;
    operations = before;
    recording.graph = context_.end_recording();
  } catch (...) {
    context_.drop_recording();
    operations = before;
    release(recording);
    throw;
  }
}

Tensor Recordings::repeat(const std::string& key, std::span<const Tensor> inputs, const Device::Work& work,
                          const MakeTensor& make_tensor, uint64_t& operations) {
  std::string full = key;
  for (const Tensor& input : inputs) full += fmt::format(" {}{}", name_of(input.dtype()), input.shape().to_string());
  const auto [known, is_new] = recordings_.try_emplace(std::move(full));
  Recording& recording = known->second;
  recording.last_use = ++uses_;
  if (is_new && recordings_.size() > kMost) forget_oldest();
  if (is_new || recording.refused) return work(inputs);
  if (recording.graph == nullptr) {
    try {
      record(recording, inputs, work, make_tensor, operations);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::cancelled) throw;
      spdlog::warn("not repeated by a CUDA graph: {}", error.what());
      recording.refused = true;
      return work(inputs);
    }
  }
  fill(recording, inputs);
  check(cudaGraphLaunch(recording.graph, context_.stream()), "repeating a recording");
  operations += recording.operations;
  // The recording's own output is overwritten by the next repetition.
  Tensor output = make_tensor(recording.output.shape(), recording.output.dtype());
  copy(recording.output, output, context_.stream());
  return output;
}

}  // namespace dreamlab::cuda
