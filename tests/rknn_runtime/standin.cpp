// A stand-in for librknnrt.so: its C interface, over the networks of this project on a small manifest in place of a
// compiled model. It checks what the interface asks of its callers, and fails when it is told to.
//   {"network": "text_encoder" | "unet" | "vae_decoder" | "luminance", "checkpoint": FILE, "width": 64, "height": 64
//   (of pictures),
//    "format": "nhwc" | "nchw", "type": "f16" | "f32", "timestep": "i64" | "i32" | "f32", "row_pixels": 16,
//    "further_input": NAME (of four numbers, of no use), "outputs": false (it declares none)}
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "device/device.h"
#include "device/rknn/rknn_api.h"
#include "device/rknn/rknn_layout.h"
#include "model/clip_text.h"
#include "model/espcn.h"
#include "model/unet.h"
#include "model/vae.h"
#include "rknn_runtime/standin_control.h"
#include "weights/checkpoint.h"
#include "weights/networks.h"

namespace dreamlab::rknn {
namespace {

using nlohmann::json;
using Values = std::vector<std::vector<float>>;  // of each port, channels last

// --- the networks ---

class Network {
 public:
  virtual ~Network() = default;
  virtual Values run(const Values& inputs) = 0;
  void add_input(const std::string& name) { inputs.push_back(port(name, {4}, TensorType::f32)); }
  std::vector<TensorAttributes> inputs, outputs;

 protected:
  explicit Network(const json& manifest)
      : Network(manifest, Checkpoint::open(manifest.at("checkpoint").get<std::string>())) {}
  Network(const json& manifest, std::shared_ptr<const Checkpoint> checkpoint)
      : format_(manifest.value("format", "nhwc") == "nchw" ? TensorFormat::nchw : TensorFormat::nhwc),
        type_(manifest.value("type", "f16") == "f32" ? TensorType::f32 : TensorType::f16),
        row_pixels_(manifest.value("row_pixels", 1)),
        width_(manifest.value("width", 64)),
        height_(manifest.value("height", 64)),
        checkpoint_(std::move(checkpoint)),
        device_(make_cpu_device({.threads = 1, .dtype = DType::f32})) {}

  static TensorAttributes port(const std::string& name, std::vector<uint32_t> dims, TensorType type) {
    TensorAttributes port{};
    port.dim_count = static_cast<uint32_t>(dims.size());
    std::copy(dims.begin(), dims.end(), port.dims);
    std::copy(name.begin(), name.end(), port.name);
    port.elements = 1;
    for (const uint32_t side : dims) port.elements *= side;
    port.format = TensorFormat::undefined;
    port.type = type;
    port.size = port.size_with_stride = port.elements * static_cast<uint32_t>(size_of(type));
    return port;
  }
  TensorAttributes picture(const std::string& name, int height, int width, int channels, bool is_input) const {
    const auto h = static_cast<uint32_t>(height), w = static_cast<uint32_t>(width), c = static_cast<uint32_t>(channels);
    const bool first = format_ == TensorFormat::nchw;
    TensorAttributes attributes = port(name, first ? std::vector{1u, c, h, w} : std::vector{1u, h, w, c}, type_);
    attributes.format = format_;
    if (is_input && !first) {
      const auto pixels = static_cast<uint32_t>(row_pixels_);
      attributes.width_stride = (w + pixels - 1) / pixels * pixels;
      attributes.size_with_stride = h * attributes.width_stride * c * static_cast<uint32_t>(size_of(type_));
    }
    return attributes;
  }

  TensorFormat format_;
  TensorType type_;
  int row_pixels_, width_, height_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Device> device_;
};

class TextEncoder final : public Network {
 public:
  explicit TextEncoder(const json& manifest)
      : Network(manifest), encoder_(*device_, checkpoint_->config().text_encoders[0], checkpoint_->text_encoder(0)) {
    inputs = {port("input_ids", {1, 77}, TensorType::i32)};
    outputs = {port("last_hidden_state", {1, 77, static_cast<uint32_t>(encoder_.config().hidden_size)}, type_)};
  }
  Values run(const Values& in) override {
    const std::vector<int32_t> ids(in[0].begin(), in[0].end());
    return {device_->download(encoder_.forward({*device_, nullptr, nullptr, {}}, ids).last_hidden_state)};
  }

