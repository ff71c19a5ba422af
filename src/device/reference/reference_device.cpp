#include "device/reference/reference_device.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "base/error.h"
#include "device/shape_checks.h"

namespace dreamlab {
namespace {

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
    case Activation::gelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case Activation::quick_gelu:
      return x / (1.0 + std::exp(-1.702 * x));
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::leaky_relu:
      return x >= 0.0 ? x : 0.2 * x;
    case Activation::tanh:
      return std::tanh(x);
    case Activation::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
  }
  fail(ErrorKind::internal, "unknown activation {}", static_cast<int>(activation));
}

void check(bool ok, std::string_view what, const Tensor& tensor) {
  if (!ok) fail(ErrorKind::internal, "{} does not fit a tensor of {}", what, tensor.shape().to_string());
}

void check_shape(const Tensor& tensor, const Shape& wanted, std::string_view what) {
  if (tensor.shape() != wanted || !tensor.contiguous())
    fail(ErrorKind::internal, "{} is {}, not {}", what, tensor.shape().to_string(), wanted.to_string());
}

// A matrix product's weights as [in, out], so that the inner loop runs over outputs; for a convolution
// [kernel, kernel, in, out].
struct Matrix {
  std::vector<double> weight;
  std::vector<double> bias;
};

Matrix make_matrix(const HostTensor& weight, const HostTensor* bias) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  const int64_t taps = weight.shape.elements() / (out * in);
  const std::vector<float> values = weight.to_f32();
  Matrix matrix{std::vector<double>(values.size()), std::vector<double>(static_cast<size_t>(out))};
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i)
      for (int64_t tap = 0; tap < taps; ++tap)
        matrix.weight[(tap * in + i) * out + o] = values[(o * in + i) * taps + tap];
  if (bias == nullptr) return matrix;
  if (bias->shape.elements() != out) fail(ErrorKind::internal, "bias {} for {} outputs", bias->shape.to_string(), out);
  const std::vector<float> bias_values = bias->to_f32();
  matrix.bias.assign(bias_values.begin(), bias_values.end());
  return matrix;
}

struct ReferenceLinear : LinearWeights {
  Matrix matrix;
};
struct ReferenceConv : ConvWeights {
  Matrix matrix;
};

// sums[o] += sum over i of x[i] * weight[i, o]
void accumulate(double* sums, const float* x, const double* weight, int64_t in, int64_t out) {
  for (int64_t i = 0; i < in; ++i) {
    const double value = x[i];
    const double* row = weight + i * out;
    for (int64_t o = 0; o < out; ++o) sums[o] += value * row[o];
  }
}

