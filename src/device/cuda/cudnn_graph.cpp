#include "device/cuda/cudnn_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "device/cuda/cuda_error.h"

namespace dreamlab::cuda {
namespace {

// cuDNN's own account of this thread's last error, on one line.
std::string last_error_detail() {
  std::array<char, 512> text{};
  cudnnGetLastErrorString(text.data(), text.size());
  std::string line(text.data());
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' '; }, ' ');
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string error_text(cudnnStatus_t status) {
  const std::string detail = last_error_detail();
  return detail.empty() ? cudnnGetErrorString(status) : fmt::format("{} ({})", cudnnGetErrorString(status), detail);
}

void append(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : "; ") + item;
}

// More than any engine has (9 of them are the most seen), fewer than there are kinds of knobs in any cuDNN 9.
constexpr int64_t max_knobs = 32;

// The setting of a knob at which sums are not split; nothing for other knobs. Deprecated ones are among them: older
// versions' engines still have them.
std::optional<int64_t> whole_sums(cudnnBackendKnobType_t knob) {
  switch (knob) {
    case CUDNN_KNOB_TYPE_SPLIT_K:
    case CUDNN_KNOB_TYPE_SPLIT_K_BUF:
    case CUDNN_KNOB_TYPE_SPLIT_K_SLC:
    case CUDNN_KNOB_TYPE_SPLIT_H:
    case CUDNN_KNOB_TYPE_SPLIT_RS:
    case CUDNN_KNOB_TYPE_SPLIT_COLS:
    case CUDNN_KNOB_TYPE_SPLIT_P_SLC:
      return 1;  // part
    case CUDNN_KNOB_TYPE_SLICED:
    case CUDNN_KNOB_TYPE_STREAM_K:
      return 0;  // off
    default:
      return std::nullopt;
  }
}

Descriptor engine_of(const Descriptor& config) {
  return config.descriptor_of(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
}

// What a configuration chooses, and whole sums where it leaves that to the engine.
EngineChoice choice_of(const Descriptor& config) {
  const Descriptor engine = engine_of(config);
  EngineChoice choice;
  choice.engine = engine.value_of<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  for (const Descriptor& knob :
       config.descriptors_of(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, max_knobs))
    choice.knobs.emplace_back(knob.value_of<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE),
                              knob.value_of<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  for (const Descriptor& knob :
       engine.descriptors_of(CUDNN_ATTR_ENGINE_KNOB_INFO, CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR, max_knobs)) {
    const auto type = knob.value_of<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_INFO_TYPE);
    if (std::ranges::any_of(choice.knobs, [&](const auto& chosen) { return chosen.first == type; })) continue;
    if (const auto whole = whole_sums(type))
      choice.knobs.emplace_back(type, *whole);
    else
      choice.complete = false;
  }
  return choice;
}

std::optional<std::string> objection_to(const Descriptor& config, const EngineChoice& choice,
                                        const EngineRules& rules) {
  for (const auto note : engine_of(config).values_of<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                                  CUDNN_NUMERICAL_NOTE_TYPE_COUNT)) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
        if (!rules.tensor_cores) return "rounds to TF32";
        break;
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        return "narrows its operands";
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        return "sums in reduced precision";
      case CUDNN_NUMERICAL_NOTE_FFT:
        return "FFT";
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        return "nondeterministic";
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
        return "Winograd";
      default:
        break;
    }
  }
  for (const auto& [type, value] : choice.knobs)
    if (const auto whole = whole_sums(type); whole && value != *whole) return "splits its sums";
  const auto workspace = config.value_of<int64_t>(CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE);
  if (workspace > rules.max_workspace_bytes) return fmt::format("wants {} bytes of workspace", workspace);
  return std::nullopt;
}

std::vector<Descriptor> suggested_configs(const OperationGraph& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor());
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  heuristics.finalize("asking for engines");
  return heuristics.descriptors_of(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                   heuristics.descriptor_count(CUDNN_ATTR_ENGINEHEUR_RESULTS));
}

Descriptor config_of(const OperationGraph& graph, const EngineChoice& choice) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.descriptor());
  engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, choice.engine);
  engine.finalize("engine");

  std::deque<Descriptor> knobs;
  for (const auto& [type, value] : choice.knobs) {
    Descriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, type);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    knob.finalize("knob");
  }

  Descriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  if (!knobs.empty()) config.set_all(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, knobs);
  config.finalize("engine configuration");
  return config;
}