 private:
  ClipTextEncoder encoder_;
};

class DenoisingNetwork final : public Network {
 public:
  explicit DenoisingNetwork(const json& manifest)
      : Network(manifest), unet_(*device_, checkpoint_->config().unet, checkpoint_->unet()) {
    const std::string timestep = manifest.value("timestep", "i64");
    const auto text = static_cast<uint32_t>(unet_.config().cross_attention_dim);
    // Not in the order of the names' usual use: ports are found by name.
    inputs = {port("timestep", {1},
                   timestep == "i64"   ? TensorType::i64
                   : timestep == "i32" ? TensorType::i32
                                       : TensorType::f32),
              picture("sample", height_ / 8, width_ / 8, 4, true), port("encoder_hidden_states", {1, 77, text}, type_)};
    if (const auto width = static_cast<uint32_t>(unet_.config().time_cond_proj_dim); width > 0)
      inputs.push_back(port("timestep_cond", {1, width}, type_));
    outputs = {picture("noise_pred", height_ / 8, width_ / 8, 4, false)};
  }
  Values run(const Values& in) override {
    const Context context{*device_, nullptr, nullptr, {}};
    UNetInput input;
    input.timesteps = in[0];
    input.sample = device_->upload(in[1], {1, height_ / 8, width_ / 8, 4});
    const TextContext text =
        unet_.project_text(context, device_->upload(in[2], {1, 77, unet_.config().cross_attention_dim}));
    input.text = &text;
    if (in.size() > 3) input.guidance_embedding = in[3];
    return {device_->download(unet_.forward(context, input))};
  }

 private:
  UNet unet_;
};

class Decoder final : public Network {
 public:
  explicit Decoder(const json& manifest)
      : Network(manifest), decoder_(*device_, checkpoint_->config().vae, checkpoint_->vae()) {
    inputs = {picture("latent_sample", height_ / 8, width_ / 8, 4, true)};
    outputs = {picture("sample", height_, width_, 3, false)};
  }
  Values run(const Values& in) override {
    const Tensor latents = device_->upload(in[0], {1, height_ / 8, width_ / 8, 4});
    return {device_->download(decoder_.decode({*device_, nullptr, nullptr, {}}, latents))};
  }

 private:
  VaeDecoder decoder_;
};

// Luminance of the full range.
class Enlarger final : public Network {
 public:
  explicit Enlarger(const json& manifest)
      : Network(manifest, nullptr),
        file_(open_espcn(manifest.at("checkpoint").get<std::string>())),
        network_(*device_, file_.config, *file_.weights) {
    const auto scale = static_cast<int>(file_.config.scale);
    inputs = {picture("input", height_, width_, 1, true)};
    outputs = {picture("output", scale * height_, scale * width_, 1, false)};
  }
  Values run(const Values& in) override {
    const bool studio = file_.config.range == EspcnConfig::Range::studio;
    const float gain = studio ? 219.0f / 255.0f : 1.0f, offset = studio ? 16.0f / 255.0f : 0.0f;
    std::vector<float> values = in[0];
    for (float& value : values) value = offset + gain * value;
    const Tensor input = device_->upload(values, {1, height_, width_, 1});
    values = device_->download(network_.forward({*device_, nullptr, nullptr, {}}, input));
    for (float& value : values) value = (value - offset) / gain;
    return {values};
  }

