#include "pipeline/upscaler.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "device/rknn/rknn_model.h"
#include "model/espcn.h"
#include "model/rrdbnet.h"
#include "pipeline/hidden_colors.h"
#include "pipeline/picture_tiles.h"
#include "weights/file_kind.h"
#include "weights/networks.h"

namespace dreamlab {

// How a tile's colors are enlarged, and the tiles that this wants.
class Upscaler::Method {
 public:
  explicit Method(const TileShape& shape) : shape_(shape) {}
  virtual ~Method() = default;

  const TileShape& shape() const { return shape_; }
  // pixels [height, width, 3] in 0..1 to [scale * height, scale * width, 3], not clamped.
  virtual std::vector<float> enlarge(std::span<const float> pixels, int64_t width, int64_t height,
                                     const CancelToken* cancel) const = 0;
  virtual size_t peak_activation_bytes() const { return 0; }

 private:
  TileShape shape_;
};

namespace {

namespace fs = std::filesystem;

constexpr int64_t kLanczosScale = 2;
constexpr int64_t kLanczosReach = 4;  // radius 3, and half a pixel for where the centers lie
constexpr int64_t kSmallNetworkCore = 256;

// The trunk's receptive field spans the picture, but what is far away hardly counts: the margin is more than what
// Real-ESRGAN's own tiles have (10), and the blend hides the rest. The widest activations of a tile (208 pixels, four
// times enlarged, 64 features) take 177 MB in f32.
constexpr int64_t kRrdbCore = 176, kRrdbMargin = 16, kRrdbBlend = 8;

TileShape with_core(TileShape shape, int64_t tile) {
  if (tile > 0) shape.core = std::max(tile, 2 * std::max(shape.blend, shape.multiple));
  return shape;
}

class LanczosMethod : public Upscaler::Method {
 public:
  explicit LanczosMethod(int64_t tile)
      : Method(with_core({kSmallNetworkCore, kLanczosReach, 0, 1, kLanczosScale}, tile)) {}

  std::vector<float> enlarge(std::span<const float> pixels, int64_t width, int64_t height,
                             const CancelToken* /*cancel*/) const override {
    return resize_values(pixels, width, height, 3, kLanczosScale * width, kLanczosScale * height);
  }
};

class RrdbMethod : public Upscaler::Method {
 public:
  RrdbMethod(std::unique_ptr<Device> device, const NetworkFile<RrdbNetConfig>& file, int64_t tile)
      : Method(shape_for(file.config, tile)),
        device_(std::move(device)),
        network_(*device_, file.config, *file.weights) {}

  std::vector<float> enlarge(std::span<const float> pixels, int64_t width, int64_t height,
                             const CancelToken* cancel) const override {
    const Tensor picture = device_->upload(pixels, Shape{1, height, width, 3}, DType::f32);
    return device_->download(network_.forward({*device_, nullptr, cancel, nullptr}, picture));
  }
  size_t peak_activation_bytes() const override { return device_->peak_activation_bytes(); }

 private:
  // A network that unshuffles first works on pixels that many times larger.
  static TileShape shape_for(const RrdbNetConfig& config, int64_t tile) {
    const int64_t unit = config.unshuffle;
    return with_core({kRrdbCore * unit, kRrdbMargin * unit, kRrdbBlend * unit, unit, config.scale}, tile);
  }

