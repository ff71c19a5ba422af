#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "device/cuda/convolution.h"
#include "device/cuda/cuda_context.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/hopper_attention.h"
#include "device/cuda/hopper_group_norm.h"
#include "device/cuda/hopper_product.h"
#include "device/cuda/kernels.h"
#include "device/cuda/matmul.h"
#include "device/cuda/profile.h"
#include "device/cuda/recordings.h"
#include "device/cuda/sdpa.h"
#include "device/cuda/weight_groups.h"
#include "device/shape_checks.h"

namespace dreamlab::cuda {
namespace {

struct CudaLinearWeights : LinearWeights {
  std::shared_ptr<PackedBytes> matrix;  // [out, in] in the compute dtype
  std::shared_ptr<PackedBytes> bias;    // [out] in the compute dtype; null: none
  bool interleaved = false;             // of a GEGLU: eight rows of h, eight of the gate, and so on
};

// Filters [padded out, kernel, kernel, in] in the compute dtype. cuDNN's fast kernels want multiples of eight channels:
// the few outputs of a last convolution are padded with zeros.
struct CudaConvWeights : ConvWeights {
  std::shared_ptr<PackedBytes> filters;
  std::shared_ptr<PackedBytes> bias;  // [padded out] in the compute dtype; null: none
  std::shared_ptr<PackedBytes> sums;  // of filters, for a picture enlarged to twice its sides; null: none
  int64_t padded_out = 0;
};

constexpr int64_t kChannelMultiple = 8;
// What pixels gathered for a convolution may take.
constexpr size_t kGathered = size_t{64} << 20;
// What scores of an attention without a fused kernel may take, in f32. With fewer queries at a time than 512 of SDXL's
// VAE, the products have too few tiles: ten times as long.
constexpr size_t kScores = size_t{128} << 20, kScoresOfSlice = size_t{32} << 20;

int64_t rounded_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

Elements elements(const Tensor& tensor) {
  return {tensor.data(), tensor.dtype()};
}
Elements elements(const Tensor* tensor) {
  return tensor == nullptr ? Elements{} : elements(*tensor);
}
MutableElements mutable_elements(const Tensor& tensor) {
  return {tensor.data(), tensor.dtype()};
}
const void* at_byte(const void* data, size_t bytes) {
  return static_cast<const char*>(data) + bytes;
}
void* at_byte(void* data, size_t bytes) {
  return static_cast<char*>(data) + bytes;
}

const void* data_of(const std::shared_ptr<PackedBytes>& packed) {
  return packed == nullptr ? nullptr : packed->get();
}

int64_t images_of(const Tensor& x) {
  return x.shape().rank() < 2 ? 1 : x.dim(0);
}

// What one GPU's devices of several dtypes share.
struct Gpu {
  explicit Gpu(const CudaOptions& options)
      : context(options.device, options.memory_limit), weights(context, options.offload) {}
  CudaContext context;
  WeightGroups weights;
  Matmul matmul{context.cublas()};
  Convolutions convolutions{context.cudnn()};
  Sdpa sdpa{context.cudnn()};
  Recordings recordings{context};
  Profile profile{context.stream()};
  // Whether the kernels for this architecture are used.
  const bool is_hopper = context.properties().major == 9 && has_hopper_kernels();
  uint64_t operations = 0;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<Gpu> gpu, const CudaOptions& options)
      : gpu_(std::move(gpu)), context_(gpu_->context), options_(options), dtype_(options.dtype) {
    if (dtype_ != DType::f16 && dtype_ != DType::bf16 && dtype_ != DType::f32)
      fail(ErrorKind::unsupported, "a GPU computes in f16, bf16 or f32, not in {}", name_of(dtype_));
    if (dtype_ == DType::bf16 && context_.properties().major < 8)
      fail(ErrorKind::unsupported, "{} does not compute in bf16", context_.name());
  }
  ~CudaDevice() override {
    // Weights go with the models; recordings may hold the last tensors of theirs.
    gpu_->recordings.clear();
  }

  std::string description() const override {
    return fmt::format("cuda:{}, {}, {}", options_.device, context_.name(), name_of(dtype_));
  }
  DType compute_dtype() const override { return dtype_; }

  std::unique_ptr<Device> with_dtype(DType dtype) override {
    CudaOptions options = options_;
    options.dtype = dtype;
    return std::make_unique<CudaDevice>(gpu_, options);
  }

  // --- memory ---
  void trim() override {
    context_.make_current();
    gpu_->recordings.clear();
    context_.trim();
  }
  void synchronize() override {
    context_.make_current();
    context_.synchronize();
  }

  Tensor empty(Shape shape, DType dtype) override {
    context_.make_current();
    std::shared_ptr<void> memory = context_.allocate(static_cast<size_t>(shape.elements()) * size_of(dtype));
    void* const data = memory.get();
    return Tensor(std::move(memory), data, shape, dtype);
  }

  Tensor upload(std::span<const float> values, Shape shape, DType dtype) override {
    if (static_cast<int64_t>(values.size()) != shape.elements())
      fail(ErrorKind::internal, "{} values for a tensor of shape {}", values.size(), shape.to_string());
    return upload_bytes(values.data(), DType::f32, shape, dtype);
  }
  Tensor upload(const HostTensor& values, DType dtype) override {
    return upload_bytes(values.data, values.dtype, values.shape, dtype);
  }