 private:
  NetworkFile<EspcnConfig> file_;
  Espcn network_;
};

std::shared_ptr<Network> make_network(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path);
  const json manifest = json::parse(bytes);
  const std::string kind = manifest.at("network");
  std::shared_ptr<Network> network;
  if (kind == "text_encoder") network = std::make_shared<TextEncoder>(manifest);
  if (kind == "unet") network = std::make_shared<DenoisingNetwork>(manifest);
  if (kind == "luminance") network = std::make_shared<Enlarger>(manifest);
  if (kind == "vae_decoder") network = std::make_shared<Decoder>(manifest);
  if (!network) throw std::runtime_error("no such network");
  if (manifest.contains("further_input")) network->add_input(manifest["further_input"]);
  if (!manifest.value("outputs", true)) network->outputs.clear();
  for (auto* ports : {&network->inputs, &network->outputs})
    for (size_t i = 0; i < ports->size(); ++i) (*ports)[i].index = static_cast<uint32_t>(i);
  return network;
}

// --- what is open, and what was done wrong ---

struct SharedMemory : Memory {
  ContextHandle context = 0;
  std::vector<uint8_t> bytes;
  bool to_device = false;  // since the last run
};

struct OpenContext {
  std::shared_ptr<Network> network;
  std::shared_ptr<std::mutex> one_at_a_time;  // the device of a network has one thread
  CoreMask cores = CoreMask::automatic;
  std::map<uint32_t, SharedMemory*> bound_inputs, bound_outputs;
  std::map<uint32_t, TensorAttributes> input_types, output_types;  // as they were bound
  Values inputs, outputs;                                          // where they are not shared
  bool has_inputs = false, has_run = false, outputs_taken = false;
  std::atomic<bool> busy = false;
};

class Standin {
 public:
  std::mutex mutex;
  std::map<ContextHandle, std::shared_ptr<OpenContext>> contexts;
  std::set<SharedMemory*> blocks;
  ContextHandle next = 0x5000'0000'0000'0001;  // wider than 32 bits
  int calls = 0, fail_after = -1, loads = 0, running = 0, most_at_once = 0, slow_ms = 0;
  uint32_t cores = 0;
  bool refuse_memory = false;
  std::string violations, api = "2.3.2 (stand-in)", driver = "0.9.8";

  void violation(const std::string& text) { violations += text + "\n"; }
  // Whether this call is to fail.
  bool fails() {
    ++calls;
    return fail_after >= 0 && fail_after-- == 0;
  }
  std::shared_ptr<OpenContext> find(ContextHandle handle, const char* function) {
    const auto found = contexts.find(handle);
    if (found != contexts.end()) return found->second;
    violation(std::string(function) + ": there is no such context");
    return nullptr;
  }
};

Standin& standin() {
  static Standin one;
  return one;
}

// Two threads in one context.
class Visit {
 public:
  Visit(const std::shared_ptr<OpenContext>& context, const char* function) : context_(context) {
    if (context_ && context_->busy.exchange(true))
      standin().violation(std::string(function) + ": the context is used by another thread");
  }
  ~Visit() {
    if (context_) context_->busy = false;
  }

 private:
  std::shared_ptr<OpenContext> context_;
};

bool same_dims(const TensorAttributes& a, const TensorAttributes& b) {
  return a.dim_count == b.dim_count && std::equal(a.dims, a.dims + a.dim_count, b.dims) && a.elements == b.elements;
}

int run_network(OpenContext& context) {
  Network& network = *context.network;
  Values inputs;
  if (context.bound_inputs.empty()) {
    if (!context.has_inputs) return kInputInvalid;
    inputs = context.inputs;
  } else {
    for (const TensorAttributes& port : network.inputs) {
      SharedMemory* const memory = context.bound_inputs[port.index];
      inputs.push_back(read_values(context.input_types[port.index], memory->address));
    }
  }
  {
    const std::lock_guard lock(*context.one_at_a_time);
    context.outputs = network.run(inputs);
  }
  for (const auto& [index, memory] : context.bound_outputs)
    write_values(context.output_types[index], context.outputs[index], memory->address);
  return kSuccess;
}

}  // namespace
}  // namespace dreamlab::rknn

using namespace dreamlab::rknn;
#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED int rknn_init(ContextHandle* context, void* model, uint32_t size, uint32_t flags, void* extension) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  if (context == nullptr || model == nullptr || size != 0 || flags != 0 || extension != nullptr)
    s.violation("rknn_init: arguments that no caller here uses");
  if (s.fails()) return kDeviceUnavailable;
  try {
    auto opened = std::make_shared<OpenContext>();
    opened->network = make_network(static_cast<const char*>(model));
    opened->one_at_a_time = std::make_shared<std::mutex>();
    s.contexts[*context = s.next++] = opened;
    ++s.loads;
    return kSuccess;
  } catch (const std::exception&) {
    return kModelInvalid;
  }
}

