#pragma once

// How long the GPU takes for each kind of operation: an event before and one after it on the stream. Before those the
// GPU is kept waiting for a while, so that the host, which issues the operation meanwhile, does not count.
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "device/device.h"

namespace dreamlab::cuda {

class Profile {
 public:
  explicit Profile(cudaStream_t stream) : stream_(stream) {}
  ~Profile() { finish(); }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  void begin() { on_ = true; }
  bool on() const { return on_; }
  // Waits for the GPU. By name, the longest first.
  std::vector<OperationTime> finish();

  // Times what is done until it goes out of scope. bytes: that have to be read and written.
  class Span {
   public:
    Span(Profile* profile, cudaEvent_t end) : profile_(profile), end_(end) {}
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Profile* profile_;
    cudaEvent_t end_;
  };
  // name: a function, called only where times are taken.
  template <typename Name>
  [[nodiscard]] Span time(Name&& name, double operations, double bytes) {
    return on_ ? start(name(), operations, bytes) : Span(nullptr, nullptr);
  }

 private:
  struct Sample {
    std::string name;
    double operations, bytes;
    cudaEvent_t begin, end;
  };
  Span start(std::string name, double operations, double bytes);

  cudaStream_t stream_;
  bool on_ = false;
  std::vector<Sample> samples_;
};

}  // namespace dreamlab::cuda
