#pragma once

// Work that is done again and again, as CUDA graphs: the first time it is done as it is, the second time it is
// captured, from then on it is repeated by one launch.
#include <cuda_runtime_api.h>

#include <list>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "device/cuda/cuda_context.h"
#include "device/device.h"

namespace dreamlab::cuda {

class Recordings {
 public:
  explicit Recordings(CudaContext& context) : context_(context) {}
  ~Recordings() { clear(); }
  Recordings(const Recordings&) = delete;
  Recordings& operator=(const Recordings&) = delete;

  // As Device::repeat. make_tensor: memory outside of recordings. operations: what the device counts, which a
  // repetition adds to.
  using MakeTensor = std::function<Tensor(Shape, DType)>;
  Tensor repeat(const std::string& key, std::span<const Tensor> inputs, const Device::Work& work,
                const MakeTensor& make_tensor, uint64_t& operations);
  void clear();

 private:
  struct Recording {
    cudaGraphExec_t graph = nullptr;
    bool refused = false;  // cannot be captured
    std::vector<Tensor> inputs;
    std::vector<Tensor> sources;  // what `inputs` are copies of; kept, so that an address tells a tensor
    Tensor output;
    uint64_t operations = 0;
    uint64_t last_use = 0;
  };

  void record(Recording& recording, std::span<const Tensor> inputs, const Device::Work& work,
              const MakeTensor& make_tensor, uint64_t& operations);
  void fill(Recording& recording, std::span<const Tensor> inputs);
  void forget_oldest();
  static void release(Recording& recording);

  CudaContext& context_;
  std::map<std::string, Recording> recordings_;
  uint64_t uses_ = 0;
};

}  // namespace dreamlab::cuda