EXPORTED int rknn_dup_context(ContextHandle* from, ContextHandle* to) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(*from, "rknn_dup_context");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_dup_context");
  if (s.fails()) return kMallocFailed;
  auto copy = std::make_shared<OpenContext>();
  copy->network = context->network;
  copy->one_at_a_time = context->one_at_a_time;
  s.contexts[*to = s.next++] = copy;
  return kSuccess;
}

EXPORTED int rknn_destroy(ContextHandle handle) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_destroy");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_destroy");
  for (const SharedMemory* block : s.blocks)
    if (block->context == handle) s.violation("rknn_destroy: a block of memory of the context is still there");
  s.contexts.erase(handle);
  return s.fails() ? -1 : kSuccess;
}

EXPORTED int rknn_query(ContextHandle handle, Query what, void* answer, uint32_t size) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_query");
  if (!context) return kContextInvalid;
  if (s.fails()) return -1;
  const Network& network = *context->network;
  const auto wrong_size = [&](size_t expected) {
    if (size == expected) return false;
    s.violation("rknn_query: the answer has another size");
    return true;
  };
  switch (what) {
    case Query::in_out_num: {
      if (wrong_size(sizeof(InputOutputCount))) return kParameterInvalid;
      const InputOutputCount count{static_cast<uint32_t>(network.inputs.size()),
                                   static_cast<uint32_t>(network.outputs.size())};
      std::memcpy(answer, &count, sizeof(count));
      return kSuccess;
    }
    case Query::input_attr:
    case Query::output_attr: {
      if (wrong_size(sizeof(TensorAttributes))) return kParameterInvalid;
      const auto& ports = what == Query::input_attr ? network.inputs : network.outputs;
      const uint32_t index = static_cast<TensorAttributes*>(answer)->index;
      if (index >= ports.size()) return kParameterInvalid;
      std::memcpy(answer, &ports[index], sizeof(TensorAttributes));
      return kSuccess;
    }
    case Query::sdk_version: {
      if (wrong_size(sizeof(SdkVersion))) return kParameterInvalid;
      SdkVersion version{};
      s.api.copy(version.api, kMaxName - 1);
      s.driver.copy(version.driver, kMaxName - 1);
      std::memcpy(answer, &version, sizeof(version));
      return kSuccess;
    }
  }
  return kParameterInvalid;
}

EXPORTED int rknn_set_core_mask(ContextHandle handle, CoreMask mask) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_set_core_mask");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_set_core_mask");
  if (s.fails()) return -1;
  const std::set<CoreMask> known = {CoreMask::automatic, CoreMask::core0, CoreMask::core1, CoreMask::core2,
                                    CoreMask::all};
  if (!known.contains(mask)) return kParameterInvalid;
  context->cores = mask;
  return kSuccess;
}

EXPORTED Memory* rknn_create_mem(ContextHandle handle, uint32_t size) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_create_mem");
  if (!context) return nullptr;
  const Visit visit(context, "rknn_create_mem");
  if (s.fails() || s.refuse_memory) return nullptr;
  if (size == 0) s.violation("rknn_create_mem: no bytes");
  auto* const memory = new SharedMemory;
  memory->context = handle;
  memory->bytes.resize(size + 64);
  const auto address = reinterpret_cast<uintptr_t>(memory->bytes.data());
  memory->address = memory->bytes.data() + (64 - address % 64) % 64;
  memory->size = size;
  s.blocks.insert(memory);
  return memory;
}

EXPORTED int rknn_destroy_mem(ContextHandle handle, Memory* memory) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_destroy_mem");
  auto* const block = static_cast<SharedMemory*>(memory);
  if (s.blocks.erase(block) == 0) {
    s.violation("rknn_destroy_mem: there is no such block");
    return kParameterInvalid;
  }
  if (block->context != handle) s.violation("rknn_destroy_mem: the block belongs to another context");
  if (context) {
    std::erase_if(context->bound_inputs, [&](const auto& bound) { return bound.second == block; });
    std::erase_if(context->bound_outputs, [&](const auto& bound) { return bound.second == block; });
  }
  delete block;
  return s.fails() ? -1 : kSuccess;
}

