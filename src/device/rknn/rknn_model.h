#pragma once

// A model that was compiled for the NPU (.rknn), ready to run on a core of it.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/rknn/rknn_runtime.h"

namespace dreamlab::rknn {

// An input or output as the model declares it.
struct Port {
  std::string name;
  std::vector<int64_t> dims;  // as declared: [N, C, H, W] or [N, H, W, C] for a picture
  TensorFormat format = TensorFormat::undefined;
  TensorType type = TensorType::f32;
  int64_t elements = 0;

  bool is_picture() const { return dims.size() == 4; }
  // Of a picture.
  int64_t height() const { return dims[format == TensorFormat::nhwc ? 1 : 2]; }
  int64_t width() const { return dims[format == TensorFormat::nhwc ? 2 : 3]; }
  int64_t channels() const { return dims[format == TensorFormat::nhwc ? 3 : 1]; }
};

// One context of the runtime. One thread at a time works with it; models of one file may be in different threads.
// Tensors go in and out as values with channels last, whatever the model declares.
class Model {
 public:
  // The first of a file loads it, those that follow while one of them lives share its weights. Throws Error:
  // unavailable (no such file, or the runtime refuses), invalid_file (ports that cannot be used).
  static std::unique_ptr<Model> load(std::shared_ptr<const Runtime> runtime, const std::filesystem::path& file,
                                     CoreMask cores);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // One at least, each.
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  // The index of an input. Throws Error(invalid_file), which names those that there are.
  size_t input(std::string_view name) const;
  bool has_input(std::string_view name) const;

  // Values of any port's type: whole numbers are rounded. Throws Error(internal) for another number of them.
  void write(size_t input, std::span<const float> values);
  // Throws Error, one line, where the runtime fails.
  void run();
  // After run(). [N, H, W, C] of a picture.
  std::vector<float> read(size_t output) const;

  const std::filesystem::path& file() const { return file_; }
  // Whether inputs and outputs lie in memory that the NPU shares; else the runtime copies them.
  bool shares_memory() const { return shares_memory_; }

 private:
  class Context;

  Model() = default;
  void choose_cores(CoreMask cores);
  void describe();
  bool share_memory();
  void release_memory();

  std::filesystem::path file_;
  std::shared_ptr<const Runtime> runtime_;
  std::shared_ptr<Context> first_;  // whose weights these are
  std::shared_ptr<Context> context_;
  std::vector<TensorAttributes> input_attributes_, output_attributes_;
  std::vector<Port> inputs_, outputs_;
  bool shares_memory_ = false;
  std::vector<Memory*> input_memory_, output_memory_;             // shared with the NPU
  std::vector<std::vector<uint8_t>> input_bytes_, output_bytes_;  // where it is not
};

}  // namespace dreamlab::rknn
