#pragma once

// cuDNN's graph API, wrapped: descriptors that free themselves, graphs of operations, and execution plans whose engine
// is chosen by rules of our own (EngineRules).
//
// Descriptors, attributes and their types: https://docs.nvidia.com/deeplearning/cudnn/backend/latest/api/
#include <cudnn_graph.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"

namespace dreamlab::cuda {

// Throws Error (out_of_memory or internal) unless `status` is success. `what` says what was attempted.
void check(cudnnStatus_t status, std::string_view what);

// f16, bf16 or f32; else throws Error(unsupported).
cudnnDataType_t cudnn_type(DType dtype);

// The attribute type that goes with a C++ type. Descriptors have functions of their own: they are void* to C++.
template <typename T>
struct AttributeType;
template <cudnnBackendAttributeType_t type>
struct IsAttribute {
  static constexpr cudnnBackendAttributeType_t value = type;
};
// clang-format off
template <> struct AttributeType<bool> : IsAttribute<CUDNN_TYPE_BOOLEAN> {};
template <> struct AttributeType<int64_t> : IsAttribute<CUDNN_TYPE_INT64> {};
template <> struct AttributeType<float> : IsAttribute<CUDNN_TYPE_FLOAT> {};
template <> struct AttributeType<double> : IsAttribute<CUDNN_TYPE_DOUBLE> {};
template <> struct AttributeType<void*> : IsAttribute<CUDNN_TYPE_VOID_PTR> {};
template <> struct AttributeType<cudnnHandle_t> : IsAttribute<CUDNN_TYPE_HANDLE> {};
template <> struct AttributeType<cudnnDataType_t> : IsAttribute<CUDNN_TYPE_DATA_TYPE> {};
template <> struct AttributeType<cudnnConvolutionMode_t> : IsAttribute<CUDNN_TYPE_CONVOLUTION_MODE> {};
template <> struct AttributeType<cudnnPointwiseMode_t> : IsAttribute<CUDNN_TYPE_POINTWISE_MODE> {};
template <> struct AttributeType<cudnnReduceTensorOp_t> : IsAttribute<CUDNN_TYPE_REDUCTION_OPERATOR_TYPE> {};
template <> struct AttributeType<cudnnBackendHeurMode_t> : IsAttribute<CUDNN_TYPE_HEUR_MODE> {};
template <> struct AttributeType<cudnnBackendKnobType_t> : IsAttribute<CUDNN_TYPE_KNOB_TYPE> {};
template <> struct AttributeType<cudnnBackendNumericalNote_t> : IsAttribute<CUDNN_TYPE_NUMERICAL_NOTE> {};
// clang-format on

// A backend descriptor. All functions but try_finalize throw as check() does.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor();

  cudnnBackendDescriptor_t get() const { return descriptor_; }

