#include "device/cuda/weight_groups.h"

#include <algorithm>

#include "base/error.h"
#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {

void* PackedBytes::get() const {
  if (group == nullptr) return memory.get();
  if (group->resident == nullptr) fail(ErrorKind::internal, "weights that are away are used");
  return static_cast<char*>(group->resident.get()) + offset;
}

CudaWeightGroup::~CudaWeightGroup() {
  if (copied == nullptr) return;
  cudaEventSynchronize(copied);
  cudaEventDestroy(copied);
}

WeightGroups::~WeightGroups() {
  if (done_so_far_ != nullptr) cudaEventDestroy(done_so_far_);
  if (copies_ != nullptr) cudaStreamDestroy(copies_);
}

std::shared_ptr<PackedBytes> WeightGroups::allocate(size_t bytes) {
  auto out = std::make_shared<PackedBytes>();
  out->bytes = bytes;
  out->memory = open_ != nullptr ? context_.allocate(bytes) : context_.allocate_weights(bytes);
  if (open_ != nullptr) pieces_.push_back(out);
  return out;
}

std::shared_ptr<WeightGroup> WeightGroups::begin(WeightGroupKind kind) {
  const bool leaves = offload_ == Offload::stream || (offload_ == Offload::model && kind == WeightGroupKind::network);
  if (!leaves || open_ != nullptr) return nullptr;
  open_ = std::make_shared<CudaWeightGroup>(kind);
  return open_;
}

void WeightGroups::end() {
  CudaWeightGroup& group = *open_;
  for (const auto& piece : pieces_) {
    piece->offset = group.bytes;
    group.bytes += aligned(piece->bytes);
  }
  context_.make_current();
  if (copies_ == nullptr) {
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a stream");
    check(cudaEventCreateWithFlags(&done_so_far_, cudaEventDisableTiming), "making an event");
  }
  check(cudaEventCreateWithFlags(&group.copied, cudaEventDisableTiming), "making an event");
  void* host = nullptr;
  check(cudaMallocHost(&host, std::max<size_t>(group.bytes, 1)), "page-locking memory for weights");
  group.host = {host, [](void* p) { cudaFreeHost(p); }};
  for (const auto& piece : pieces_)
    check(cudaMemcpyAsync(static_cast<char*>(host) + piece->offset, piece->memory.get(), piece->bytes,
                          cudaMemcpyDeviceToHost, context_.stream()),
          "copying weights from the device");
  context_.synchronize();
  for (const auto& piece : pieces_) {
    piece->group = &group;
    piece->memory.reset();
  }
  pieces_.clear();
  open_.reset();
}

void WeightGroups::drop() noexcept {
  pieces_.clear();
  open_.reset();
}

void WeightGroups::fetch(CudaWeightGroup& group) {
  if (context_.recording()) fail(ErrorKind::internal, "weights that come and go in work that is repeated");
  group.resident = context_.allocate(group.bytes);
  // The memory may be what earlier operations still read.
  check(cudaEventRecord(done_so_far_, context_.stream()), "recording an event");
  check(cudaStreamWaitEvent(copies_, done_so_far_, 0), "waiting for an event");
  check(cudaMemcpyAsync(group.resident.get(), group.host.get(), group.bytes, cudaMemcpyHostToDevice, copies_),
        "copying weights to the device");
  check(cudaEventRecord(group.copied, copies_), "recording an event");
}

void WeightGroups::send_away(CudaWeightGroup& group) noexcept {
  cudaStreamWaitEvent(context_.stream(), group.copied, 0);
  group.resident.reset();
}

void WeightGroups::enter(CudaWeightGroup& group) {
  ++in_use_;
  if (++group.users > 1) return;
  context_.make_current();
  if (ahead_ != nullptr && ahead_ != &group && ahead_->users == 0) send_away(*ahead_);
  ahead_ = nullptr;
  if (group.resident == nullptr) fetch(group);
  check(cudaStreamWaitEvent(context_.stream(), group.copied, 0), "waiting for weights");
  if (group.kind != WeightGroupKind::block) return;
  if (last_ != nullptr && last_ != &group) last_->next = &group;
  last_ = &group;
  if (group.next != nullptr && group.next->resident == nullptr) {
    fetch(*group.next);
    ahead_ = group.next;
  }
}

void WeightGroups::leave(CudaWeightGroup& group) noexcept {
  --in_use_;
  if (--group.users == 0) group.resident.reset();
}

}  // namespace dreamlab::cuda