  std::vector<float> download(const Tensor& tensor) override {
    Tensor dense = tensor;
    if (tensor.dtype() != DType::f32 || !tensor.contiguous()) {
      dense = empty(tensor.shape(), DType::f32);
      convert_rows(elements(tensor), tensor.row_stride(), tensor.rows(), tensor.channels(), mutable_elements(dense),
                   stream());
      check_launch("converting");
    }
    std::vector<float> out(static_cast<size_t>(tensor.elements()));
    copy_out(dense.data(), out.size() * sizeof(float), out.data());
    return out;
  }

  std::vector<uint8_t> download_pixels(const Tensor& tensor) override {
    if (!tensor.contiguous()) fail(ErrorKind::internal, "pixels of a column view");
    const int64_t count = tensor.elements();
    // The number of values that are not finite, then the pixels.
    constexpr int64_t kHeader = 16;
    const Tensor bytes = empty(Shape{kHeader + count}, DType::u8);
    check(cudaMemsetAsync(bytes.data(), 0, kHeader, stream()), "clearing");
    to_pixels(elements(tensor), count, bytes.as<uint8_t>() + kHeader, bytes.as<unsigned>(), stream());
    check_launch("to_pixels");
    const size_t size = static_cast<size_t>(kHeader + count);
    const auto* const landed = static_cast<const uint8_t*>(land(bytes.data(), size));
    unsigned not_finite = 0;
    std::memcpy(&not_finite, landed, sizeof not_finite);
    if (not_finite > 0)
      fail(ErrorKind::internal, "{} of the picture's {} values are not finite in {}; another precision may hold them",
           not_finite, count, name_of(tensor.dtype()));
    return {landed + kHeader, landed + size};
  }

  Tensor cast(const Tensor& tensor, DType dtype) override {
    if (tensor.dtype() == dtype) return tensor;
    Tensor out = empty(tensor.shape(), dtype);
    convert_rows(elements(tensor), tensor.row_stride(), tensor.rows(), tensor.channels(), mutable_elements(out),
                 stream());
    check_launch("converting");
    return out;
  }

  // --- weights ---
  std::unique_ptr<LinearWeights> pack_linear(const HostTensor& weight, const HostTensor* bias) override {
    check_linear_weight(weight);
    auto out = std::make_unique<CudaLinearWeights>();
    out->out_features = weight.shape[0];
    out->in_features = weight.shape[1];
    out->matrix = upload_weights(weight, dtype_);
    if (bias != nullptr) out->bias = upload_weights(*bias, dtype_);
    return out;
  }
  std::unique_ptr<LinearWeights> pack_geglu(const HostTensor& weight, const HostTensor* bias) override {
    check_geglu_weight(weight);
    auto out = pack_linear(weight, bias);
    auto& w = static_cast<CudaLinearWeights&>(*out);
    w.interleaved = on_hopper() && w.in_features % kChannelMultiple == 0 && w.out_features % 16 == 0;
    if (w.interleaved) {
      interleave(*w.matrix, w.out_features / 2, static_cast<size_t>(w.in_features) * size_of(dtype_));
      if (w.bias != nullptr) interleave(*w.bias, w.out_features / 2, size_of(dtype_));
    }
    return out;
  }

  std::unique_ptr<ConvWeights> pack_conv(const HostTensor& weight, const HostTensor* bias,
                                         ConvGeometry geometry) override {
    check_conv_weight(weight, geometry);
    auto out = std::make_unique<CudaConvWeights>();
    out->out_channels = weight.shape[0];
    out->in_channels = weight.shape[1];
    out->geometry = geometry;
    out->padded_out = rounded_up(out->out_channels, kChannelMultiple);
    const int64_t taps = geometry.kernel * geometry.kernel;
    const Tensor staged = stage(weight);
    out->filters =
        gpu_->weights.allocate(static_cast<size_t>(out->padded_out * taps * out->in_channels) * size_of(dtype_));
    reorder_filters(elements(staged), out->out_channels, out->in_channels, taps, out->padded_out,
                    {out->filters->get(), dtype_}, stream());
    check_launch("packing filters");
    if (geometry.enlarges && on_hopper() && geometry.kernel == 3 && geometry.stride == 1 && geometry.pad_before == 1 &&
        out->padded_out == out->out_channels) {
      out->sums =
          gpu_->weights.allocate(static_cast<size_t>(16 * out->out_channels * out->in_channels) * size_of(dtype_));
      sum_filters(elements(staged), out->out_channels, out->in_channels, {out->sums->get(), dtype_}, stream());
      check_launch("summing filters");
    }
    if (bias != nullptr) {
      const Tensor staged_bias = stage(*bias);
      out->bias = gpu_->weights.allocate(static_cast<size_t>(out->padded_out) * size_of(dtype_));
      // As filters of one input: the padding becomes zero.
      reorder_filters(elements(staged_bias), out->out_channels, 1, 1, out->padded_out, {out->bias->get(), dtype_},
                      stream());
      check_launch("packing a bias");
    }
    return out;
  }