double dot(const float* a, const float* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// scores becomes softmax(scores); scores[0, count).
void softmax(std::vector<double>& scores, int64_t count) {
  const double top = *std::max_element(scores.begin(), scores.begin() + count);
  double total = 0.0;
  for (int64_t i = 0; i < count; ++i) total += scores[i] = std::exp(scores[i] - top);
  for (int64_t i = 0; i < count; ++i) scores[i] /= total;
}

class ReferenceDevice : public Device {
 public:
  std::string description() const override { return "reference, 1 thread, f32"; }
  DType compute_dtype() const override { return DType::f32; }

  // --- memory ---
  Tensor empty(Shape shape, DType dtype) override {
    const size_t bytes = static_cast<size_t>(shape.elements()) * size_of(dtype);
    auto usage = usage_;
    usage->held += bytes;
    usage->peak = std::max(usage->peak, usage->held);
    void* data = ::operator new(bytes);
    std::shared_ptr<void> memory(data, [usage, bytes](void* pointer) {
      usage->held -= bytes;
      ::operator delete(pointer);
    });
    return Tensor(std::move(memory), data, shape, dtype);
  }

  Tensor upload(std::span<const float> values, Shape shape, DType dtype) override {
    if (static_cast<int64_t>(values.size()) != shape.elements())
      fail(ErrorKind::internal, "{} values for {}", values.size(), shape.to_string());
    Tensor out = empty(shape, dtype);
    convert_elements(values.data(), DType::f32, out.data(), dtype, values.size());
    return out;
  }
  Tensor upload(const HostTensor& values, DType dtype) override {
    Tensor out = empty(values.shape, dtype);
    convert_elements(values.data, values.dtype, out.data(), dtype, static_cast<size_t>(values.shape.elements()));
    return out;
  }

  std::vector<float> download(const Tensor& tensor) override {
    std::vector<float> out(static_cast<size_t>(tensor.elements()));
    copy_rows(tensor, out.data(), DType::f32);
    return out;
  }

  Tensor cast(const Tensor& tensor, DType dtype) override {
    if (tensor.dtype() == dtype) return tensor;
    Tensor out = empty(tensor.shape(), dtype);
    copy_rows(tensor, out.data(), dtype);
    return out;
  }

  // --- weights ---
  std::unique_ptr<LinearWeights> pack_linear(const HostTensor& weight, const HostTensor* bias) override {
    check_linear_weight(weight);
    auto packed = std::make_unique<ReferenceLinear>();
    packed->out_features = weight.shape[0];
    packed->in_features = weight.shape[1];
    packed->matrix = make_matrix(weight, bias);
    return packed;
  }
  std::unique_ptr<LinearWeights> pack_geglu(const HostTensor& weight, const HostTensor* bias) override {
    check_geglu_weight(weight);
    return pack_linear(weight, bias);
  }
  std::unique_ptr<ConvWeights> pack_conv(const HostTensor& weight, const HostTensor* bias,
                                         ConvGeometry geometry) override {
    check_conv_weight(weight, geometry);
    auto packed = std::make_unique<ReferenceConv>();
    packed->out_channels = weight.shape[0];
    packed->in_channels = weight.shape[1];
    packed->geometry = geometry;
    packed->matrix = make_matrix(weight, bias);
    return packed;
  }

  // --- operations ---
  Tensor linear(const Tensor& input, const LinearWeights& weights, const Epilogue& epilogue) override {
    const Tensor x = dense_f32(input);
    check(x.channels() == weights.in_features, "a matrix product", x);
    const Matrix& matrix = static_cast<const ReferenceLinear&>(weights).matrix;
    const int64_t in = weights.in_features, out_features = weights.out_features;
    Shape shape = x.shape();
    shape.set(-1, out_features);
    const Finish finish(*this, epilogue, shape);
    Tensor out = empty(shape, DType::f32);
    std::vector<double> sums;
    for (int64_t row = 0; row < x.rows(); ++row) {
      sums = matrix.bias;
      accumulate(sums.data(), x.as<float>() + row * in, matrix.weight.data(), in, out_features);
      finish.write(out, row, sums);
    }
    operations_ += 2 * x.rows() * in * out_features;
    return out;
  }

  Tensor linear_geglu(const Tensor& x, const LinearWeights& weights, const Tensor* addend) override {
    Epilogue epilogue;
    epilogue.addend = addend;
    const Tensor both = linear(x, weights, epilogue);
    const int64_t inner = weights.out_features / 2;
    Shape shape = x.shape();
    shape.set(-1, inner);
    Tensor out = empty(shape, DType::f32);
    for (int64_t row = 0; row < out.rows(); ++row) {
      const float* h = both.as<float>() + row * 2 * inner;
      for (int64_t i = 0; i < inner; ++i)
        out.as<float>()[row * inner + i] = static_cast<float>(h[i] * activated(h[inner + i], Activation::gelu));
    }
    return out;
  }

  Tensor conv2d(const Tensor& input, const ConvWeights& weights, const Epilogue& epilogue,
                std::optional<Size> upsample_to) override {
    const Tensor x = upsample_to ? enlarge(dense_f32(input), *upsample_to) : dense_f32(input);
    check(x.shape().rank() == 4 && x.channels() == weights.in_channels, "a convolution", x);
    const ConvGeometry& g = weights.geometry;
    const int64_t images = x.dim(0), height = x.dim(1), width = x.dim(2);
    const int64_t out_height = convolved_side(height, g), out_width = convolved_side(width, g);
    check(out_height > 0 && out_width > 0, "a convolution's window", x);
    const Shape shape{images, out_height, out_width, weights.out_channels};
    const Finish finish(*this, epilogue, shape);
    Tensor out = empty(shape, DType::f32);
    const Matrix& matrix = static_cast<const ReferenceConv&>(weights).matrix;
    std::vector<double> sums;
    int64_t row = 0;
    for (int64_t n = 0; n < images; ++n)
      for (int64_t oy = 0; oy < out_height; ++oy)
        for (int64_t ox = 0; ox < out_width; ++ox, ++row) {
          sums = matrix.bias;
          accumulate_window(sums, x, weights, n, oy * g.stride - g.pad_before, ox * g.stride - g.pad_before);
          finish.write(out, row, sums);
        }
    operations_ += 2 * row * weights.out_channels * weights.in_channels * g.kernel * g.kernel;
    return out;
  }

  Tensor attention(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, int64_t heads, bool causal) override {
    const Tensor q = dense_f32(q_in), k = dense_f32(k_in), v = dense_f32(v_in);
    check(q.shape().rank() == 3 && heads > 0 && q.channels() % heads == 0, "attention", q);
    check_shape(k, {q.dim(0), k.dim(1), q.channels()}, "keys");
    check_shape(v, k.shape(), "values");
    const int64_t tokens = q.dim(1), keys = k.dim(1), channels = q.channels(), size = channels / heads;
    check(!causal || tokens == keys, "causal attention", k);
    Tensor out = empty(q.shape(), DType::f32);
    std::vector<double> scores(static_cast<size_t>(keys)), mixed(static_cast<size_t>(size));
    const double scale = 1.0 / std::sqrt(static_cast<double>(size));
    for (int64_t n = 0; n < q.dim(0); ++n)
      for (int64_t head = 0; head < heads; ++head)
        for (int64_t t = 0; t < tokens; ++t) {
          const int64_t seen = causal ? t + 1 : keys;
          const float* query = q.as<float>() + (n * tokens + t) * channels + head * size;
          const float* first_key = k.as<float>() + n * keys * channels + head * size;
          const float* first_value = v.as<float>() + n * keys * channels + head * size;
          for (int64_t j = 0; j < seen; ++j) scores[j] = scale * dot(query, first_key + j * channels, size);
          softmax(scores, seen);
          std::fill(mixed.begin(), mixed.end(), 0.0);
          for (int64_t j = 0; j < seen; ++j)
            for (int64_t c = 0; c < size; ++c) mixed[c] += scores[j] * first_value[j * channels + c];
          std::copy(mixed.begin(), mixed.end(), out.as<float>() + (n * tokens + t) * channels + head * size);
        }
    operations_ += 4 * q.dim(0) * tokens * keys * channels;
    return out;
  }

  Tensor group_norm(Tensor input, const NormWeights& norm, int64_t groups, Activation activation) override {
    const Tensor x = dense_f32(input);
    check(groups > 0 && x.channels() % groups == 0, "group normalization", x);
    check_norm(norm, x);
    const int64_t channels = x.channels(), size = channels / groups, pixels = x.rows() / x.dim(0);
    Tensor out = empty(x.shape(), DType::f32);
    for (int64_t n = 0; n < x.dim(0); ++n)
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = n * pixels * channels + g * size;
        normalize(x.as<float>() + first, out.as<float>() + first, pixels, channels, g * size, size, norm, activation);
      }
    return out;
  }

  Tensor layer_norm(const Tensor& input, const NormWeights& norm) override {
    const Tensor x = dense_f32(input);
    check_norm(norm, x);
    const int64_t channels = x.channels();
    Tensor out = empty(x.shape(), DType::f32);
    for (int64_t row = 0; row < x.rows(); ++row)
      normalize(x.as<float>() + row * channels, out.as<float>() + row * channels, 1, channels, 0, channels, norm,
                Activation::none);
    return out;
  }

  Tensor concat_channels(const Tensor& a_in, const Tensor& b_in) override {
    const Tensor a = dense_f32(a_in), b = dense_f32(b_in);
    Shape shape = a.shape();
    shape.set(-1, b.channels());
    check_shape(b, shape, "second part");
    shape.set(-1, a.channels() + b.channels());
    Tensor out = empty(shape, DType::f32);
    float* to = out.as<float>();
    for (int64_t row = 0; row < a.rows(); ++row) {
      to = std::copy_n(a.as<float>() + row * a.channels(), a.channels(), to);
      to = std::copy_n(b.as<float>() + row * b.channels(), b.channels(), to);
    }
    return out;
  }

  Tensor add(const Tensor& a_in, const Tensor& b_in, float scale) override {
    const Tensor a = dense_f32(a_in), b = dense_f32(b_in);
    check_shape(b, a.shape(), "second summand");
    Tensor out = empty(a.shape(), DType::f32);
    for (int64_t i = 0; i < a.elements(); ++i)
      out.as<float>()[i] = static_cast<float>(a.as<float>()[i] + static_cast<double>(scale) * b.as<float>()[i]);
    return out;
  }

  Tensor activate(const Tensor& input, Activation activation) override {
    const Tensor x = dense_f32(input);
    Tensor out = empty(x.shape(), DType::f32);
    for (int64_t i = 0; i < x.elements(); ++i)
      out.as<float>()[i] = static_cast<float>(activated(x.as<float>()[i], activation));
    return out;
  }

  Tensor embed_tokens(std::span<const int32_t> ids, int64_t images, const Tensor& table,
                      const Tensor& positions) override {
    const int64_t count = static_cast<int64_t>(ids.size()), channels = table.channels();
    if (images < 1 || count % images != 0) fail(ErrorKind::internal, "{} token ids for {} images", count, images);
    const int64_t tokens = count / images;
    check(positions.channels() == channels && positions.rows() >= tokens, "a table of positions", positions);
    const Tensor places = dense_f32(positions);
    Tensor out = empty({images, tokens, channels}, DType::f32);
    for (int64_t i = 0; i < count; ++i) {
      if (ids[i] < 0 || ids[i] >= table.rows())
        fail(ErrorKind::internal, "token id {} is outside a table of {}", ids[i], table.rows());
      float* to = out.as<float>() + i * channels;
      const auto* from =
          static_cast<const std::byte*>(table.data()) + ids[i] * table.row_stride() * size_of(table.dtype());
      convert_elements(from, table.dtype(), to, DType::f32, static_cast<size_t>(channels));
      for (int64_t c = 0; c < channels; ++c) to[c] += places.as<float>()[(i % tokens) * channels + c];
    }
    return out;
  }

  // --- accounting ---
  uint64_t operations_issued() const override { return operations_; }
  size_t peak_activation_bytes() const override { return usage_->peak; }
  void reset_peak() override { usage_->peak = usage_->held; }

 private:
  struct Usage {
    size_t held = 0, peak = 0;
  };

  // Applies an Epilogue to the rows of a result.
  class Finish {
   public:
    Finish(ReferenceDevice& device, const Epilogue& epilogue, const Shape& shape)
        : scale_(epilogue.scale), activation_(epilogue.activation) {
      rows_per_image_ = shape.elements() / (shape[0] * shape[-1]);
      if (epilogue.addend != nullptr) addend_ = device.operand(*epilogue.addend, shape, "addend");
      if (epilogue.residual != nullptr) residual_ = device.operand(*epilogue.residual, shape, "residual");
      if (epilogue.image_bias != nullptr)
        image_bias_ = device.operand(*epilogue.image_bias, {shape[0], shape[-1]}, "bias of each image");
    }

    void write(Tensor& out, int64_t row, const std::vector<double>& sums) const {
      const int64_t channels = static_cast<int64_t>(sums.size());
      const int64_t image = row / rows_per_image_;
      for (int64_t c = 0; c < channels; ++c) {
        double value = scale_ * sums[c];
        if (addend_.defined()) value += addend_.as<float>()[row * channels + c];
        if (image_bias_.defined()) value += image_bias_.as<float>()[image * channels + c];
        value = activated(value, activation_);
        if (residual_.defined()) value += residual_.as<float>()[row * channels + c];
        out.as<float>()[row * channels + c] = static_cast<float>(value);
      }
    }

   private:
    double scale_;
    Activation activation_;
    int64_t rows_per_image_ = 1;
    Tensor addend_, residual_, image_bias_;
  };

  Tensor operand(const Tensor& tensor, const Shape& shape, std::string_view what) {
    check_shape(tensor, shape, what);
    return dense_f32(tensor);
  }

  // The tensor as contiguous f32; the same memory where it is that already.
  Tensor dense_f32(const Tensor& tensor) {
    if (tensor.dtype() == DType::f32 && tensor.contiguous()) return tensor;
    Tensor out = empty(tensor.shape(), DType::f32);
    copy_rows(tensor, out.data(), DType::f32);
    return out;
  }

  static void copy_rows(const Tensor& from, void* to, DType dtype) {
    const size_t channels = static_cast<size_t>(from.channels());
    const auto* source = static_cast<const std::byte*>(from.data());
    auto* target = static_cast<std::byte*>(to);
    for (int64_t row = 0; row < from.rows(); ++row) {
      convert_elements(source, from.dtype(), target, dtype, channels);
      source += static_cast<size_t>(from.row_stride()) * size_of(from.dtype());
      target += channels * size_of(dtype);
    }
  }

  // Nearest neighbor, as torch.nn.functional.interpolate(mode="nearest"): source = floor(target * in / out).
  Tensor enlarge(const Tensor& x, Size size) {
    check(x.shape().rank() == 4 && size.width > 0 && size.height > 0, "enlarging", x);
    const int64_t height = x.dim(1), width = x.dim(2), channels = x.channels();
    Tensor out = empty({x.dim(0), size.height, size.width, channels}, DType::f32);
    float* to = out.as<float>();
    for (int64_t n = 0; n < x.dim(0); ++n)
      for (int64_t y = 0; y < size.height; ++y)
        for (int64_t column = 0; column < size.width; ++column) {
          const int64_t from_y = y * height / size.height, from_x = column * width / size.width;
          to = std::copy_n(x.as<float>() + ((n * height + from_y) * width + from_x) * channels, channels, to);
        }
    return out;
  }

  // Adds the window whose top left corner lies at (top, left), which may be outside: zeros there.
  static void accumulate_window(std::vector<double>& sums, const Tensor& x, const ConvWeights& weights, int64_t image,
                                int64_t top, int64_t left) {
    const int64_t kernel = weights.geometry.kernel, in = weights.in_channels, out = weights.out_channels;
    const double* matrix = static_cast<const ReferenceConv&>(weights).matrix.weight.data();
    for (int64_t ky = 0; ky < kernel; ++ky)
      for (int64_t kx = 0; kx < kernel; ++kx) {
        const int64_t y = top + ky, column = left + kx;
        if (y < 0 || y >= x.dim(1) || column < 0 || column >= x.dim(2)) continue;
        const float* pixel = x.as<float>() + ((image * x.dim(1) + y) * x.dim(2) + column) * in;
        accumulate(sums.data(), pixel, matrix + (ky * kernel + kx) * in * out, in, out);
      }
  }

  static void check_norm(const NormWeights& norm, const Tensor& x) {
    check_shape(norm.gamma, {x.channels()}, "gamma");
    check_shape(norm.beta, {x.channels()}, "beta");
  }

  // Normalizes `size` neighboring channels of `rows` rows together; `channel` is the first of them.
  static void normalize(const float* x, float* out, int64_t rows, int64_t stride, int64_t channel, int64_t size,
                        const NormWeights& norm, Activation activation) {
    const double count = static_cast<double>(rows * size);
    double sum = 0.0, squares = 0.0;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < size; ++c) sum += x[row * stride + c];
    const double mean = sum / count;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < size; ++c) squares += (x[row * stride + c] - mean) * (x[row * stride + c] - mean);
    const double inverse = 1.0 / std::sqrt(squares / count + norm.eps);
    const float* gamma = norm.gamma.as<float>() + channel;
    const float* beta = norm.beta.as<float>() + channel;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < size; ++c) {
        const double value = (x[row * stride + c] - mean) * inverse * gamma[c] + beta[c];
        out[row * stride + c] = static_cast<float>(activated(value, activation));
      }
  }

  std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
  uint64_t operations_ = 0;
};

}  // namespace

std::unique_ptr<Device> make_reference_device() {
  return std::make_unique<ReferenceDevice>();
}

}  // namespace dreamlab
