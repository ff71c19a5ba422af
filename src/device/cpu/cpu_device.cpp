#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"
#include "device/cpu/attention.h"
#include "device/cpu/block_matmul.h"
#include "device/cpu/host_memory.h"
#include "device/cpu/library_attention.h"
#include "device/cpu/pointwise.h"
#include "device/cpu/winograd.h"
#include "device/device.h"
#include "device/memory_pool.h"
#include "device/shape_checks.h"

namespace dreamlab {
namespace {

using namespace cpu;

struct CpuLinearWeights : LinearWeights {
  template <typename... Args>
  explicit CpuLinearWeights(Args&&... args) : matrix(std::forward<Args>(args)...) {}
  PackedMatrix matrix;
  std::vector<float> bias;  // empty: none
};

// One of the two is set: `winograd` for 3x3 filters of stride 1 where it pays, else `matrix` over [kernel * kernel *
// in] columns.
struct CpuConvWeights : ConvWeights {
  std::unique_ptr<WinogradFilters> winograd;
  std::unique_ptr<PackedMatrix> matrix;
  std::vector<float> bias;
};

Elements elements(const Tensor& tensor) {
  return {tensor.data(), tensor.dtype()};
}
MutableElements mutable_elements(const Tensor& tensor) {
  return {tensor.data(), tensor.dtype()};
}

// Elementwise passes are cut into pieces of this many elements.
constexpr int64_t kPiece = 1 << 15;

// Where many channels leave, the transformed filters of Winograd's algorithm cost more than it saves at the resolutions
// these layers run at (measured: docs/PERFORMANCE.md).
constexpr int64_t kWinogradOutputs = 640;

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const CpuOptions& options)
      : pool_(host_blocks(options.memory_limit)),
        threads_(options.threads),
        dtype_(options.dtype.value_or(cpu_has_bf16() ? DType::bf16 : DType::f32)),
        workers_(static_cast<size_t>(threads_.size())) {
    if (dtype_ != DType::f32 && dtype_ != DType::bf16)
      fail(ErrorKind::unsupported, "the CPU computes in f32 or bf16, not in {}", name_of(dtype_));
  }

  std::string description() const override {
    return fmt::format("cpu, {}, {} thread{}, {}", instruction_set(), threads_.size(), threads_.size() == 1 ? "" : "s",
                       name_of(dtype_));
  }
  DType compute_dtype() const override { return dtype_; }

  void trim() override { pool_.trim(); }
  Tensor empty(Shape shape, DType dtype) override {
    const size_t bytes = std::max<size_t>(1, static_cast<size_t>(shape.elements()) * size_of(dtype));
    std::shared_ptr<void> memory = pool_.allocate(bytes);
    void* const data = memory.get();
    return Tensor(std::move(memory), data, shape, dtype);
  }

  Tensor upload(std::span<const float> values, Shape shape, DType dtype) override {
    if (static_cast<int64_t>(values.size()) != shape.elements())
      fail(ErrorKind::internal, "{} values for a tensor of shape {}", values.size(), shape.to_string());
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
    const int64_t columns = tensor.channels();
    for (int64_t row = 0; row < tensor.rows(); ++row)
      convert_elements(static_cast<const char*>(tensor.data()) +
                           static_cast<size_t>(row * tensor.row_stride()) * size_of(tensor.dtype()),
                       tensor.dtype(), out.data() + row * columns, DType::f32, static_cast<size_t>(columns));
    return out;
  }

  Tensor cast(const Tensor& tensor, DType dtype) override {
    if (tensor.dtype() == dtype) return tensor;
    Tensor out = empty(tensor.shape(), dtype);
    pieces(tensor.elements(), [&](int64_t begin, int64_t count) {
      convert(elements(tensor).at(begin), mutable_elements(out).at(begin), count);
    });
    return out;
  }

  std::unique_ptr<LinearWeights> pack_linear(const HostTensor& weight, const HostTensor* bias) override {
    return pack_matrix(weight, bias, 1);
  }
  std::unique_ptr<LinearWeights> pack_geglu(const HostTensor& weight, const HostTensor* bias) override {
    return pack_matrix(weight, bias, 2);
  }