  std::shared_ptr<WeightGroup> begin_group(WeightGroupKind kind) override { return gpu_->weights.begin(kind); }
  void end_group() override { gpu_->weights.end(); }
  void drop_group() noexcept override { gpu_->weights.drop(); }
  void enter_group(WeightGroup& group) override { gpu_->weights.enter(static_cast<CudaWeightGroup&>(group)); }
  void leave_group(WeightGroup& group) noexcept override { gpu_->weights.leave(static_cast<CudaWeightGroup&>(group)); }

  // --- operations ---
  Tensor linear(const Tensor& x, const LinearWeights& weights, const Epilogue& epilogue) override {
    const auto& w = static_cast<const CudaLinearWeights&>(weights);
    if (x.channels() != w.in_features)
      fail(ErrorKind::internal, "linear: {} channels for weights of {}", x.channels(), w.in_features);
    const Tensor source = operand(x);
    Shape shape = x.shape();
    shape.set(-1, w.out_features);
    Tensor out = empty(shape, dtype_);
    const int64_t rows = x.rows();
    gpu_->operations += static_cast<uint64_t>(2 * rows * w.in_features * w.out_features);
    finish_product(epilogue, w.bias != nullptr, out, [&](const Tensor* addend, bool bias, const Tensor& result) {
      multiply(source.data(), rows, rows / images_of(x), w.in_features, w.matrix->get(), w.out_features,
               bias ? w.bias->get() : nullptr, addend, result);
    });
    return out;
  }

  Tensor linear_geglu(const Tensor& x, const LinearWeights& weights, const Tensor* addend) override {
    const auto& w = static_cast<const CudaLinearWeights&>(weights);
    Shape shape = x.shape();
    shape.set(-1, w.out_features / 2);
    Epilogue epilogue;
    epilogue.addend = addend;
    if (w.interleaved) {
      Tensor out = empty(shape, dtype_);
      if (x.channels() != w.in_features)
        fail(ErrorKind::internal, "linear_geglu: {} channels for weights of {}", x.channels(), w.in_features);
      const Tensor source = operand(x);
      const Tensor more = addend == nullptr ? Tensor() : operand(*addend);
      if (addend != nullptr) epilogue.addend = &more;
      HopperProduct product = rows_product(source, w, out);
      product.geglu = true;
      gpu_->operations += static_cast<uint64_t>(2 * x.rows() * w.in_features * w.out_features);
      if (multiply_on_hopper(product, epilogue)) return out;
      fail(ErrorKind::internal, "linear_geglu: no kernel for an input at an odd address");
    }
    const Tensor both = linear(x, weights, epilogue);
    Tensor out = empty(shape, dtype_);
    const auto span = timed("geglu", out, 3 * bytes_of(out));
    geglu(elements(both), out.rows(), out.channels(), mutable_elements(out), stream());
    check_launch("geglu");
    return out;
  }

  Tensor conv2d(const Tensor& input, const ConvWeights& weights, const Epilogue& epilogue,
                std::optional<Size> upsample_to) override {
    const auto& w = static_cast<const CudaConvWeights&>(weights);
    const Size size{input.dim(2), input.dim(1)}, seen = upsample_to.value_or(size);
    Tensor out = empty(convolved_shape(input, seen, w), dtype_);
    const Tensor source = operand(input);
    const int64_t kernel = w.geometry.kernel;
    gpu_->operations += static_cast<uint64_t>(2 * kernel * kernel * w.in_channels * out.elements());
    const bool doubled = seen.width == 2 * size.width && seen.height == 2 * size.height;
    if (doubled && w.sums != nullptr && convolve_on_hopper(source, w, epilogue, out, true)) return out;
    const Tensor x = seen == size ? source : enlarged(source, seen);
    if (convolve_on_hopper(x, w, epilogue, out, false)) return out;
    if (convolve_fused(x, w, epilogue, out)) return out;

    // The product alone, with as many channels as there are filters, and the rest in a pass of its own.
    const Tensor product =
        w.padded_out == w.out_channels ? out : empty(Shape{x.dim(0), out.dim(1), out.dim(2), w.padded_out}, dtype_);
    if (!convolve_plain(x, w, product)) convolve_by_columns(x, w, product);
    finish_pass(product, epilogue, data_of(w.bias), out);
    return out;
  }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, bool causal) override {
    check_attention(q, k, v, heads);
    require_fit(!causal || q.dim(1) == k.dim(1), "causal attention", q, k);
    const Tensor queries = operand(q), keys = operand(k), values = operand(v);
    Tensor out = empty(q.shape(), dtype_);
    gpu_->operations += static_cast<uint64_t>(4 * q.elements() * k.dim(1));
    const SdpaProblem problem{.dtype = dtype_,
                              .images = q.dim(0),
                              .heads = heads,
                              .head_size = q.dim(2) / heads,
                              .queries = q.dim(1),
                              .keys = k.dim(1),
                              .q_stride = queries.row_stride(),
                              .k_stride = keys.row_stride(),
                              .v_stride = values.row_stride(),
                              .causal = causal};
    const auto span = gpu_->profile.time(
        [&] {
          return fmt::format("attention {}x{}x{} to {}", problem.queries, heads, problem.head_size, problem.keys);
        },
        static_cast<double>(4 * q.elements() * k.dim(1)), bytes_of(out) * 2 + bytes_of(keys) * 2);
    const bool fused = dtype_ != DType::f32 && options_.flash_attention && !options_.slice_attention;
    if (fused && attend_on_hopper(problem, queries, keys, values, out)) return out;
    if (fused && gpu_->sdpa.supports(problem))
      gpu_->sdpa.run(problem, queries.data(), keys.data(), values.data(), out.data(),
                     context_.workspace(gpu_->sdpa.workspace_bytes(problem)));
    else
      attend_in_slices(problem, queries, keys, values, out);
    return out;
  }

