#include "device/cuda/profile.h"

#include <algorithm>
#include <map>

#include "device/cuda/cuda_error.h"
#include "device/cuda/kernels.h"

namespace dreamlab::cuda {

Profile::Span::~Span() {
  if (profile_ != nullptr) cudaEventRecord(end_, profile_->stream_);
}

Profile::Span Profile::start(std::string name, double operations, double bytes) {
  Sample sample{std::move(name), operations, bytes, nullptr, nullptr};
  check(cudaEventCreate(&sample.begin), "making an event");
  check(cudaEventCreate(&sample.end), "making an event");
  stall(stream_);
  check(cudaEventRecord(sample.begin, stream_), "recording an event");
  samples_.push_back(sample);
  return Span(this, sample.end);
}

std::vector<OperationTime> Profile::finish() {
  on_ = false;
  cudaStreamSynchronize(stream_);
  std::map<std::string, OperationTime> by_name;
  for (const Sample& sample : samples_) {
    float ms = 0;
    cudaEventElapsedTime(&ms, sample.begin, sample.end);
    cudaEventDestroy(sample.begin);
    cudaEventDestroy(sample.end);
    OperationTime& sum = by_name[sample.name];
    sum.name = sample.name;
    ++sum.calls;
    sum.ms += ms;
    sum.operations += sample.operations;
    sum.bytes += sample.bytes;
  }
  samples_.clear();
  std::vector<OperationTime> times;
  for (auto& [name, time] : by_name) times.push_back(std::move(time));
  std::sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.ms > b.ms; });
  return times;
}

}  // namespace dreamlab::cuda