EXPORTED int rknn_set_io_mem(ContextHandle handle, Memory* memory, TensorAttributes* attributes) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_set_io_mem");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_set_io_mem");
  if (s.fails()) return -1;
  auto* const block = static_cast<SharedMemory*>(memory);
  if (!s.blocks.contains(block) || block->context != handle) {
    s.violation("rknn_set_io_mem: the block is none of this context");
    return kParameterInvalid;
  }
  if (reinterpret_cast<uintptr_t>(block->address) % 64 != 0) s.violation("rknn_set_io_mem: the block is not aligned");
  const Network& network = *context->network;
  // An input and an output may have one index: the name tells them apart.
  for (const bool is_input : {true, false}) {
    for (const TensorAttributes& port : is_input ? network.inputs : network.outputs) {
      if (port.index != attributes->index || std::strcmp(port.name, attributes->name) != 0) continue;
      if (!same_dims(port, *attributes) || attributes->format != port.format || attributes->pass_through != 0 ||
          (attributes->type != port.type && attributes->type != TensorType::f32)) {
        s.violation("rknn_set_io_mem: the attributes are not those of the port");
        return kParameterInvalid;
      }
      if (memory->size < memory_size(*attributes)) {
        s.violation("rknn_set_io_mem: the block is too small");
        return kParameterInvalid;
      }
      (is_input ? context->bound_inputs : context->bound_outputs)[port.index] = block;
      (is_input ? context->input_types : context->output_types)[port.index] = *attributes;
      return kSuccess;
    }
  }
  s.violation("rknn_set_io_mem: there is no such port");
  return kParameterInvalid;
}

EXPORTED int rknn_mem_sync(ContextHandle handle, Memory* memory, MemorySync direction) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_mem_sync");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_mem_sync");
  if (s.fails()) return -1;
  auto* const block = static_cast<SharedMemory*>(memory);
  if (!s.blocks.contains(block) || block->context != handle) {
    s.violation("rknn_mem_sync: the block is none of this context");
    return kParameterInvalid;
  }
  const auto is = [&](const auto& bound) { return bound.second == block; };
  const bool is_input = std::any_of(context->bound_inputs.begin(), context->bound_inputs.end(), is);
  if ((direction == MemorySync::to_device) != is_input) s.violation("rknn_mem_sync: in the wrong direction");
  if (!is_input && !context->has_run) s.violation("rknn_mem_sync: an output before any run");
  block->to_device = is_input;
  return kSuccess;
}

EXPORTED int rknn_inputs_set(ContextHandle handle, uint32_t count, Input* inputs) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_inputs_set");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_inputs_set");
  if (s.fails()) return -1;
  const Network& network = *context->network;
  if (!context->bound_inputs.empty()) s.violation("rknn_inputs_set: inputs are in shared memory already");
  if (count != network.inputs.size()) {
    s.violation("rknn_inputs_set: another number of inputs");
    return kInputInvalid;
  }
  context->inputs.assign(count, {});
  for (uint32_t i = 0; i < count; ++i) {
    const Input& input = inputs[i];
    TensorAttributes port = network.inputs.at(input.index);
    port.width_stride = 0;  // copied inputs are dense
    port.size_with_stride = port.size;
    if (input.size != port.size || input.type != port.type || input.format != port.format || input.pass_through != 0) {
      s.violation("rknn_inputs_set: size, type or format is not the port's");
      return kInputInvalid;
    }
    context->inputs[input.index] = read_values(port, input.buffer);
  }
  context->has_inputs = true;
  return kSuccess;
}

