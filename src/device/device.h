#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device/activation.h"
#include "tensor/host_tensor.h"
#include "tensor/tensor.h"

namespace dreamlab {

// A convolution's window. Height before width; padding of each side on its own, since the VAE's downsampling pads right
// and bottom only.
struct ConvGeometry {
  int64_t kernel = 3;
  int64_t stride = 1;
  int64_t pad_before = 1;  // top and left
  int64_t pad_after = 1;   // bottom and right
  bool enlarges = false;   // its input is usually enlarged to twice its sides first (a hint; 3x3, stride 1)
};

// What follows a matrix product or convolution, fused into it:  activation(scale * (W x + bias) + addend + image_bias)
// + residual. Tensors have the device's compute dtype or f32.
struct Epilogue {
  float scale = 1.0f;
  const Tensor* addend = nullptr;      // shape of the result
  const Tensor* image_bias = nullptr;  // [N, C]: one number per image and channel (the time embedding of a resnet)
  Activation activation = Activation::none;
  const Tensor* residual = nullptr;  // shape of the result
};

// Weights in a device's own packed layout. Made by the device at load; opaque to everyone else.
class LinearWeights {
 public:
  virtual ~LinearWeights() = default;
  int64_t in_features = 0;
  int64_t out_features = 0;
};
class ConvWeights {
 public:
  virtual ~ConvWeights() = default;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  ConvGeometry geometry;
};

struct NormWeights {
  Tensor gamma, beta;  // [C], f32
  float eps = 1e-5f;
};

// Weights that leave a device's memory together, and come back together.
class WeightGroup {
 public:
  virtual ~WeightGroup() = default;
};
enum class WeightGroupKind {
  network,  // used once for a picture: a text encoder, an autoencoder's half
  block,    // used at every step, one after the other
};

// How long the operations of one kind and shape took together.
struct OperationTime {
  std::string name;  // "product 4096x640x5120"
  int64_t calls = 0;
  double ms = 0;
  double operations = 0;  // floating-point ones
  double bytes = 0;       // that have to be read and written
};

// Memory of a device with its own, in bytes.
struct DeviceMemory {
  size_t total = 0, free = 0;                                          // as the driver says: others use it, too
  size_t limit = 0;                                                    // that may be held here; 0: all
  size_t weights = 0, activations = 0, recordings = 0, workspace = 0;  // held, in use or kept for the next time
  size_t peak = 0;                                                     // most that was held at once
  size_t held() const { return weights + activations + recordings + workspace; }
};

struct Size {
  int64_t width = 0;
  int64_t height = 0;
  bool operator==(const Size&) const = default;
};

// Memory and the fused operations of one device. Every operation allocates its result (from the device's pool: no
// allocation reaches the system once a shape has been seen) and is deterministic: a result element depends neither on
// the number of threads nor on the other images in the batch. One thread uses a Device at a time. Shapes are checked; a
// mismatch throws Error(internal).
class Device {
 public:
  virtual ~Device() = default;

  // "cpu, AVX-512, 2 threads, f32"
  virtual std::string description() const = 0;
  // The dtype of activations: f32, bf16 or f16.
  virtual DType compute_dtype() const = 0;

  // --- memory ---
  // Gives back memory that is kept for the next time.
  virtual void trim() {}
  // Waits until the results of all operations are there.
  virtual void synchronize() {}
  // Uninitialised memory of this device.
  virtual Tensor empty(Shape shape, DType dtype) = 0;
  // Host values to the device, converted to `dtype`.
  virtual Tensor upload(std::span<const float> values, Shape shape, DType dtype) = 0;
  Tensor upload(std::span<const float> values, Shape shape) { return upload(values, shape, compute_dtype()); }
  virtual Tensor upload(const HostTensor& values, DType dtype) = 0;
  // Waits for all work on `tensor` and returns its values. Accepts column views.
  virtual std::vector<float> download(const Tensor& tensor) = 0;
  // The same as bytes, by to_pixel. Devices that can tell throw Error(internal) where a value is not finite: numbers
  // too large for the compute dtype must not become black pictures.
  virtual std::vector<uint8_t> download_pixels(const Tensor& tensor);
  // Another dtype; the same tensor where it already has it.
  virtual Tensor cast(const Tensor& tensor, DType dtype) = 0;

  // --- weights ---
  // weight [out, in]; bias [out] or null.
  virtual std::unique_ptr<LinearWeights> pack_linear(const HostTensor& weight, const HostTensor* bias) = 0;
  // The projection of a GEGLU: weight [2 * inner, in], the upper half being the gate. For linear_geglu alone.
  virtual std::unique_ptr<LinearWeights> pack_geglu(const HostTensor& weight, const HostTensor* bias) = 0;
  // weight [out, in, kernel, kernel]; bias [out] or null.
  virtual std::unique_ptr<ConvWeights> pack_conv(const HostTensor& weight, const HostTensor* bias,
                                                 ConvGeometry geometry) = 0;