  std::unique_ptr<ConvWeights> pack_conv(const HostTensor& weight, const HostTensor* bias,
                                         ConvGeometry geometry) override {
    auto out = std::make_unique<CpuConvWeights>();
    out->out_channels = weight.shape[0];
    out->in_channels = weight.shape[1];
    out->geometry = geometry;
    if (bias != nullptr) out->bias = bias->to_f32();
    const int64_t taps = geometry.kernel * geometry.kernel, in = out->in_channels, columns = out->out_channels;
    if (geometry.kernel == 3 && geometry.stride == 1 && columns <= kWinogradOutputs && !multiplies_in_tiles()) {
      out->winograd = std::make_unique<WinogradFilters>(pack_winograd(weight, dtype_, threads_, weights_));
      return out;
    }
    // A row is [in][taps] in the file and [taps][in] here, the order in which pixels lie in memory.
    const auto write_row = [&](int64_t row, void* to) {
      std::vector<float> values(static_cast<size_t>(in * taps)), ordered(values.size());
      const HostTensor source = weight.rows(row, row + 1);
      convert_elements(source.data, source.dtype, values.data(), DType::f32, values.size());
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = 0; c < in; ++c)
          ordered[static_cast<size_t>(tap * in + c)] = values[static_cast<size_t>(c * taps + tap)];
      convert_elements(ordered.data(), DType::f32, to, dtype_, ordered.size());
    };
    out->matrix = std::make_unique<PackedMatrix>(columns, taps * in, in, dtype_, 1, write_row, threads_, weights_);
    return out;
  }

  Tensor linear(const Tensor& x, const LinearWeights& weights, const Epilogue& epilogue) override {
    const auto& w = static_cast<const CpuLinearWeights&>(weights);
    if (x.channels() != w.in_features)
      fail(ErrorKind::internal, "linear: {} channels for weights of {}", x.channels(), w.in_features);
    const Tensor source = operand(x, w.matrix.dtype());
    Shape shape = x.shape();
    shape.set(-1, w.out_features);
    Tensor out = empty(shape, dtype_);
    const EpilogueArgs finish = epilogue_args(epilogue, w.bias, out);
    multiply(source, images_of(x), w.matrix, [&](const Block& block) {
      finish_block(block.product, block.columns, block.rows, block.columns, finish, block.image, block.first_row,
                   block.first_column, w.out_features, mutable_elements(out));
    });
    return out;
  }

  Tensor linear_geglu(const Tensor& x, const LinearWeights& weights, const Tensor* addend) override {
    const auto& w = static_cast<const CpuLinearWeights&>(weights);
    if (x.channels() != w.in_features)
      fail(ErrorKind::internal, "linear_geglu: {} channels for weights of {}", x.channels(), w.in_features);
    const Tensor source = operand(x, w.matrix.dtype());
    const int64_t inner = w.out_features / 2;
    Shape shape = x.shape();
    shape.set(-1, inner);
    Tensor out = empty(shape, dtype_);
    const Elements extra = addend != nullptr ? elements(*addend) : Elements{};
    multiply(source, images_of(x), w.matrix, [&](const Block& block) {
      finish_geglu_block(block.product, block.rows, block.columns / 2, w.bias.empty() ? nullptr : w.bias.data(), extra,
                         block.first_row, block.first_column / 2, inner, mutable_elements(out));
    });
    return out;
  }

  Tensor conv2d(const Tensor& x, const ConvWeights& weights, const Epilogue& epilogue,
                std::optional<Size> upsample_to) override {
    const auto& w = static_cast<const CpuConvWeights&>(weights);
    const Size seen = upsample_to.value_or(Size{x.dim(2), x.dim(1)});
    Tensor out = empty(convolved_shape(x, seen, w), dtype_);
    const ConvGeometry& g = w.geometry;
    const EpilogueArgs finish = epilogue_args(epilogue, w.bias, out);
    count_operations(2 * g.kernel * g.kernel * w.in_channels * out.elements());
    if (w.winograd != nullptr) {
      const WinogradArgs args{.images = x.dim(0),
                              .source = elements(x),
                              .source_height = x.dim(1),
                              .source_width = x.dim(2),
                              .height = seen.height,
                              .width = seen.width,
                              .result = mutable_elements(out),
                              .out_height = out.dim(1),
                              .out_width = out.dim(2),
                              .pad_before = g.pad_before,
                              .epilogue = finish};
      winograd_convolution(args, *w.winograd, threads_, pool_);
      return out;
    }
    const Tensor source = operand(x, w.matrix->dtype());
    if (g.kernel == 1 && g.stride == 1 && g.pad_before == 0 && g.pad_after == 0 && !upsample_to) {
      multiply_uncounted(source, x.dim(0), *w.matrix, [&](const Block& block) {
        finish_block(block.product, block.columns, block.rows, block.columns, finish, block.image, block.first_row,
                     block.first_column, w.out_channels, mutable_elements(out));
      });
      return out;
    }
    convolve_by_columns(source, w, seen, finish, out);
    return out;
  }

  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, bool causal) override {
    check_attention(q, k, v, heads);
    Tensor out = empty(q.shape(), dtype_);
    const AttentionArgs args{.images = q.dim(0),
                             .heads = heads,
                             .head_size = q.dim(2) / heads,
                             .queries = q.dim(1),
                             .keys = k.dim(1),
                             .q = elements(q),
                             .k = elements(k),
                             .v = elements(v),
                             .q_stride = q.row_stride(),
                             .k_stride = k.row_stride(),
                             .v_stride = v.row_stride(),
                             .result = mutable_elements(out),
                             .causal = causal};
    const bool all_bf16 = dtype_ == DType::bf16 && q.dtype() == dtype_ && k.dtype() == dtype_ && v.dtype() == dtype_;
    if (all_bf16 && !causal && library_has_bf16())
      library_attention_.run(args, threads_, pool_);
    else
      cpu::attention(args, threads_, pool_);
    count_operations(4 * q.elements() * k.dim(1));
    return out;
  }

  Tensor group_norm(Tensor x, const NormWeights& norm, int64_t groups, Activation activation) override {
    require_fit(norm.gamma.elements() == x.channels() && x.channels() % groups == 0, "group_norm", x, norm.gamma);
    const bool in_place = x.unique() && x.dtype() == dtype_;
    Tensor out = in_place ? x : empty(x.shape(), dtype_);
    cpu::group_norm(norm_args(x, norm, out), groups, activation, threads_);
    return out;
  }

  Tensor layer_norm(const Tensor& x, const NormWeights& norm) override {
    require_fit(norm.gamma.elements() == x.channels(), "layer_norm", x, norm.gamma);
    Tensor out = empty(x.shape(), dtype_);
    cpu::layer_norm(norm_args(x, norm, out), threads_);
    return out;
  }

  Tensor concat_channels(const Tensor& a, const Tensor& b) override {
    require_fit(a.rows() == b.rows() && a.dtype() == b.dtype(), "concat_channels", a, b);
    Shape shape = a.shape();
    shape.set(-1, a.channels() + b.channels());
    Tensor out = empty(shape, a.dtype());
    const size_t size = size_of(a.dtype()), left = static_cast<size_t>(a.channels()) * size,
                 right = static_cast<size_t>(b.channels()) * size;
    pieces(a.rows(), std::max<int64_t>(1, kPiece / shape[-1]), [&](int64_t begin, int64_t count) {
      for (int64_t row = begin; row < begin + count; ++row) {
        auto* const to = static_cast<char*>(out.data()) + static_cast<size_t>(row) * (left + right);
        std::memcpy(to, static_cast<const char*>(a.data()) + static_cast<size_t>(row) * left, left);
        std::memcpy(to + left, static_cast<const char*>(b.data()) + static_cast<size_t>(row) * right, right);
      }
    });
    return out;
  }

  Tensor add(const Tensor& a, const Tensor& b, float scale) override {
    require_fit(a.shape() == b.shape(), "add", a, b);
    Tensor out = empty(a.shape(), a.dtype());
    pieces(a.elements(), [&](int64_t begin, int64_t count) {
      add_scaled(elements(a).at(begin), elements(b).at(begin), scale, mutable_elements(out).at(begin), count);
    });
    return out;
  }

  Tensor activate(const Tensor& x, Activation activation) override {
    Tensor out = empty(x.shape(), x.dtype());
    pieces(x.elements(), [&](int64_t begin, int64_t count) {
      cpu::activate(elements(x).at(begin), activation, mutable_elements(out).at(begin), count);
    });
    return out;
  }

  Tensor embed_tokens(std::span<const int32_t> ids, int64_t images, const Tensor& table,
                      const Tensor& positions) override {
    const int64_t tokens = static_cast<int64_t>(ids.size()) / images, channels = table.channels();
    if (tokens * images != static_cast<int64_t>(ids.size()) || tokens > positions.rows())
      fail(ErrorKind::internal, "embed_tokens: {} ids for {} images and {} positions", ids.size(), images,
           positions.rows());
    Tensor out = empty(Shape{images, tokens, channels}, dtype_);
    std::vector<float> token, position;
    for (int64_t i = 0; i < static_cast<int64_t>(ids.size()); ++i) {
      const int64_t id = ids[static_cast<size_t>(i)];
      if (id < 0 || id >= table.rows())
        fail(ErrorKind::internal, "embed_tokens: id {} in a table of {}", id, table.rows());
      add_scaled(widened(elements(table).at(id * channels), channels, token),
                 widened(elements(positions).at(i % tokens * channels), channels, position), 1.0f,
                 mutable_elements(out).at(i * channels), channels);
    }
    return out;
  }

  uint64_t operations_issued() const override { return operations_; }
  size_t peak_activation_bytes() const override { return pool_.peak(); }
  void reset_peak() override { pool_.reset_peak(); }

 private:
  // f16 rows as f32, in `memory`: the element kernels read f32 and bf16. Others as they are.
  static Elements widened(Elements row, int64_t count, std::vector<float>& memory) {
    if (row.dtype != DType::f16) return row;
    memory.resize(static_cast<size_t>(count));
    convert_elements(row.data, DType::f16, memory.data(), DType::f32, memory.size());
    return {memory.data(), DType::f32};
  }

  // What one worker needs for its blocks, kept between calls.
  struct Worker {
    std::vector<std::byte> scratch;
    std::vector<float> product;
    std::vector<char> gathered;  // a convolution's pixels
  };
  // A finished block of a matrix product, before its epilogue. Rows and columns are those of the whole result;
  // first_row counts over all images.
  struct Block {
    const float* product;
    int64_t image, first_row, rows, first_column, columns;
  };

  template <typename Function>
  void pieces(int64_t count, int64_t piece, const Function& function) {
    threads_.parallel_for((count + piece - 1) / piece,
                          [&](int64_t i, int) { function(i * piece, std::min(piece, count - i * piece)); });
  }
  template <typename Function>
  void pieces(int64_t count, const Function& function) {
    pieces(count, kPiece, function);
  }

  std::unique_ptr<LinearWeights> pack_matrix(const HostTensor& weight, const HostTensor* bias, int64_t interleave) {
    const int64_t k = weight.shape[1];
    const auto write_row = [&](int64_t row, void* to) {
      const HostTensor source = weight.rows(row, row + 1);
      convert_elements(source.data, source.dtype, to, dtype_, static_cast<size_t>(k));
    };
    auto out =
        std::make_unique<CpuLinearWeights>(weight.shape[0], k, 0, dtype_, interleave, write_row, threads_, weights_);
    out->out_features = weight.shape[0];
    out->in_features = weight.shape[1];
    if (bias != nullptr) out->bias = bias->to_f32();
    return out;
  }

  // x in the dtype that the weights are multiplied in, dense.
  Tensor operand(const Tensor& x, DType dtype) {
    if (!x.contiguous()) fail(ErrorKind::internal, "a column view cannot be multiplied");
    return cast(x, dtype);
  }

  // Images in a tensor: blocks of rows do not cross from one into the next, so that company changes nothing.
  static int64_t images_of(const Tensor& x) { return x.shape().rank() >= 2 ? x.dim(0) : 1; }

  EpilogueArgs epilogue_args(const Epilogue& epilogue, const std::vector<float>& bias, const Tensor& out) const {
    for (const Tensor* same : {epilogue.addend, epilogue.residual})
      if (same != nullptr)
        require_fit(same->elements() == out.elements() && same->contiguous(), "epilogue", *same, out);
    if (epilogue.image_bias != nullptr)
      require_fit(epilogue.image_bias->elements() == out.dim(0) * out.channels(), "epilogue", *epilogue.image_bias,
                  out);
    EpilogueArgs args;
    args.scale = epilogue.scale;
    args.bias = bias.empty() ? nullptr : bias.data();
    if (epilogue.addend != nullptr) args.addend = elements(*epilogue.addend);
    if (epilogue.image_bias != nullptr) args.image_bias = elements(*epilogue.image_bias);
    if (epilogue.residual != nullptr) args.residual = elements(*epilogue.residual);
    args.activation = epilogue.activation;
    return args;
  }

  NormArgs norm_args(const Tensor& x, const NormWeights& norm, const Tensor& out) const {
    return {.images = x.dim(0),
            .rows = x.rows() / std::max<int64_t>(1, x.dim(0)),
            .channels = x.channels(),
            .source = elements(x),
            .result = mutable_elements(out),
            .gamma = norm.gamma.as<float>(),
            .beta = norm.beta.as<float>(),
            .eps = norm.eps};
  }

  template <typename Finish>
  void multiply(const Tensor& a, int64_t images, const PackedMatrix& matrix, const Finish& finish) {
    count_operations(2 * a.elements() * matrix.columns());
    multiply_uncounted(a, images, matrix, finish);
  }

  // All blocks of a [images * rows, k] times the matrix, each handed to `finish` on the thread that made it.
  template <typename Finish>
  void multiply_uncounted(const Tensor& a, int64_t images, const PackedMatrix& matrix, const Finish& finish) {
    const int64_t rows = a.rows() / std::max<int64_t>(1, images);
    multiply_rows(a.data(), images, rows, matrix, finish);
  }

  template <typename Finish>
  void multiply_rows(const void* a, int64_t images, int64_t rows, const PackedMatrix& matrix, const Finish& finish) {
    constexpr int64_t kRowBlock = PackedMatrix::kRowBlock;
    const int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock, per_chunk = images * row_blocks;
    const size_t row_bytes = static_cast<size_t>(matrix.k()) * size_of(matrix.dtype());
    // Rows run fastest: neighboring tasks share a chunk of the weights, which stays in the cache.
    threads_.parallel_for(matrix.chunks() * per_chunk, [&](int64_t task, int worker) {
      Worker& w = workers_[static_cast<size_t>(worker)];
      const int64_t chunk = task / per_chunk, image = task % per_chunk / row_blocks,
                    first = task % row_blocks * kRowBlock;
      const Block block{nullptr,
                        image,
                        image * rows + first,
                        std::min(kRowBlock, rows - first),
                        matrix.chunk_begin(chunk),
                        matrix.chunk_size(chunk)};
      if (w.product.size() < static_cast<size_t>(kRowBlock * block.columns))
        w.product.resize(static_cast<size_t>(kRowBlock * block.columns));
      matrix.multiply(static_cast<const char*>(a) + static_cast<size_t>(block.first_row) * row_bytes, block.rows, chunk,
                      w.product.data(), w.scratch);
      finish(Block{w.product.data(), block.image, block.first_row, block.rows, block.first_column, block.columns});
    });
  }

  // Gathers the pixels that `rows` results from `first` on see, [kernel * kernel * in] each, as the parts of `matrix`.
  static void gather(const Tensor& x, const ConvGeometry& g, Size seen, int64_t image, int64_t first, int64_t rows,
                     int64_t out_width, const PackedMatrix& matrix, char* to) {
    const size_t pixel_bytes = static_cast<size_t>(x.channels()) * size_of(x.dtype()),
                 part_bytes = static_cast<size_t>(matrix.part_size()) * size_of(x.dtype());
    const char* const source =
        static_cast<const char*>(x.data()) + static_cast<size_t>(image * x.dim(1) * x.dim(2)) * pixel_bytes;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t pixel = first + row, y0 = pixel / out_width * g.stride - g.pad_before,
                    x0 = pixel % out_width * g.stride - g.pad_before;
      size_t at = 0;  // in the row's bytes
      for (int64_t ky = 0; ky < g.kernel; ++ky) {
        for (int64_t kx = 0; kx < g.kernel; ++kx) {
          const int64_t y = y0 + ky, column = x0 + kx;
          const bool outside = y < 0 || y >= seen.height || column < 0 || column >= seen.width;
          const int64_t from = outside ? 0 : y * x.dim(1) / seen.height * x.dim(2) + column * x.dim(2) / seen.width;
          const char* const bytes = source + static_cast<size_t>(from) * pixel_bytes;
          for (size_t done = 0; done < pixel_bytes;) {  // a pixel may reach over several parts
            const size_t part = at / part_bytes, offset = at % part_bytes,
                         count = std::min(pixel_bytes - done, part_bytes - offset);
            char* const target =
                to + (part * static_cast<size_t>(rows) + static_cast<size_t>(row)) * part_bytes + offset;
            if (outside) {
              std::memset(target, 0, count);
            } else {
              std::memcpy(target, bytes + done, count);
            }
            done += count;
            at += count;
          }
        }
      }
    }
  }

  // Any convolution as a product of gathered pixels with the filters; for strided ones, and where Winograd's algorithm
  // does not pay. A block of gathered pixels stays in the cache of the thread that multiplies it with all filters;
  // where there are fewer blocks than it takes to busy the threads, the chunks of filters are divided among them, too.
  void convolve_by_columns(const Tensor& x, const CpuConvWeights& w, Size seen, const EpilogueArgs& finish,
                           const Tensor& out) {
    constexpr int64_t kRowBlock = PackedMatrix::kRowBlock;
    const PackedMatrix& matrix = *w.matrix;
    const int64_t pixels = out.dim(1) * out.dim(2), row_blocks = (pixels + kRowBlock - 1) / kRowBlock,
                  blocks = x.dim(0) * row_blocks;
    const int64_t parts = std::min<int64_t>(matrix.chunks(), std::max<int64_t>(1, 4 * threads_.size() / blocks));
    const size_t row_bytes = static_cast<size_t>(matrix.k()) * size_of(matrix.dtype());
    threads_.parallel_for(blocks * parts, [&](int64_t task, int worker) {
      Worker& state = workers_[static_cast<size_t>(worker)];
      const int64_t block = task / parts, part = task % parts, image = block / row_blocks,
                    first = block % row_blocks * kRowBlock;
      const int64_t rows = std::min(kRowBlock, pixels - first);
      state.gathered.resize(std::max(state.gathered.size(), static_cast<size_t>(kRowBlock) * row_bytes));
      state.product.resize(std::max(state.product.size(), static_cast<size_t>(kRowBlock * matrix.largest_chunk())));
      gather(x, w.geometry, seen, image, first, rows, out.dim(2), matrix, state.gathered.data());
      for (int64_t chunk = part * matrix.chunks() / parts; chunk < (part + 1) * matrix.chunks() / parts; ++chunk) {
        const int64_t columns = matrix.chunk_size(chunk);
        matrix.multiply(state.gathered.data(), rows, chunk, state.product.data(), state.scratch);
        finish_block(state.product.data(), columns, rows, columns, finish, image, image * pixels + first,
                     matrix.chunk_begin(chunk), w.out_channels, mutable_elements(out));
      }
    });
  }

  // Whether products run in AMX tiles, which direct convolution gains more from than Winograd's algorithm saves.
  bool multiplies_in_tiles() const { return dtype_ == DType::bf16 && has_matrix_tiles(); }

  void count_operations(int64_t operations) { operations_ += static_cast<uint64_t>(operations); }

  MemoryPool pool_;
  WeightArena weights_;
  LibraryAttention library_attention_;
  ThreadPool threads_;
  DType dtype_;
  std::vector<Worker> workers_;
  uint64_t operations_ = 0;
};

}  // namespace

bool cpu_has_bf16() {
#if defined(__x86_64__)
  // CPUID leaf 7, subleaf 1: EAX bit 5 is AVX512_BF16 (Intel SDM, volume 2A).
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
  return (a & (1u << 5)) != 0 && __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

std::unique_ptr<Device> make_cpu_device(const CpuOptions& options) {
  return std::make_unique<CpuDevice>(options);
}

}  // namespace dreamlab