EXPORTED int rknn_run(ContextHandle handle, void* extension) {
  Standin& s = standin();
  std::unique_lock lock(s.mutex);
  const auto context = s.find(handle, "rknn_run");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_run");
  if (extension != nullptr) s.violation("rknn_run: an argument that no caller here uses");
  if (s.fails()) return kTimeout;
  for (const auto& [index, block] : context->bound_inputs) {
    if (!block->to_device) s.violation("rknn_run: an input was not handed over");
    block->to_device = false;
  }
  const Network& network = *context->network;
  const bool shared = !context->bound_inputs.empty() || !context->bound_outputs.empty();
  if (shared && (context->bound_inputs.size() != network.inputs.size() ||
                 context->bound_outputs.size() != network.outputs.size())) {
    s.violation("rknn_run: not all ports have their memory");
    return kInputInvalid;
  }
  s.most_at_once = std::max(s.most_at_once, ++s.running);
  s.cores |= static_cast<uint32_t>(context->cores);
  const int slow_ms = s.slow_ms;
  lock.unlock();
  int code = kSuccess;
  try {
    std::this_thread::sleep_for(std::chrono::milliseconds(slow_ms));
    code = run_network(*context);
  } catch (const std::exception&) {
    code = -1;
  }
  lock.lock();
  --s.running;
  context->has_run = code == kSuccess;
  return code;
}

EXPORTED int rknn_outputs_get(ContextHandle handle, uint32_t count, Output* outputs, void* extension) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_outputs_get");
  if (!context) return kContextInvalid;
  const Visit visit(context, "rknn_outputs_get");
  if (s.fails()) return -1;
  const Network& network = *context->network;
  if (!context->has_run || extension != nullptr || count != network.outputs.size()) {
    s.violation("rknn_outputs_get: before a run, or of another number of outputs");
    return kOutputInvalid;
  }
  if (context->outputs_taken) s.violation("rknn_outputs_get: the last ones were not released");
  for (uint32_t i = 0; i < count; ++i) {
    TensorAttributes port = network.outputs.at(outputs[i].index);
    port.type = TensorType::f32;
    port.size_with_stride = 0;
    if (outputs[i].wants_float != 1 || outputs[i].is_preallocated != 1 || outputs[i].size != memory_size(port)) {
      s.violation("rknn_outputs_get: the buffer does not fit");
      return kOutputInvalid;
    }
    write_values(port, context->outputs[outputs[i].index], outputs[i].buffer);
  }
  context->outputs_taken = true;
  return kSuccess;
}

EXPORTED int rknn_outputs_release(ContextHandle handle, uint32_t, Output*) {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  const auto context = s.find(handle, "rknn_outputs_release");
  if (!context) return kContextInvalid;
  if (!context->outputs_taken) s.violation("rknn_outputs_release: none were taken");
  context->outputs_taken = false;
  return s.fails() ? -1 : kSuccess;
}

// --- for tests ---

EXPORTED void rknn_standin_reset() {
  Standin& s = standin();
  const std::lock_guard lock(s.mutex);
  s.calls = s.loads = s.most_at_once = s.slow_ms = 0;
  s.fail_after = -1;
  s.cores = 0;
  s.refuse_memory = false;
  s.violations.clear();
  s.api = "2.3.2 (stand-in)";
  s.driver = "0.9.8";
}
EXPORTED void rknn_standin_fail_after(int after) {
  const std::lock_guard lock(standin().mutex);
  standin().fail_after = after;
}
EXPORTED void rknn_standin_refuse_memory(bool refuse) {
  const std::lock_guard lock(standin().mutex);
  standin().refuse_memory = refuse;
}
EXPORTED void rknn_standin_set_versions(const char* api, const char* driver) {
  const std::lock_guard lock(standin().mutex);
  standin().api = api;
  standin().driver = driver;
}
EXPORTED int rknn_standin_calls() {
  const std::lock_guard lock(standin().mutex);
  return standin().calls;
}
EXPORTED const char* rknn_standin_violations() {
  const std::lock_guard lock(standin().mutex);
  return standin().violations.c_str();
}
EXPORTED int rknn_standin_open() {
  const std::lock_guard lock(standin().mutex);
  return static_cast<int>(standin().contexts.size() + standin().blocks.size());
}
EXPORTED int rknn_standin_loads() {
  const std::lock_guard lock(standin().mutex);
  return standin().loads;
}
EXPORTED int rknn_standin_most_at_once() {
  const std::lock_guard lock(standin().mutex);
  return standin().most_at_once;
}
EXPORTED uint32_t rknn_standin_cores() {
  const std::lock_guard lock(standin().mutex);
  return standin().cores;
}
EXPORTED void rknn_standin_slow_down(int ms) {
  const std::lock_guard lock(standin().mutex);
  standin().slow_ms = ms;
}
}