  Tensor group_norm(Tensor x, const NormWeights& norm, int64_t groups, Activation activation) override {
    if (activation != Activation::none && activation != Activation::silu)
      return activate(group_norm(std::move(x), norm, groups, Activation::none), activation);
    require_fit(norm.gamma.elements() == x.channels() && x.channels() % groups == 0, "group_norm", x, norm.gamma);
    const bool in_place = x.unique() && x.dtype() == dtype_;
    const Tensor source = operand(x);
    Tensor out = in_place ? x : empty(x.shape(), dtype_);
    const NormArgs args = norm_args(source, norm, out);
    if (on_hopper() && hopper_supports_group_norm(args, groups)) {
      const auto span = timed("group_norm", out, 2 * bytes_of(out));
      hopper_group_norm(args, groups, activation, stream());
      return out;
    }
    const Tensor scratch = empty(Shape{group_norm_scratch(args, groups)}, DType::f32);
    const auto span = timed("group_norm", out, 3 * bytes_of(out));
    cuda::group_norm(args, groups, activation, scratch.as<float>(), context_.counters(args.images), stream());
    check_launch("group_norm");
    return out;
  }

  Tensor layer_norm(const Tensor& x, const NormWeights& norm) override {
    require_fit(norm.gamma.elements() == x.channels(), "layer_norm", x, norm.gamma);
    const Tensor source = operand(x);
    Tensor out = empty(x.shape(), dtype_);
    const auto span = timed("layer_norm", out, 2 * bytes_of(out));
    cuda::layer_norm(norm_args(source, norm, out), stream());
    check_launch("layer_norm");
    return out;
  }

  Tensor concat_channels(const Tensor& a, const Tensor& b) override {
    require_fit(a.rows() == b.rows() && a.dtype() == b.dtype(), "concat_channels", a, b);
    Shape shape = a.shape();
    shape.set(-1, a.channels() + b.channels());
    Tensor out = empty(shape, a.dtype());
    const auto size = static_cast<int64_t>(size_of(a.dtype()));
    const auto span = timed("concat_channels", out, 2 * bytes_of(out));
    concat_rows(a.data(), a.channels() * size, b.data(), b.channels() * size, a.rows(), out.data(), stream());
    check_launch("concat_channels");
    return out;
  }

  Tensor add(const Tensor& a, const Tensor& b, float scale) override {
    require_fit(a.shape() == b.shape(), "add", a, b);
    Tensor out = empty(a.shape(), a.dtype());
    const auto span = timed("add", out, 3 * bytes_of(out));
    add_scaled(elements(a), elements(b), scale, a.elements(), mutable_elements(out), stream());
    check_launch("add");
    return out;
  }

  Tensor activate(const Tensor& x, Activation activation) override {
    Tensor out = empty(x.shape(), x.dtype());
    const auto span = timed("activate", out, 2 * bytes_of(out));
    cuda::activate(elements(x), activation, x.elements(), mutable_elements(out), stream());
    check_launch("activate");
    return out;
  }

  Tensor embed_tokens(std::span<const int32_t> ids, int64_t images, const Tensor& table,
                      const Tensor& positions) override {
    const auto count = static_cast<int64_t>(ids.size());
    const int64_t tokens = images < 1 ? 0 : count / images, channels = table.channels();
    if (tokens == 0 || tokens * images != count || tokens > positions.rows())
      fail(ErrorKind::internal, "embed_tokens: {} ids for {} images and {} positions", count, images, positions.rows());
    for (const int32_t id : ids)
      if (id < 0 || id >= table.rows())
        fail(ErrorKind::internal, "embed_tokens: id {} in a table of {}", id, table.rows());
    Tensor numbers = empty(Shape{count}, DType::i32);
    copy_in(ids.data(), ids.size_bytes(), numbers.data());
    Tensor out = empty(Shape{images, tokens, channels}, dtype_);
    cuda::embed_tokens(numbers.as<int32_t>(), count, tokens, channels, elements(table), elements(positions),
                       mutable_elements(out), stream());
    check_launch("embed_tokens");
    return out;
  }

  Tensor repeat(const std::string& key, std::span<const Tensor> inputs, const Work& work) override {
    if (!options_.recordings || options_.offload == Offload::stream || gpu_->weights.any_in_use() ||
        context_.recording() || gpu_->profile.on())
      return work(inputs);
    context_.make_current();
    return gpu_->recordings.repeat(
        fmt::format("{} {}", name_of(dtype_), key), inputs, work,
        [this](Shape shape, DType dtype) { return empty(shape, dtype); }, gpu_->operations);
  }