// The plan of a choice if the rules allow it; else appends why not to `refusal`.
std::optional<ExecutionPlan> plan_of(const OperationGraph& graph, const EngineChoice& choice, const EngineRules& rules,
                                     std::string& refusal) {
  std::optional<std::string> objection;
  try {
    Descriptor config = config_of(graph, choice);
    objection = objection_to(config, choice, rules);
    if (!objection) {
      ExecutionPlan plan(std::move(config), graph.kernels());
      if (plan.workspace_bytes() <= static_cast<size_t>(rules.max_workspace_bytes)) return plan;
      objection = fmt::format("wants {} bytes of workspace", plan.workspace_bytes());
    }
  } catch (const Error& error) {
    objection = error.what();
  }
  append(refusal, fmt::format("{}: {}", choice.description(), *objection));
  return std::nullopt;
}

}  // namespace

void check(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const bool memory = status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                      status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  fail_on_gpu(memory ? ErrorKind::out_of_memory : ErrorKind::internal,
              fmt::format("cuDNN: {}: {}", what, error_text(status)));
}

cudnnDataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::f16:
      return CUDNN_DATA_HALF;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    default:
      fail(ErrorKind::unsupported, "cuDNN: no operations on {}", name_of(dtype));
  }
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(cudnnBackendCreateDescriptor(type, &descriptor_),
        fmt::format("creating a descriptor of type {}", static_cast<int>(type)));
}

Descriptor::~Descriptor() {
  if (descriptor_ != nullptr) cudnnBackendDestroyDescriptor(descriptor_);
}

void Descriptor::set_all(cudnnBackendAttributeName_t name, const std::deque<Descriptor>& values) {
  std::vector<cudnnBackendDescriptor_t> plain;
  for (const Descriptor& value : values) plain.push_back(value.get());
  set_attribute(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(plain.size()), plain.data());
}

void Descriptor::set_attribute(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                               const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(descriptor_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) check(status, fmt::format("setting attribute {}", static_cast<int>(name)));
}

int64_t Descriptor::get_attribute(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t requested,
                                  void* values) const {
  int64_t count = 0;
  const cudnnStatus_t status = cudnnBackendGetAttribute(descriptor_, name, type, requested, &count, values);
  if (status != CUDNN_STATUS_SUCCESS) check(status, fmt::format("reading attribute {}", static_cast<int>(name)));
  return count;
}

std::vector<Descriptor> Descriptor::descriptors_of(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                                   int64_t capacity) const {
  if (capacity <= 0) return {};
  // cuDNN fills in descriptors that the caller has made.
  std::vector<Descriptor> values;
  std::vector<cudnnBackendDescriptor_t> plain;
  for (int64_t i = 0; i < capacity; ++i) plain.push_back(values.emplace_back(type).get());
  const int64_t count = get_attribute(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, capacity, plain.data());
  values.erase(values.begin() + std::clamp(count, int64_t{0}, capacity), values.end());
  return values;
}

int64_t Descriptor::descriptor_count(cudnnBackendAttributeName_t name) const {
  return get_attribute(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
}

Descriptor Descriptor::descriptor_of(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const {
  Descriptor value(type);
  get_attribute(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
  return value;
}

void Descriptor::finalize(std::string_view what) {
  check(try_finalize(), what);
}

cudnnStatus_t Descriptor::try_finalize() noexcept {
  return cudnnBackendFinalize(descriptor_);
}

std::shared_ptr<KernelCache> KernelCache::make() {
  constexpr size_t kFirstVersion = 90500;
  return cudnnGetVersion() >= kFirstVersion ? std::make_shared<KernelCache>() : nullptr;
}

void KernelCache::prepare(const Descriptor& graph) {
  if (cache_) return;
  Descriptor cache(CUDNN_BACKEND_KERNEL_CACHE_DESCRIPTOR);
  cache.set(CUDNN_ATTR_KERNEL_CACHE_OPERATION_GRAPH, graph);
  cache.finalize("kernel cache");
  cache_ = std::move(cache);
}

const Descriptor& OperationGraph::tensor(const TensorInfo& info) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, info.type);
  tensor.set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, info.dims);
  tensor.set_all(CUDNN_ATTR_TENSOR_STRIDES, info.strides);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, info.uid);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, info.alignment);
  if (info.storage == TensorInfo::Storage::intermediate) tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  if (info.storage == TensorInfo::Storage::host_scalar) tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  tensor.finalize("tensor");
  return keep(std::move(tensor));
}