  template <typename T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    set_attribute(name, AttributeType<T>::value, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set_attribute(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
  }
  template <typename T>
  void set_all(cudnnBackendAttributeName_t name, const std::vector<T>& values) {
    set_attribute(name, AttributeType<T>::value, static_cast<int64_t>(values.size()), values.data());
  }
  void set_all(cudnnBackendAttributeName_t name, const std::deque<Descriptor>& values);

  template <typename T>
  T value_of(cudnnBackendAttributeName_t name) const {
    T value{};
    get_attribute(name, AttributeType<T>::value, 1, &value);
    return value;
  }
  // At most `capacity` elements.
  template <typename T>
  std::vector<T> values_of(cudnnBackendAttributeName_t name, int64_t capacity) const {
    std::vector<T> values(static_cast<size_t>(capacity));
    const int64_t count = get_attribute(name, AttributeType<T>::value, capacity, values.data());
    values.resize(static_cast<size_t>(std::clamp(count, int64_t{0}, capacity)));
    return values;
  }
  // Copies of the descriptors, all of `type` and at most `capacity`, that the attribute holds.
  std::vector<Descriptor> descriptors_of(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                         int64_t capacity) const;
  Descriptor descriptor_of(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const;
  // How many descriptors the attribute holds. Not every attribute tells.
  int64_t descriptor_count(cudnnBackendAttributeName_t name) const;

  void finalize(std::string_view what);
  [[nodiscard]] cudnnStatus_t try_finalize() noexcept;

 private:
  void set_attribute(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                     const void* values);
  // The number of elements written (or, for some attributes, there to be written where `requested` is 0).
  int64_t get_attribute(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t requested,
                        void* values) const;

  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// What a graph's tensor is. Dimensions in cuDNN's order whatever the memory layout: (N, C, H, W) for images.
struct TensorInfo {
  enum class Storage {
    device,        // memory the caller names at execution
    intermediate,  // never stored: cuDNN's "virtual"
    host_scalar,   // one number in host memory, read at execution: cuDNN's "by value"
  };
  int64_t uid;  // unique in its graph
  cudnnDataType_t type;
  std::vector<int64_t> dims, strides;  // elements
  Storage storage = Storage::device;
  int64_t alignment = 16;  // bytes, of the memory's start
};

// Compiled kernels that graphs of the same operations on tensors of other sizes share: without it, an attention of
// another length or number of images compiles for half a second.
class KernelCache {
 public:
  // nullptr where this cuDNN has none (before 9.5).
  static std::shared_ptr<KernelCache> make();
  // For graphs like this one, which is finalized. Again without effect.
  void prepare(const Descriptor& graph);
  const Descriptor& descriptor() const { return *cache_; }

 private:
  std::optional<Descriptor> cache_;
};

// Operations and the tensors between them.
class OperationGraph {
 public:
  // kernels: that it shares with others; null: its own.
  explicit OperationGraph(std::shared_ptr<KernelCache> kernels = nullptr) : kernels_(std::move(kernels)) {}

  // The references stay valid as long as the graph.
  const Descriptor& tensor(const TensorInfo& info);
  // Keeps a descriptor that an operation refers to.
  const Descriptor& keep(Descriptor descriptor);
  // An operation whose attributes are set; in the order of the data flow.
  void add(Descriptor operation);

  // y = mode(x), mode(x, b) or, for a selection, t ? x : b.
  void add_pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute_type, const Descriptor& x, const Descriptor* b,
                     const Descriptor& y, const Descriptor* t = nullptr);
  // y: x's index along `axis`.
  void add_index(int64_t axis, const Descriptor& x, const Descriptor& y);

  // Call once, when the graph is complete.
  void finalize(cudnnHandle_t handle);

  const Descriptor& descriptor() const { return graph_; }
  const std::shared_ptr<KernelCache>& kernels() const { return kernels_; }

 private:
  void add_pointwise(Descriptor pointwise, const Descriptor& x, const Descriptor* b, const Descriptor& y,
                     const Descriptor* t);

  std::shared_ptr<KernelCache> kernels_;
  std::deque<Descriptor> kept_;
  std::deque<Descriptor> operations_;
  Descriptor graph_{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

// Which of cuDNN's engines may run a graph. Always refused are those that sum in an order that may differ from run to
// run or with the number of images (nondeterministic ones, split or stream K), and those that trade accuracy for speed
// (Winograd, FFT, reduced-precision sums, narrowed operands).
struct EngineRules {
  bool tensor_cores = true;  // false for f32 tensors, which tensor cores would round to TF32
  bool fallbacks = true;     // also what cuDNN suggests only for want of something better
  int64_t max_workspace_bytes = int64_t{256} << 20;
};

// An engine and how it is set: enough to have the same one run another graph of the same operations.
struct EngineChoice {
  int64_t engine = 0;
  std::vector<std::pair<cudnnBackendKnobType_t, int64_t>> knobs;
  // Whether those are all its knobs. Others it sets as it sees fit for each graph.
  bool complete = true;

  // "engine 5 (knob 2 = 13, knob 17 = 1)"
  std::string description() const;
};

class ExecutionPlan {
 public:
  // From a finalized engine configuration. Compiles kernels where the engine is one that does so and `kernels` (null:
  // none) do not hold them yet.
  explicit ExecutionPlan(Descriptor engine_config, std::shared_ptr<KernelCache> kernels = nullptr);

  size_t workspace_bytes() const { return workspace_bytes_; }

  // tensors: uid and memory of each tensor that is not an intermediate; host memory for host scalars. Issues the work
  // on the handle's stream; may be captured into a CUDA graph. `workspace`: device memory, null where none is needed.
  void execute(cudnnHandle_t handle, std::span<const std::pair<int64_t, void*>> tensors, void* workspace) const;

 private:
  std::shared_ptr<KernelCache> kernels_;
  Descriptor config_;
  Descriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  size_t workspace_bytes_ = 0;
};

struct ChosenPlan {
  EngineChoice choice;
  ExecutionPlan plan;
};

// The first plan, in the order cuDNN's heuristics suggest engines, that the rules allow and that can be made. None:
// `refusal` says why.
std::optional<ChosenPlan> find_plan(const OperationGraph& graph, const EngineRules& rules, std::string& refusal);
// The plan of an engine chosen earlier.
std::optional<ExecutionPlan> make_plan(const OperationGraph& graph, const EngineChoice& choice,
                                       const EngineRules& rules, std::string& refusal);

// Plans by problem, looked for once. The engine is chosen for one image and then runs any number of them: which engine
// sums in which order must not depend on the number of images in the batch. Where it cannot take them all at once, they
// go one by one.
//
// Problem: has a member `images` and an order.
template <typename Problem>
class PlanCache {
 public:
  // Builds and finalizes the graph of a problem. May throw Error: then there is no such graph.
  using Build = OperationGraph (*)(const Problem&, cudnnHandle_t, std::shared_ptr<KernelCache>);
  // Problems of one kind share their compiled kernels.
  using Kind = std::string (*)(const Problem&);
  struct Way {
    Build build;
    Kind kind = nullptr;  // null where nothing is to be shared
  };

  struct Plan {
    std::shared_ptr<const ExecutionPlan> plan;
    int64_t images_at_once;  // all of the problem's, or 1
  };

  // ways: in order of preference. together: whether a plan may be made for several images at once.
  PlanCache(cudnnHandle_t handle, std::vector<Way> ways, bool together)
      : handle_(handle), ways_(std::move(ways)), together_(together) {}

  // Null where cuDNN cannot do it.
  const Plan* find(const Problem& problem, const EngineRules& rules) {
    auto known = plans_.find(problem);
    if (known == plans_.end()) known = plans_.emplace(problem, look_for(problem, rules)).first;
    last_refusal_ = known->second.refusal;
    return known->second.plan.plan == nullptr ? nullptr : &known->second.plan;
  }

  // Why the last problem was refused, or why its images go one by one; else empty.
  const std::string& last_refusal() const { return last_refusal_; }

 private:
  struct Entry {
    Plan plan;  // null: none
    std::string refusal;
  };
  struct SingleImage {
    std::shared_ptr<const ExecutionPlan> plan;  // null: none
    Build build = nullptr;
    std::shared_ptr<KernelCache> kernels;
    EngineChoice choice;
    std::string refusal;
  };

  SingleImage choose(const Problem& single, const EngineRules& rules) {
    SingleImage result;
    for (size_t i = 0; i < ways_.size(); ++i) {
      std::vector<std::shared_ptr<KernelCache>> sharing = {nullptr};
      if (const auto kernels = kernels_for(single, i)) sharing.insert(sharing.begin(), kernels);
      for (const std::shared_ptr<KernelCache>& kernels : sharing)
        if (try_build(single, rules, ways_[i].build, kernels, result)) return result;
    }
    return result;
  }

  bool try_build(const Problem& single, const EngineRules& rules, Build build,
                 const std::shared_ptr<KernelCache>& kernels, SingleImage& result) const {
    std::string refusal;
    try {
      const OperationGraph graph = build(single, handle_, kernels);
      if (auto found = find_plan(graph, rules, refusal)) {
        result = {std::make_shared<const ExecutionPlan>(std::move(found->plan)),
                  build,
                  kernels,
                  std::move(found->choice),
                  {}};
        return true;
      }
    } catch (const Error& error) {
      refusal = error.what();
    }
    result.refusal += (result.refusal.empty() ? "" : "; ") + refusal;
    return false;
  }

  std::shared_ptr<KernelCache> kernels_for(const Problem& problem, size_t way) {
    if (ways_[way].kind == nullptr) return nullptr;
    const auto [known, is_new] = kernels_.try_emplace({ways_[way].kind(problem), way});
    if (is_new) known->second = KernelCache::make();
    return known->second;
  }

  Entry look_for(const Problem& problem, const EngineRules& rules) {
    Problem single = problem;
    single.images = 1;
    auto known = singles_.find(single);
    if (known == singles_.end()) known = singles_.emplace(single, choose(single, rules)).first;
    const SingleImage& chosen = known->second;
    if (chosen.plan == nullptr || problem.images == 1) return {{chosen.plan, 1}, chosen.refusal};
    if (!together_) return {{chosen.plan, 1}, {}};
    if (!chosen.choice.complete) return {{chosen.plan, 1}, "one image at a time: the engine sets knobs by itself"};

    std::string refusal;
    try {
      const OperationGraph graph = chosen.build(problem, handle_, chosen.kernels);
      if (auto plan = make_plan(graph, chosen.choice, rules, refusal))
        return {{std::make_shared<const ExecutionPlan>(std::move(*plan)), problem.images}, {}};
    } catch (const Error& error) {
      refusal = error.what();
    }
    return {{chosen.plan, 1}, "one image at a time: " + refusal};
  }

  cudnnHandle_t handle_;
  std::vector<Way> ways_;
  bool together_;
  std::map<std::pair<std::string, size_t>, std::shared_ptr<KernelCache>> kernels_;
  std::map<Problem, SingleImage> singles_;
  std::map<Problem, Entry> plans_;
  std::string last_refusal_;
};

}  // namespace dreamlab::cuda