  // --- accounting ---
  uint64_t operations_issued() const override { return gpu_->operations; }
  std::optional<DeviceMemory> memory() const override { return context_.memory(); }
  void begin_profile() override { gpu_->profile.begin(); }
  std::vector<OperationTime> end_profile() override { return gpu_->profile.finish(); }
  void expect_activations(size_t bytes) override { context_.reserve_activations(bytes); }
  size_t peak_activation_bytes() const override { return context_.peak_activation_bytes(); }
  void reset_peak() override { context_.reset_peak(); }

 private:
  cudaStream_t stream() const { return context_.stream(); }

  static double bytes_of(const Tensor& tensor) {
    return static_cast<double>(tensor.elements()) * static_cast<double>(size_of(tensor.dtype()));
  }
  Profile::Span timed(const char* name, const Tensor& result, double bytes) {
    return gpu_->profile.time([&] { return fmt::format("{} {}", name, result.shape().to_string()); }, 0, bytes);
  }

  // The tensor in the compute dtype.
  Tensor operand(const Tensor& x) { return x.dtype() == dtype_ ? x : cast(x, dtype_); }

  void copy_in(const void* values, size_t bytes, void* to) {
    if (context_.recording()) fail(ErrorKind::internal, "values from the host in work that is repeated");
    // Of pageable memory this returns once all of it has been read.
    check(cudaMemcpyAsync(to, values, bytes, cudaMemcpyHostToDevice, stream()), "copying to the device");
  }

  // To memory that the GPU can write to by itself, which is several times as fast for more than a few KiB; good until
  // the next call.
  const void* land(const void* from, size_t bytes) {
    context_.make_current();
    void* const landing = context_.pinned(bytes);
    check(cudaMemcpyAsync(landing, from, bytes, cudaMemcpyDeviceToHost, stream()), "copying from the device");
    context_.synchronize();
    return landing;
  }
  void copy_out(const void* from, size_t bytes, void* to) { std::memcpy(to, land(from, bytes), bytes); }

  Tensor upload_bytes(const void* values, DType from, Shape shape, DType dtype) {
    Tensor raw = empty(shape, from);
    copy_in(values, static_cast<size_t>(shape.elements()) * size_of(from), raw.data());
    return cast(raw, dtype);
  }
  // A checkpoint's tensor as it is, to be packed.
  Tensor stage(const HostTensor& values) { return upload(values, values.dtype); }

  std::shared_ptr<PackedBytes> upload_weights(const HostTensor& values, DType dtype) {
    context_.make_current();
    const int64_t count = values.shape.elements();
    std::shared_ptr<PackedBytes> out = gpu_->weights.allocate(static_cast<size_t>(count) * size_of(dtype));
    if (values.dtype == dtype) {
      copy_in(values.data, values.bytes(), out->get());
      return out;
    }
    const Tensor staged = stage(values);
    convert_rows(elements(staged), count, 1, count, {out->get(), dtype}, stream());
    check_launch("converting weights");
    return out;
  }

  // --- Hopper's own kernels ---
  bool on_hopper() const { return gpu_->is_hopper && dtype_ != DType::f32; }
  int multiprocessors() const { return context_.properties().multiProcessorCount; }

  // Rows [h of `inner`, g of `inner`] to eight of each in turn.
  void interleave(PackedBytes& rows, int64_t inner, size_t row_bytes) {
    const size_t half = static_cast<size_t>(inner) * row_bytes, eight = 8 * row_bytes;
    const Tensor copy = empty(Shape{static_cast<int64_t>(2 * half)}, DType::u8);
    check(cudaMemcpyAsync(copy.data(), rows.get(), 2 * half, cudaMemcpyDeviceToDevice, stream()), "copying");
    for (const size_t which : {size_t{0}, size_t{1}})
      check(cudaMemcpy2DAsync(at_byte(rows.get(), which * eight), 2 * eight, at_byte(copy.data(), which * half), eight,
                              eight, static_cast<size_t>(inner / 8), cudaMemcpyDeviceToDevice, stream()),
            "interleaving");
  }

  HopperProduct rows_product(const Tensor& x, const CudaLinearWeights& w, const Tensor& out) const {
    HopperProduct product;
    product.dtype = dtype_;
    product.width = product.out_width = x.rows();
    product.in_channels = w.in_features;
    product.x_stride = x.row_stride();
    product.out_channels = w.out_features;
    product.x = x.data();
    product.w = w.matrix->get();
    product.bias = data_of(w.bias);
    product.rows_per_image = x.rows() / images_of(x);
    product.result = out.data();
    return product;
  }