const Descriptor& OperationGraph::keep(Descriptor descriptor) {
  return kept_.emplace_back(std::move(descriptor));
}

void OperationGraph::add(Descriptor operation) {
  operation.finalize(fmt::format("operation {}", operations_.size()));
  operations_.push_back(std::move(operation));
}

void OperationGraph::add_pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute_type, const Descriptor& x,
                                   const Descriptor* b, const Descriptor& y, const Descriptor* t) {
  Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, mode);
  pointwise.set(CUDNN_ATTR_POINTWISE_MATH_PREC, compute_type);
  add_pointwise(std::move(pointwise), x, b, y, t);
}

void OperationGraph::add_index(int64_t axis, const Descriptor& x, const Descriptor& y) {
  Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_GEN_INDEX);
  pointwise.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  pointwise.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
  add_pointwise(std::move(pointwise), x, nullptr, y, nullptr);
}

void OperationGraph::add_pointwise(Descriptor pointwise, const Descriptor& x, const Descriptor* b, const Descriptor& y,
                                   const Descriptor* t) {
  pointwise.finalize("pointwise operation");
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, keep(std::move(pointwise)));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  if (t != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *t);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1.0f);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1.0f);
  add(std::move(operation));
}

void OperationGraph::finalize(cudnnHandle_t handle) {
  graph_.set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_);
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
  if (kernels_ != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_IS_DYNAMIC_SHAPE_ENABLED, true);
  graph_.finalize("operation graph");
  if (kernels_ != nullptr) kernels_->prepare(graph_);
}

std::string EngineChoice::description() const {
  std::string text = fmt::format("engine {}", engine);
  for (size_t i = 0; i < knobs.size(); ++i)
    text += fmt::format("{}knob {} = {}", i == 0 ? " (" : ", ", static_cast<int>(knobs[i].first), knobs[i].second);
  return knobs.empty() ? text : text + ")";
}

ExecutionPlan::ExecutionPlan(Descriptor engine_config, std::shared_ptr<KernelCache> kernels)
    : kernels_(std::move(kernels)), config_(std::move(engine_config)) {
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config_);
  if (kernels_ != nullptr) plan_.set(CUDNN_ATTR_EXECUTION_PLAN_KERNEL_CACHE, kernels_->descriptor());
  plan_.finalize("execution plan");
  workspace_bytes_ = static_cast<size_t>(plan_.value_of<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
}

void ExecutionPlan::execute(cudnnHandle_t handle, std::span<const std::pair<int64_t, void*>> tensors,
                            void* workspace) const {
  std::vector<int64_t> uids;
  std::vector<void*> pointers;
  for (const auto& [uid, pointer] : tensors) {
    uids.push_back(uid);
    pointers.push_back(pointer);
  }
  Descriptor variant_pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  variant_pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
  variant_pack.set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers);
  variant_pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids);
  variant_pack.finalize("variant pack");
  check(cudnnBackendExecute(handle, plan_.get(), variant_pack.get()), "executing a plan");
}

std::optional<ChosenPlan> find_plan(const OperationGraph& graph, const EngineRules& rules, std::string& refusal) {
  refusal.clear();
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    if (mode == CUDNN_HEUR_MODE_FALLBACK && !rules.fallbacks) break;
    try {
      const std::vector<Descriptor> configs = suggested_configs(graph, mode);
      if (configs.empty()) append(refusal, "cuDNN suggests no engine");
      for (const Descriptor& config : configs) {
        EngineChoice choice = choice_of(config);
        if (auto plan = plan_of(graph, choice, rules, refusal)) return ChosenPlan{std::move(choice), std::move(*plan)};
      }
    } catch (const Error& error) {
      append(refusal, error.what());
    }
  }
  return std::nullopt;
}

std::optional<ExecutionPlan> make_plan(const OperationGraph& graph, const EngineChoice& choice,
                                       const EngineRules& rules, std::string& refusal) {
  refusal.clear();
  return plan_of(graph, choice, rules, refusal);
}

}  // namespace dreamlab::cuda