  std::unique_ptr<Device> device_;
  RrdbNet network_;
};

// Rec. 601's luma of colors in 0..1.
float luma(const float* rgb) {
  return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

// A network makes the luminance; Cb and Cr are enlarged by Lanczos. Since Y, Cb and Cr are linear in R, G and B and
// Lanczos is linear, that is: the colors by Lanczos, and to each of the three the difference of the luminances.
// network: luminance in 0..1 [height, width] to [scale * height, scale * width].
using LuminanceFunction = std::function<std::vector<float>(std::vector<float> small)>;
std::vector<float> enlarge_by_luminance(std::span<const float> pixels, int64_t width, int64_t height, int64_t scale,
                                        const LuminanceFunction& network) {
  std::vector<float> small(static_cast<size_t>(width * height));
  for (size_t i = 0; i < small.size(); ++i) small[i] = luma(&pixels[3 * i]);
  const std::vector<float> large = network(std::move(small));
  std::vector<float> colors = resize_values(pixels, width, height, 3, scale * width, scale * height);
  for (size_t i = 0; i < large.size(); ++i) {
    const float difference = std::clamp(large[i], 0.0f, 1.0f) - luma(&colors[3 * i]);
    for (size_t c = 0; c < 3; ++c) colors[3 * i + c] += difference;
  }
  return colors;
}

class EspcnMethod : public Upscaler::Method {
 public:
  EspcnMethod(std::unique_ptr<Device> device, const NetworkFile<EspcnConfig>& file, int64_t tile)
      : Method(shape_for(file.config, tile)),
        device_(std::move(device)),
        network_(*device_, file.config, *file.weights) {}

  std::vector<float> enlarge(std::span<const float> pixels, int64_t width, int64_t height,
                             const CancelToken* cancel) const override {
    const bool studio = network_.config().range == EspcnConfig::Range::studio;
    const float gain = studio ? 219.0f / 255.0f : 1.0f, offset = studio ? 16.0f / 255.0f : 0.0f;
    return enlarge_by_luminance(pixels, width, height, shape().scale, [&](std::vector<float> small) {
      for (float& value : small) value = offset + gain * value;
      const Tensor input = device_->upload(small, Shape{1, height, width, 1});
      std::vector<float> large = device_->download(network_.forward({*device_, nullptr, cancel, nullptr}, input));
      for (float& value : large) value = (value - offset) / gain;
      return large;
    });
  }
  size_t peak_activation_bytes() const override { return device_->peak_activation_bytes(); }

 private:
  static TileShape shape_for(const EspcnConfig& config, int64_t tile) {
    return with_core({kSmallNetworkCore, std::max(reach_of(config), kLanczosReach), 0, 1, config.scale}, tile);
  }

  std::unique_ptr<Device> device_;
  Espcn network_;
};

// A network on luminance of the full range, compiled for tiles of one size: what is smaller is filled up with its last
// row and column.
class NpuMethod : public Upscaler::Method {
 public:
  NpuMethod(std::unique_ptr<rknn::Model> model, const NpuUpscalerOptions& options)
      : Method(shape_for(*model, options)), model_(std::move(model)) {}

  std::vector<float> enlarge(std::span<const float> pixels, int64_t width, int64_t height,
                             const CancelToken* /*cancel*/) const override {
    const rknn::Port& port = model_->inputs()[0];
    const int64_t scale = shape().scale;
    return enlarge_by_luminance(pixels, width, height, scale, [&](const std::vector<float>& small) {
      std::vector<float> tile;
      tile.reserve(static_cast<size_t>(port.elements));
      for (int64_t y = 0; y < port.height(); ++y)
        for (int64_t x = 0; x < port.width(); ++x)
          tile.push_back(small[static_cast<size_t>(std::min(y, height - 1) * width + std::min(x, width - 1))]);
      model_->write(0, tile);
      model_->run();
      const std::vector<float> whole = model_->read(0);
      std::vector<float> large;
      for (int64_t y = 0; y < scale * height; ++y) {
        const auto row = whole.begin() + y * scale * port.width();
        large.insert(large.end(), row, row + scale * width);
      }
      return large;
    });
  }

 private:
  // What a pixel may depend on, to each side.
  static constexpr int64_t kReach = 8;

  static TileShape shape_for(const rknn::Model& model, const NpuUpscalerOptions& options) {
    const auto is_luminance = [](const std::vector<rknn::Port>& ports) {
      return ports.size() == 1 && ports[0].is_picture() && ports[0].dims[0] == 1 && ports[0].channels() == 1;
    };
    const bool fits = is_luminance(model.inputs()) && is_luminance(model.outputs());
    const rknn::Port* const in = fits ? &model.inputs()[0] : nullptr;
    const rknn::Port* const out = fits ? &model.outputs()[0] : nullptr;
    if (!fits || in->width() <= 4 * kReach || in->height() != in->width() || out->width() % in->width() != 0 ||
        out->height() != out->width() || out->width() == in->width())
      fail(ErrorKind::invalid_file,
           "{}: no upscaler: luminance of squares, as 224x224, to a whole multiple, as 672x672, is expected",
           model.file().string());
    const auto check_side = [&](const char* setting, int64_t wanted, int64_t side) {
      if (wanted != 0 && wanted != side)
        fail(ErrorKind::invalid_file, "{}={}: {} was compiled for {}; leave it out to take what the file says", setting,
             wanted, model.file().string(), side);
    };
    check_side("SR_INPUT_SIZE", options.input_side, in->width());
    check_side("SR_OUTPUT_SIZE", options.output_side, out->width());
    return {in->width() - 2 * kReach, kReach, 0, 1, out->width() / in->width()};
  }

  std::unique_ptr<rknn::Model> model_;
};

std::unique_ptr<Device> device_for_espcn(DeviceChoice choice) {
  choice.dtype = "fp32";
  return make_device(choice);
}

std::unique_ptr<Upscaler::Method> open_method(const UpscalerOptions& options) {
  if (options.path.empty()) return std::make_unique<LanczosMethod>(options.tile);
  if (fs::is_directory(options.path))
    fail(ErrorKind::invalid_file, "{}: is a directory; an upscaler's .pth or .safetensors file is expected",
         options.path);
  if (fs::path(options.path).extension() == ".rknn")
    return std::make_unique<NpuMethod>(
        rknn::Model::load(rknn::Runtime::open(options.npu.library), options.path, rknn::CoreMask::automatic),
        options.npu);
  const FileKind kind = kind_of(*open_tensor_file(options.path));
  if (kind == FileKind::espcn)
    return std::make_unique<EspcnMethod>(device_for_espcn(options.device), open_espcn(options.path), options.tile);
  if (kind != FileKind::upscaler)
    fail(ErrorKind::invalid_file, "{}: is {}; an upscaler (RRDBNet or ESPCN) is expected", options.path,
         described(kind));
  const NetworkFile<RrdbNetConfig> file = open_rrdbnet(options.path);
  if (file.config.in_channels != 3 || file.config.out_channels != 3)
    fail(ErrorKind::unsupported, "{}: an upscaler from {} to {} channels; 3 are allowed", options.path,
         file.config.in_channels, file.config.out_channels);
  return std::make_unique<RrdbMethod>(make_device(options.device), file, options.tile);
}

// The network sees colors only; alpha goes beside them.
std::vector<float> enlarge_tile(const Upscaler::Method& method, std::span<const float> pixels, int64_t width,
                                int64_t height, int64_t channels, const CancelToken* cancel) {
  if (channels == 3) return method.enlarge(pixels, width, height, cancel);
  const int64_t scale = method.shape().scale;
  std::vector<float> colors, alpha;
  for (size_t i = 0; i < pixels.size(); i += 4) {
    colors.insert(colors.end(), &pixels[i], &pixels[i] + 3);
    alpha.push_back(pixels[i + 3]);
  }
  colors = method.enlarge(colors, width, height, cancel);
  alpha = resize_values(alpha, width, height, 1, scale * width, scale * height);
  std::vector<float> joined;
  joined.reserve(4 * alpha.size());
  for (size_t i = 0; i < alpha.size(); ++i) {
    joined.insert(joined.end(), &colors[3 * i], &colors[3 * i] + 3);
    joined.push_back(alpha[i]);
  }
  return joined;
}

int64_t tiles_of_all_passes(const Image& picture, const TileShape& shape, int passes) {
  int64_t tiles = 0, width = picture.width, height = picture.height;
  for (int i = 0; i < passes; ++i) {
    tiles += count_tiles(width, height, shape);
    width *= shape.scale;
    height *= shape.scale;
  }
  return tiles;
}

}  // namespace

PictureSize upscaled_size(PictureSize size, int scale, int passes, int64_t max_pixels) {
  if (passes < 1 || passes > kMostUpscalePasses)
    fail(ErrorKind::invalid_argument, "magnitude {}: out of range; 1..{} is allowed", passes, kMostUpscalePasses);
  const PictureSize from = size;
  for (int pass = 1; pass <= passes; ++pass) {
    size.width *= scale;
    size.height *= scale;
    if (size.width > max_pixels / size.height)
      fail(ErrorKind::invalid_argument,
           "a picture of {}x{} becomes {}x{} in pass {} of {}, which is over {} pixels; a smaller picture or fewer "
           "passes are allowed",
           from.width, from.height, size.width, size.height, pass, passes, max_pixels);
  }
  return size;
}

void check_can_hold(ImageFormat format, const Image& picture) {
  if (format != ImageFormat::jpeg || picture.channels != 4) return;
  for (size_t i = 3; i < picture.pixels.size(); i += 4)
    if (picture.pixels[i] != 255)
      fail(ErrorKind::invalid_argument, "the picture has transparency, which JPEG cannot hold; png keeps it");
}

Upscaler::Upscaler(const UpscalerOptions& options)
    : model_(options.path.empty() ? "lanczos" : fs::path(options.path).filename().string()),
      method_(open_method(options)) {}

Upscaler::~Upscaler() = default;

int Upscaler::scale() const {
  return static_cast<int>(method_->shape().scale);
}

size_t Upscaler::peak_activation_bytes() const {
  return method_->peak_activation_bytes();
}

Image Upscaler::upscale(const Image& picture, const UpscaleOptions& options) const {
  upscaled_size({picture.width, picture.height}, scale(), options.passes, options.max_pixels);
  const int64_t tiles = tiles_of_all_passes(picture, method_->shape(), options.passes);
  int64_t done = 0;
  Image result = picture;
  for (int pass = 0; pass < options.passes; ++pass) {
    const Image filled = fill_hidden_colors(std::move(result));
    result =
        enlarge_in_tiles(filled, method_->shape(), [&](std::span<const float> pixels, int64_t width, int64_t height) {
          if (options.cancel != nullptr) options.cancel->throw_if_cancelled();
          std::vector<float> tile = enlarge_tile(*method_, pixels, width, height, filled.channels, options.cancel);
          if (options.on_tile) options.on_tile(++done, tiles);
          return tile;
        });
  }
  return result;
}

}  // namespace dreamlab