  // The product with all that follows it; false where the kernel does not take it.
  bool multiply_on_hopper(HopperProduct& product, const Epilogue& epilogue) {
    if (!on_hopper()) return false;
    for (const auto& [tensor, data] :
         {std::pair(epilogue.addend, &product.addend), std::pair(epilogue.image_bias, &product.image_bias),
          std::pair(epilogue.residual, &product.residual)}) {
      if (tensor == nullptr) continue;
      if (tensor->dtype() != dtype_ || !tensor->contiguous()) return false;
      *data = tensor->data();
    }
    product.scale = epilogue.scale;
    product.activation = epilogue.activation;
    // Weights that come and go are copied on a stream of their own.
    product.ahead = options_.offload == Offload::none;
    if (!hopper_supports(product)) return false;
    const int64_t taps = product.kernel * product.kernel,
                  pixels = product.images * product.out_height * product.out_width;
    const auto span = gpu_->profile.time(
        [&] {
          return taps == 1 ? fmt::format("product {}x{}x{}{}", pixels, product.in_channels, product.out_channels,
                                         product.geglu ? ", geglu" : "")
                           : fmt::format("convolution {}x{}x{} to {}{}{}", product.height, product.width,
                                         product.in_channels, product.out_channels,
                                         product.enlarged ? ", enlarged" : "", product.stride > 1 ? ", halving" : "");
        },
        static_cast<double>(2 * taps * product.in_channels * product.out_channels * pixels),
        static_cast<double>(product.images * product.height * product.width * product.in_channels +
                            taps * product.in_channels * product.out_channels + pixels * product.out_channels) *
            static_cast<double>(size_of(dtype_)));
    hopper_multiply(product, hopper_tiling(product, multiprocessors()), multiprocessors(), stream());
    return true;
  }

  bool convolve_on_hopper(const Tensor& x, const CudaConvWeights& w, const Epilogue& epilogue, const Tensor& out,
                          bool enlarged) {
    if (w.padded_out != w.out_channels) return false;
    HopperProduct product;
    product.dtype = dtype_;
    product.images = x.dim(0);
    product.height = x.dim(1);
    product.width = x.dim(2);
    product.in_channels = product.x_stride = w.in_channels;
    product.out_channels = w.out_channels;
    product.kernel = enlarged ? 2 : static_cast<int>(w.geometry.kernel);
    product.stride = static_cast<int>(w.geometry.stride);
    product.pad_before = static_cast<int>(w.geometry.pad_before);
    product.out_height = out.dim(1);
    product.out_width = out.dim(2);
    product.enlarged = enlarged;
    product.x = x.data();
    product.w = enlarged ? w.sums->get() : w.filters->get();
    product.bias = data_of(w.bias);
    product.rows_per_image = out.dim(1) * out.dim(2);
    product.result = out.data();
    return multiply_on_hopper(product, epilogue);
  }

  bool attend_on_hopper(const SdpaProblem& problem, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out) {
    if (!on_hopper()) return false;
    const HopperAttention attention{.dtype = dtype_,
                                    .images = problem.images,
                                    .heads = problem.heads,
                                    .head_size = problem.head_size,
                                    .queries = problem.queries,
                                    .keys = problem.keys,
                                    .q_stride = problem.q_stride,
                                    .k_stride = problem.k_stride,
                                    .v_stride = problem.v_stride,
                                    .causal = problem.causal,
                                    .q = q.data(),
                                    .k = k.data(),
                                    .v = v.data(),
                                    .result = out.data()};
    if (!hopper_supports(attention)) return false;
    hopper_attend(attention, stream());
    return true;
  }

  NormArgs norm_args(const Tensor& x, const NormWeights& norm, const Tensor& out) const {
    NormArgs args;
    args.images = images_of(x);
    args.rows = x.rows() / args.images;
    args.channels = x.channels();
    args.source = elements(x);
    args.result = mutable_elements(out);
    args.gamma = norm.gamma.as<float>();
    args.beta = norm.beta.as<float>();
    args.eps = norm.eps;
    return args;
  }

  // Runs `product(addend, with bias, result)` such that the library adds as much of the epilogue as it can, and does
  // the rest.
  template <typename ProductFunction>
  void finish_product(const Epilogue& epilogue, bool has_bias, const Tensor& out, ProductFunction&& product) {
    const Tensor* addend = epilogue.addend;
    const Tensor* residual = epilogue.residual;
    const bool one_pass = epilogue.scale == 1.0f && epilogue.image_bias == nullptr;
    const auto usable = [&](const Tensor* tensor) { return tensor == nullptr || tensor->dtype() == dtype_; };
    if (one_pass && epilogue.activation == Activation::none && usable(addend) && usable(residual)) {
      Tensor sum;
      if (addend != nullptr && residual != nullptr) {
        sum = add(*addend, *residual, 1.0f);
        addend = &sum;
      }
      product(addend != nullptr ? addend : residual, has_bias, out);
      return;
    }
    if (one_pass && usable(addend)) {
      product(addend, has_bias, out);
      Epilogue rest;
      rest.activation = epilogue.activation;
      rest.residual = residual;
      finish_pass(out, rest, nullptr, out);
      return;
    }
    product(nullptr, has_bias, out);
    finish_pass(out, epilogue, nullptr, out);
  }

  void finish_pass(const Tensor& product, const Epilogue& epilogue, const void* bias, const Tensor& out) {
    FinishArgs args;
    args.rows = out.rows();
    args.channels = out.channels();
    args.rows_per_image = out.rows() / images_of(out);
    args.product_stride = product.channels();
    args.product = elements(product);
    args.bias = {bias, dtype_};
    args.scale = epilogue.scale;
    args.addend = elements(epilogue.addend);
    args.image_bias = elements(epilogue.image_bias);
    args.residual = elements(epilogue.residual);
    args.activation = epilogue.activation;
    args.result = mutable_elements(out);
    const bool nothing = product.data() == out.data() && bias == nullptr && args.scale == 1.0f &&
                         args.addend.data == nullptr && args.image_bias.data == nullptr &&
                         args.residual.data == nullptr && args.activation == Activation::none;
    if (nothing) return;
    const auto span = timed("finish", out, 2 * bytes_of(out));
    finish(args, stream());
    check_launch("finishing a product");
  }