  // Weights that are packed until end_group() form a group, where the device lets weights of that kind leave; else, and
  // inside of another group, null: they stay.
  virtual std::shared_ptr<WeightGroup> begin_group(WeightGroupKind) { return nullptr; }
  // The group's weights leave.
  virtual void end_group() {}
  // Ends a group whose packing failed.
  virtual void drop_group() noexcept {}
  // Brings the weights of a group, for what follows until leave_group().
  virtual void enter_group(WeightGroup&) {}
  virtual void leave_group(WeightGroup&) noexcept {}

  // --- operations ---
  // x [..., in] to [..., out].
  virtual Tensor linear(const Tensor& x, const LinearWeights& weights, const Epilogue& epilogue = {}) = 0;
  // x [..., in] to [..., inner]:  h * gelu(g)  where [h, g] = x W^T + bias + addend; addend, where given, is [..., 2 *
  // inner].
  virtual Tensor linear_geglu(const Tensor& x, const LinearWeights& weights, const Tensor* addend = nullptr) = 0;
  // x [N, H, W, Cin] to [N, H', W', Cout]. `upsample_to` first enlarges x to that size by nearest neighbour, without
  // storing it.
  virtual Tensor conv2d(const Tensor& x, const ConvWeights& weights, const Epilogue& epilogue = {},
                        std::optional<Size> upsample_to = std::nullopt) = 0;
  // softmax(q k^T / sqrt(head size)) v for q [N, Tq, heads * D], k and v [N, Tk, heads * D]; accepts column views of a
  // fused projection. Never stores the score matrix. causal: token i sees tokens 0..i.
  virtual Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, bool causal = false) = 0;
  // x [N, H, W, C] or [N, T, C]; statistics per image and group in f32, then gamma, beta and the activation. Where x is
  // given away and nobody else holds it, the result may take its place.
  virtual Tensor group_norm(Tensor x, const NormWeights& norm, int64_t groups,
                            Activation activation = Activation::none) = 0;
  // Over the last dimension.
  virtual Tensor layer_norm(const Tensor& x, const NormWeights& norm) = 0;
  // [.., A] and [.., B] to [.., A + B]
  virtual Tensor concat_channels(const Tensor& a, const Tensor& b) = 0;
  // a + scale * b
  virtual Tensor add(const Tensor& a, const Tensor& b, float scale = 1.0f) = 0;
  virtual Tensor activate(const Tensor& x, Activation activation) = 0;
  // ids [images * tokens] to [images, tokens, C]: table[id] + positions[token]. Tables are [.., C] in any floating
  // dtype of this device.
  virtual Tensor embed_tokens(std::span<const int32_t> ids, int64_t images, const Tensor& table,
                              const Tensor& positions) = 0;

  // --- repetition ---
  // work(inputs). What is done again and again with tensors of the same shapes may be recorded and repeated without the
  // host's part in it. So `work` must do the same operations whenever `key` and shapes are the same, on the inputs and
  // on tensors that live as long as the device, and must not upload or download.
  using Work = std::function<Tensor(std::span<const Tensor> inputs)>;
  virtual Tensor repeat(const std::string& key, std::span<const Tensor> inputs, const Work& work);
  // A number that this device gives once, for keys.
  uint64_t new_id() { return next_id_++; }

  // The same memory, but another compute dtype: tensors of one may be given to the other. Throws Error(unsupported).
  virtual std::unique_ptr<Device> with_dtype(DType dtype);

  // --- accounting ---
  // Floating-point operations (2 per multiply-add, as direct convolution counts them) issued since the device was made.
  virtual uint64_t operations_issued() const = 0;
  // nullopt: its memory is the host's. May be called from any thread.
  virtual std::optional<DeviceMemory> memory() const { return std::nullopt; }
  // Times each operation until end_profile(), the longest first there; a device that cannot gives nothing.
  virtual void begin_profile() {}
  virtual std::vector<OperationTime> end_profile() { return {}; }
  // Tells that so many bytes of activations will be in use at once: a device may then have them in one piece.
  virtual void expect_activations(size_t) {}
  // Most bytes of activations held at once since the last reset.
  virtual size_t peak_activation_bytes() const = 0;
  virtual void reset_peak() = 0;

 private:
  uint64_t next_id_ = 0;
};

struct CpuOptions {
  int threads = 0;  // 0: one per processor
  // f32 or bf16; unset: bf16 where the processor multiplies it natively, else f32.
  std::optional<DType> dtype;
  size_t memory_limit = 0;  // bytes that activations may take; 0: what there is
};
std::unique_ptr<Device> make_cpu_device(const CpuOptions& options = {});
// Whether this processor has native bf16 products (AVX512-BF16, AMX or Arm BF16).
bool cpu_has_bf16();

}  // namespace dreamlab
