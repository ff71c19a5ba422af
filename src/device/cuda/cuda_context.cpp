#include "device/cuda/cuda_context.h"

#include <algorithm>

#include "base/error.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cudnn_graph.h"

namespace dreamlab::cuda {
namespace {

constexpr size_t kSlab = size_t{64} << 20;
constexpr size_t kLeastPinned = size_t{1} << 20;
constexpr size_t kLeastWorkspace = size_t{64} << 20;

// Memory of a device, whichever is the calling thread's; counted in `held`. nullptr where there is no more.
struct Source {
  int device;
  size_t limit;
  std::shared_ptr<HeldMemory> held;

  void* allocate(size_t bytes) const {
    if (limit != 0 && held->bytes + bytes > limit) return nullptr;
    check(cudaSetDevice(device), "choosing the device");
    void* block = nullptr;
    const cudaError_t status = cudaMalloc(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(status, "allocating");
    const size_t now = held->bytes += bytes;
    if (now > held->peak) held->peak = now;
    return block;
  }
  void release(void* block, size_t bytes) const {
    cudaSetDevice(device);
    cudaFree(block);
    held->bytes -= bytes;
  }
  BlockSource blocks() const {
    return {[source = *this](size_t bytes) { return source.allocate(bytes); },
            [source = *this](void* block, size_t bytes) { source.release(block, bytes); }};
  }
};

}  // namespace

CudaContext::CudaContext(int device, size_t memory_limit)
    : device_(device),
      memory_limit_(memory_limit),
      recorded_(Source{device, memory_limit, held_}.blocks(), MemoryPool::Unused::kept) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for devices");
  if (device < 0 || device >= count)
    fail(ErrorKind::unavailable, "CUDA device {} is not there; there {} 0 to {}", device, count == 1 ? "is" : "are",
         count - 1);
  make_current();
  check(cudaGetDeviceProperties(&properties_, device), "asking for properties");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  activations_.emplace(device, stream_, memory_limit, held_);
  check(cublasLtCreate(&cublas_), "starting");
  check(cudnnCreate(&cudnn_), "starting");
  check(cudnnSetStream(cudnn_, stream_), "setting the stream");
}

CudaContext::~CudaContext() {
  cudaSetDevice(device_);
  activations_.reset();  // waits for the stream
  if (cudnn_ != nullptr) cudnnDestroy(cudnn_);
  if (cublas_ != nullptr) cublasLtDestroy(cublas_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void CudaContext::make_current() const {
  check(cudaSetDevice(device_), "choosing the device");
}

void CudaContext::synchronize() const {
  check(cudaStreamSynchronize(stream_), "waiting for the device");
}

std::shared_ptr<void> CudaContext::allocate_alone(size_t bytes) {
  const Source source{device_, memory_limit_, held_};
  void* block = source.allocate(bytes);
  if (block == nullptr) {
    // Not what recordings use: some may be repeated again.
    activations_->trim();
    block = source.allocate(bytes);
  }
  if (block == nullptr) fail(ErrorKind::out_of_memory, "out of GPU memory: {} MiB more were needed", (bytes >> 20) + 1);
  return {block, [source, bytes](void* p) { source.release(p, bytes); }};
}

std::shared_ptr<void> CudaContext::allocate_weights(size_t bytes) {
  bytes = aligned(std::max<size_t>(bytes, 1));
  const auto counted = [this](size_t size) {
    std::shared_ptr<void> block = allocate_alone(size);
    *weights_held_ += size;
    void* const data = block.get();
    return std::shared_ptr<void>(data, [block, size, held = weights_held_](void*) mutable {
      *held -= size;
      block.reset();
    });
  };
  if (bytes > kSlab / 4) return counted(bytes);
  if (slab_ == nullptr || slab_used_ + bytes > slab_size_) {
    slab_ = counted(kSlab);
    slab_size_ = kSlab;
    slab_used_ = 0;
  }
  void* const piece = static_cast<char*>(slab_.get()) + slab_used_;
  slab_used_ += bytes;
  return {slab_, piece};
}

void* CudaContext::workspace(size_t bytes) {
  if (bytes > workspace_size_ || workspace_ == nullptr) {
    const size_t size = aligned(std::max(bytes, kLeastWorkspace));
    // A recording remembers the address: what earlier recordings use must stay theirs.
    if (recording_)
      fail(ErrorKind::internal, "a recording needs a workspace of {} bytes, which no pass before it had", bytes);
    if (workspace_ != nullptr) synchronize();
    old_workspaces_.push_back(std::move(workspace_));
    workspace_ = allocate_alone(size);
    workspace_size_ = size;
  }
  return workspace_.get();
}

void* CudaContext::pinned(size_t bytes) {
  if (bytes > pinned_size_ || pinned_ == nullptr) {
    const size_t size = std::max(bytes, kLeastPinned);
    void* block = nullptr;
    check(cudaMallocHost(&block, size), "page-locking memory");
    pinned_ = {block, [](void* p) { cudaFreeHost(p); }};
    pinned_size_ = size;
  }
  return pinned_.get();
}

unsigned* CudaContext::counters(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(unsigned);
  if (bytes > counters_size_) {
    const size_t size = std::max<size_t>(bytes, 4096);
    if (counters_ != nullptr) old_workspaces_.push_back(std::move(counters_));
    counters_ = allocate_alone(size);
    counters_size_ = size;
    check(cudaMemsetAsync(counters_.get(), 0, size, stream_), "clearing counters");
  }
  return static_cast<unsigned*>(counters_.get());
}

void CudaContext::begin_recording() {
  activations_->begin_recording();
  // Relaxed: libraries may load a kernel's code while it is captured.
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "beginning a recording");
  recording_ = true;
}

cudaGraphExec_t CudaContext::end_recording() {
  recording_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
  activations_->end_recording();
  check(ended, "ending a recording");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "preparing a recording");
  activations_->trim();
  return executable;
}

void CudaContext::drop_recording() {
  recording_ = false;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  activations_->end_recording();
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void CudaContext::reset_peak() {
  held_->peak = held_->bytes.load();
  activations_->reset_peak();
  recorded_.reset_peak();
}

DeviceMemory CudaContext::memory() const {
  make_current();
  DeviceMemory memory;
  cudaMemGetInfo(&memory.free, &memory.total);
  memory.limit = memory_limit_;
  memory.weights = *weights_held_;
  memory.activations = activations_->reserved();
  memory.recordings = recorded_.held();
  const size_t known = memory.weights + memory.activations + memory.recordings, held = held_->bytes;
  memory.workspace = held > known ? held - known : 0;
  memory.peak = held_->peak;
  return memory;
}

void CudaContext::trim() {
  activations_->trim();  // waits for the stream
  recorded_.trim();
}

}  // namespace dreamlab::cuda