  // result [rows, columns] = x [rows, depth] * weights^T [+ bias] [+ addend]
  void multiply(const void* x, int64_t rows, int64_t rows_of_image, int64_t depth, const void* weights, int64_t columns,
                const void* bias, const Tensor* addend, const Tensor& result) {
    Product product;
    product.dtype = product.result_dtype = dtype_;
    product.rows = rows;
    product.columns = columns;
    product.depth = depth;
    product.x_stride = product.b_stride = depth;
    product.result_stride = columns;
    product.bias = bias != nullptr;
    product.addend = addend != nullptr;
    product.rows_of_image = rows_of_image;
    const auto span = gpu_->profile.time(
        [&] { return fmt::format("product {}x{}x{}", rows, depth, columns); },
        static_cast<double>(2 * rows * depth * columns),
        static_cast<double>((rows * depth + depth * columns + rows * columns) * static_cast<int64_t>(size_of(dtype_))));
    gpu_->matmul.run(product, {x, weights, bias, addend != nullptr ? addend->data() : nullptr, result.data()},
                     context_.workspace(Matmul::kWorkspace), stream());
  }

  Tensor enlarged(const Tensor& x, Size size) {
    Tensor out = empty(Shape{x.dim(0), size.height, size.width, x.channels()}, dtype_);
    const auto span = timed("enlarge", out, bytes_of(x) + bytes_of(out));
    enlarge(x.data(), x.dim(0), x.dim(1), x.dim(2), x.channels() * static_cast<int64_t>(size_of(dtype_)), size.height,
            size.width, out.data(), stream());
    check_launch("enlarging");
    return out;
  }

  ConvProblem conv_problem(const Tensor& x, const CudaConvWeights& w) const {
    return {.dtype = dtype_,
            .images = x.dim(0),
            .height = x.dim(1),
            .width = x.dim(2),
            .in_channels = w.in_channels,
            .out_channels = w.padded_out,
            .geometry = w.geometry,
            .bias = false,
            .residual = false};
  }

  // f32 goes by columns: the library's kernels for it round to TF32 or are slower than a product.
  bool for_cudnn(const CudaConvWeights& w) const {
    const ConvGeometry& g = w.geometry;
    const bool is_product = g.kernel == 1 && g.stride == 1 && g.pad_before == 0 && g.pad_after == 0;
    return dtype_ != DType::f32 && w.in_channels % kChannelMultiple == 0 && !is_product;
  }

  // The convolution and what of its epilogue is usual in one kernel, the rest in a pass; false where the library has
  // none. A bias of each image is never fused: the library would have to compile a kernel for it, and without the
  // bias of all images would add it image by image.
  bool convolve_fused(const Tensor& x, const CudaConvWeights& w, const Epilogue& epilogue, const Tensor& out) {
    if (!for_cudnn(w) || w.padded_out != w.out_channels || epilogue.scale != 1.0f) return false;
    const bool residual_is_next = epilogue.addend == nullptr && epilogue.image_bias == nullptr &&
                                  epilogue.activation == Activation::none && epilogue.residual != nullptr &&
                                  epilogue.residual->dtype() == dtype_;
    ConvProblem problem = conv_problem(x, w);
    problem.bias = w.bias != nullptr;
    problem.residual = residual_is_next;
    if (!gpu_->convolutions.supports(problem)) return false;
    const void* const residual = residual_is_next ? epilogue.residual->data() : nullptr;
    run_convolution(problem, {x.data(), w.filters->get(), data_of(w.bias), residual, out.data()}, out);
    Epilogue rest = epilogue;
    if (residual_is_next) rest.residual = nullptr;
    finish_pass(out, rest, nullptr, out);
    return true;
  }

  bool convolve_plain(const Tensor& x, const CudaConvWeights& w, const Tensor& product) {
    if (!for_cudnn(w)) return false;
    const ConvProblem problem = conv_problem(x, w);
    if (!gpu_->convolutions.supports(problem)) return false;
    run_convolution(problem, {x.data(), w.filters->get(), nullptr, nullptr, product.data()}, product);
    return true;
  }

  void run_convolution(const ConvProblem& problem, const ConvArguments& arguments, const Tensor& out) {
    const int64_t window = problem.geometry.kernel * problem.geometry.kernel * problem.in_channels;
    const auto span = gpu_->profile.time(
        [&] {
          return fmt::format("convolution {}x{}x{} to {}{}", problem.height, problem.width, problem.in_channels,
                             problem.out_channels, problem.residual ? ", residual" : "");
        },
        static_cast<double>(2 * window * out.elements()),
        bytes_of(out) + static_cast<double>(problem.images * problem.height * problem.width * problem.in_channels +
                                            window * problem.out_channels) *
                            static_cast<double>(size_of(dtype_)));
    gpu_->convolutions.run(problem, arguments, context_.workspace(gpu_->convolutions.workspace_bytes(problem)));
  }

