#include "device/rknn/rknn_model.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "device/rknn/rknn_layout.h"

namespace dreamlab::rknn {

namespace fs = std::filesystem;

// Owns a handle. The mutex is for what touches a context from a thread that does not work with it: sharing its weights.
class Model::Context {
 public:
  static std::shared_ptr<Context> load(const std::shared_ptr<const Runtime>& runtime, const fs::path& file) {
    const auto context = std::shared_ptr<Context>(new Context(runtime));
    std::string path = file.string();
    context->check(runtime->functions().init(&context->handle_, path.data(), 0, 0, nullptr), "loading the model");
    context->is_open_ = true;
    SdkVersion version{};
    context->check(runtime->functions().query(context->handle_, Query::sdk_version, &version, sizeof(version)),
                   "asking for its version");
    check_versions(version);
    return context;
  }
  std::shared_ptr<Context> share() {
    const std::lock_guard lock(mutex_);
    const auto context = std::shared_ptr<Context>(new Context(runtime_));
    check(runtime_->functions().dup_context(&handle_, &context->handle_), "sharing the model's weights");
    context->is_open_ = true;
    return context;
  }
  ~Context() {
    if (is_open_) runtime_->functions().destroy(handle_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // What function(functions, handle) returns, called while nobody else uses the context.
  template <typename Function>
  auto use(const Function& function) {
    const std::lock_guard lock(mutex_);
    return function(runtime_->functions(), handle_);
  }
  // The same for one that returns a code.
  template <typename Function>
  void call(const char* what, const Function& function) {
    check(use(function), what);
  }

 private:
  explicit Context(std::shared_ptr<const Runtime> runtime) : runtime_(std::move(runtime)) {}
  void check(int code, const char* what) const { runtime_->check(code, what); }

  std::shared_ptr<const Runtime> runtime_;
  ContextHandle handle_ = 0;
  bool is_open_ = false;
  std::mutex mutex_;
};

namespace {

// The port that an attribute describes.
Port port_of(const TensorAttributes& attributes, const fs::path& file) {
  Port port;
  port.name.assign(attributes.name, strnlen(attributes.name, kMaxName));
  if (attributes.dim_count > kMaxDims)
    fail(ErrorKind::invalid_file, "{}: its port {} says that it has {} dimensions", file.string(), port.name,
         attributes.dim_count);
  port.dims.assign(attributes.dims, attributes.dims + attributes.dim_count);
  port.format = attributes.format;
  port.type = attributes.type;
  port.elements = attributes.elements;
  int64_t product = 1;
  for (const int64_t side : port.dims) product *= side;
  if (product != port.elements || product <= 0)
    fail(ErrorKind::invalid_file, "{}: its port {} of [{}] says that it has {} elements", file.string(), port.name,
         fmt::join(port.dims, ", "), port.elements);
  if (port.is_picture() && port.format != TensorFormat::nchw && port.format != TensorFormat::nhwc)
    fail(ErrorKind::invalid_file, "{}: the layout {} of its port {} is not known here; NCHW and NHWC are",
         file.string(), static_cast<int>(port.format), port.name);
  size_of(port.type);  // that it is known
  return port;
}

// What is quantized comes and goes as f32, which the runtime converts.
void prefer_floats(TensorAttributes& attributes) {
  attributes.pass_through = 0;
  if (attributes.quantization == Quantization::none) return;
  attributes.type = TensorType::f32;
  attributes.width_stride = 0;
  attributes.size = attributes.size_with_stride = attributes.elements * static_cast<uint32_t>(sizeof(float));
}

std::vector<std::string> names_of(const std::vector<Port>& ports) {
  std::vector<std::string> names;
  for (const Port& port : ports) names.push_back(port.name);
  return names;
}

}  // namespace

std::unique_ptr<Model> Model::load(std::shared_ptr<const Runtime> runtime, const fs::path& file, CoreMask cores) {
  static std::mutex mutex;
  static std::map<fs::path, std::weak_ptr<Context>> loaded;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) fail(ErrorKind::unavailable, "{}: no such file", file.string());

  std::unique_ptr<Model> model(new Model);
  model->file_ = file;
  model->runtime_ = std::move(runtime);
  {
    const std::lock_guard lock(mutex);
    std::weak_ptr<Context>& known = loaded[fs::weakly_canonical(file, error)];
    model->first_ = known.lock();
    if (!model->first_) known = model->first_ = model->context_ = Context::load(model->runtime_, file);
  }
  if (!model->context_) model->context_ = model->first_->share();
  model->choose_cores(cores);
  model->describe();
  model->shares_memory_ = model->share_memory();
  if (!model->shares_memory_) {
    log::warn("{}: the NPU's runtime shares no memory (/dev/dma_heap must be readable); it copies instead",
              file.string());
    // What is bound to memory in part is of no use.
    model->context_ = model->first_->share();
    model->choose_cores(cores);
    for (TensorAttributes& attributes : model->input_attributes_) {
      attributes.width_stride = 0;  // what is copied is dense
      attributes.size_with_stride = attributes.size;
      model->input_bytes_.emplace_back(memory_size(attributes));
    }
    for (const TensorAttributes& attributes : model->output_attributes_)
      model->output_bytes_.emplace_back(attributes.elements * sizeof(float));
  }
  return model;
}

Model::~Model() {
  release_memory();
}

void Model::release_memory() {
  for (std::vector<Memory*>* blocks : {&input_memory_, &output_memory_}) {
    for (Memory* const memory : *blocks)
      context_->use([&](const Functions& functions, ContextHandle handle) { functions.destroy_mem(handle, memory); });
    blocks->clear();
  }
}

void Model::choose_cores(CoreMask cores) {
  if (cores == CoreMask::automatic) return;
  context_->call("choosing its core", [&](const Functions& functions, ContextHandle handle) {
    return functions.set_core_mask(handle, cores);
  });
}

void Model::describe() {
  InputOutputCount count{};
  context_->call("asking for its ports", [&](const Functions& functions, ContextHandle handle) {
    return functions.query(handle, Query::in_out_num, &count, sizeof(count));
  });
  const auto describe = [&](Query what, uint32_t ports, std::vector<TensorAttributes>& attributes,
                            std::vector<Port>& described) {
    for (uint32_t i = 0; i < ports; ++i) {
      TensorAttributes port{};
      port.index = i;
      context_->call("asking for a port", [&](const Functions& functions, ContextHandle handle) {
        return functions.query(handle, what, &port, sizeof(port));
      });
      described.push_back(port_of(port, file_));
      prefer_floats(port);
      attributes.push_back(port);
    }
  };
  describe(Query::input_attr, count.inputs, input_attributes_, inputs_);
  describe(Query::output_attr, count.outputs, output_attributes_, outputs_);
  if (inputs_.empty() || outputs_.empty())
    fail(ErrorKind::invalid_file, "{}: it has {} inputs and {} outputs", file_.string(), inputs_.size(),
         outputs_.size());
}

// Whether all ports have memory that the NPU shares. Where one cannot have it, none keeps it.
bool Model::share_memory() {
  const auto share = [&](std::vector<TensorAttributes>& ports, std::vector<Memory*>& blocks) {
    return std::all_of(ports.begin(), ports.end(), [&](TensorAttributes& port) {
      return context_->use([&](const Functions& functions, ContextHandle handle) {
        Memory* const memory = functions.create_mem(handle, static_cast<uint32_t>(memory_size(port)));
        if (memory == nullptr) return false;
        blocks.push_back(memory);
        return functions.set_io_mem(handle, memory, &port) == kSuccess;
      });
    });
  };
  if (share(input_attributes_, input_memory_) && share(output_attributes_, output_memory_)) return true;
  release_memory();
  return false;
}

bool Model::has_input(std::string_view name) const {
  for (const Port& port : inputs_)
    if (port.name == name) return true;
  return false;
}

size_t Model::input(std::string_view name) const {
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (inputs_[i].name == name) return i;
  fail(ErrorKind::invalid_file, "{}: it has no input {}; its inputs are {}", file_.string(), name,
       fmt::join(names_of(inputs_), ", "));
}

void Model::write(size_t input, std::span<const float> values) {
  void* const to = shares_memory_ ? input_memory_[input]->address : input_bytes_[input].data();
  write_values(input_attributes_[input], values, to);
}

void Model::run() {
  if (shares_memory_) {
    for (Memory* const memory : input_memory_)
      context_->call("handing over an input", [&](const Functions& functions, ContextHandle handle) {
        return functions.mem_sync(handle, memory, MemorySync::to_device);
      });
    context_->call("computing",
                   [](const Functions& functions, ContextHandle handle) { return functions.run(handle, nullptr); });
    for (Memory* const memory : output_memory_)
      context_->call("taking an output", [&](const Functions& functions, ContextHandle handle) {
        return functions.mem_sync(handle, memory, MemorySync::from_device);
      });
    return;
  }
  std::vector<Input> inputs(inputs_.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorAttributes& port = input_attributes_[i];
    inputs[i] = {port.index, input_bytes_[i].data(), static_cast<uint32_t>(input_bytes_[i].size()), 0, port.type,
                 port.format};
  }
  context_->call("handing over the inputs", [&](const Functions& functions, ContextHandle handle) {
    return functions.inputs_set(handle, static_cast<uint32_t>(inputs.size()), inputs.data());
  });
  context_->call("computing",
                 [](const Functions& functions, ContextHandle handle) { return functions.run(handle, nullptr); });
  std::vector<Output> outputs(outputs_.size());
  for (size_t i = 0; i < outputs.size(); ++i)
    outputs[i] = {1, 1, output_attributes_[i].index, output_bytes_[i].data(),
                  static_cast<uint32_t>(output_bytes_[i].size())};
  context_->call("taking the outputs", [&](const Functions& functions, ContextHandle handle) {
    return functions.outputs_get(handle, static_cast<uint32_t>(outputs.size()), outputs.data(), nullptr);
  });
  context_->call("taking the outputs", [&](const Functions& functions, ContextHandle handle) {
    return functions.outputs_release(handle, static_cast<uint32_t>(outputs.size()), outputs.data());
  });
}

std::vector<float> Model::read(size_t output) const {
  TensorAttributes port = output_attributes_[output];
  if (shares_memory_) return read_values(port, output_memory_[output]->address);
  port.type = TensorType::f32;  // as was asked for
  port.width_stride = 0;
  return read_values(port, output_bytes_[output].data());
}

}  // namespace dreamlab::rknn