  // Any convolution as a product of gathered pixels with the filters, in parts that depend on one image alone.
  void convolve_by_columns(const Tensor& x, const CudaConvWeights& w, const Tensor& product) {
    const ConvGeometry& g = w.geometry;
    const int64_t pixels = product.dim(1) * product.dim(2), depth = g.kernel * g.kernel * w.in_channels;
    const auto element = static_cast<int64_t>(size_of(dtype_));
    if (g.kernel == 1 && g.stride == 1 && g.pad_before == 0 && g.pad_after == 0) {
      multiply(x.data(), product.rows(), pixels, depth, w.filters->get(), w.padded_out, nullptr, nullptr, product);
      return;
    }
    const int64_t part = std::min(pixels, std::max<int64_t>(1, static_cast<int64_t>(kGathered) / (depth * element)));
    const Tensor columns = empty(Shape{part, depth}, dtype_);
    for (int64_t image = 0; image < x.dim(0); ++image) {
      for (int64_t first = 0; first < pixels; first += part) {
        GatherArgs args;
        args.height = x.dim(1);
        args.width = x.dim(2);
        args.channel_bytes = w.in_channels * element;
        args.image = at_byte(x.data(), static_cast<size_t>(image * args.height * args.width * args.channel_bytes));
        args.kernel = g.kernel;
        args.stride = g.stride;
        args.pad_before = g.pad_before;
        args.out_width = product.dim(2);
        args.first = first;
        args.count = std::min(part, pixels - first);
        args.result = columns.data();
        gather_windows(args, stream());
        check_launch("gathering pixels");
        const Tensor rows(
            nullptr, at_byte(product.data(), static_cast<size_t>((image * pixels + first) * w.padded_out * element)),
            Shape{args.count, w.padded_out}, dtype_);
        multiply(columns.data(), args.count, args.count, depth, w.filters->get(), w.padded_out, nullptr, nullptr, rows);
      }
    }
  }

  // softmax(q k^T) v by products, some queries of one head at a time: for f32, for heads that the fused kernel does not
  // take (the one of the VAE has 512 channels), and where memory is scarce.
  void attend_in_slices(const SdpaProblem& problem, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out) {
    const auto element = static_cast<int64_t>(size_of(dtype_));
    const int64_t channels = problem.heads * problem.head_size;
    const size_t limit = options_.slice_attention ? kScoresOfSlice : kScores;
    const int64_t slice =
        std::clamp<int64_t>(static_cast<int64_t>(limit / sizeof(float)) / problem.keys, 1, problem.queries);
    // Rows of whole vectors: a product's operands should not be at odd addresses.
    const int64_t padded_keys = rounded_up(problem.keys, 8);
    const Tensor scores = empty(Shape{slice, padded_keys}, DType::f32),
                 shares = empty(Shape{slice, padded_keys}, dtype_);
    const float scale = 1.0f / std::sqrt(static_cast<float>(problem.head_size));
    for (int64_t image = 0; image < problem.images; ++image) {
      for (int64_t head = 0; head < problem.heads; ++head) {
        const auto of_head = [&](const Tensor& tensor, int64_t tokens, int64_t first, int64_t stride) {
          return at_byte(tensor.data(),
                         static_cast<size_t>(((image * tokens + first) * stride + head * problem.head_size) * element));
        };
        for (int64_t first = 0; first < problem.queries; first += slice) {
          const int64_t rows = std::min(slice, problem.queries - first);
          Product product;
          product.dtype = dtype_;
          product.result_dtype = DType::f32;
          product.rows = product.rows_of_image = rows;
          product.columns = problem.keys;
          product.depth = problem.head_size;
          product.x_stride = problem.q_stride;
          product.b_stride = problem.k_stride;
          product.result_stride = padded_keys;
          void* const workspace = context_.workspace(Matmul::kWorkspace);
          gpu_->matmul.run(product,
                           {of_head(q, problem.queries, first, problem.q_stride),
                            of_head(k, problem.keys, 0, problem.k_stride), nullptr, nullptr, scores.data()},
                           workspace, stream());
          softmax_rows(scores.as<float>(), rows, problem.keys, padded_keys, scale, problem.causal, first,
                       mutable_elements(shares), stream());
          check_launch("softmax");
          product.result_dtype = dtype_;
          product.columns = problem.head_size;
          product.depth = problem.keys;
          product.x_stride = padded_keys;
          product.b_stride = problem.v_stride;
          product.b_is_transposed = false;
          product.result_stride = channels;
          gpu_->matmul.run(product,
                           {shares.data(), of_head(v, problem.keys, 0, problem.v_stride), nullptr, nullptr,
                            of_head(out, problem.queries, first, channels)},
                           workspace, stream());
        }
      }
    }
  }

  std::shared_ptr<Gpu> gpu_;
  CudaContext& context_;
  CudaOptions options_;
  DType dtype_;
};

}  // namespace

std::unique_ptr<Device> make_device(const CudaOptions& options) {
  return std::make_unique<CudaDevice>(std::make_shared<Gpu>(options), options);
}

}  // namespace dreamlab::cuda
