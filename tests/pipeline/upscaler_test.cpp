#include "pipeline/upscaler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "golden_dir.h"
#include "model/espcn.h"
#include "model/rrdbnet.h"
#include "pipeline/hidden_colors.h"
#include "upscaler_files.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;

constexpr int64_t kWhole = 4096;  // a tile that takes any picture of these tests

std::string golden_upscaler() {
  return (golden_dir() / "models" / "tiny-esrgan.safetensors").string();
}

Upscaler open(const std::string& path, int64_t tile, int threads = 2) {
  UpscalerOptions options;
  options.path = path;
  options.device.dtype = "fp32";
  options.device.threads = threads;
  options.tile = tile;
  return Upscaler(options);
}

Image enlarge(const std::string& path, int64_t tile, const Image& picture, int passes = 1) {
  return open(path, tile).upscale(picture, {.passes = passes});
}

int largest_difference(const Image& a, const Image& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.channels, b.channels);
  int largest = 0;
  for (size_t i = 0; i < std::min(a.pixels.size(), b.pixels.size()); ++i)
    largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

template <typename Call>
void expect_refused(ErrorKind kind, const std::string& message, Call call) {
  try {
    call();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

uint8_t byte_of(double value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 1.0) * 255));
}

std::vector<float> unit_values(const Image& picture) {
  std::vector<float> values;
  for (const uint8_t value : picture.pixels) values.push_back(static_cast<float>(value) / 255.0f);
  return values;
}

class UpscalerTest : public testing::Test {
 protected:
  std::string espcn(EspcnConfig::Range range = EspcnConfig::Range::full) const {
    return write_network(directory_, "espcn.safetensors",
                         EspcnConfig{{8, 8, 4}, {5, 3, 3, 3}, 3, EspcnConfig::Hidden::relu, false, range})
        .string();
  }
  std::string unshuffling() const {
    return write_network(directory_, "x2.safetensors",
                         RrdbNetConfig{.features = 8, .blocks = 1, .growth = 4, .scale = 2, .unshuffle = 2})
        .string();
  }

  const TemporaryDirectory directory_;
};

TEST_F(UpscalerTest, IsLanczosWithoutAFile) {
  const Upscaler upscaler;
  EXPECT_EQ(upscaler.model(), "lanczos");
  EXPECT_EQ(upscaler.scale(), 2);
  const Image picture = test_picture(61, 47);
  const Image expected = resize_image(picture, 122, 94);
  EXPECT_LE(largest_difference(upscaler.upscale(picture, {}), expected), 1);
  EXPECT_LE(largest_difference(enlarge("", 16, picture), expected), 1) << "in tiles";
}

TEST_F(UpscalerTest, TakesTheLuminanceFromTheSubPixelNetwork) {
  const std::string path = espcn();
  const Image picture = test_picture(20, 14);
  const Upscaler upscaler = open(path, kWhole);
  EXPECT_EQ(upscaler.model(), "espcn.safetensors");
  EXPECT_EQ(upscaler.scale(), 3);
  const Image result = upscaler.upscale(picture, {});

  // By way of YCbCr: the network for Y, Lanczos for Cb and Cr.
  const auto network_file = open_espcn(path);
  const auto device = make_cpu_device({.threads = 1, .dtype = DType::f32});
  const Espcn network(*device, network_file.config, *network_file.weights);
  std::vector<float> planes[3];
  for (size_t i = 0; i < picture.pixels.size(); i += 3) {
    const float r = static_cast<float>(picture.pixels[i]) / 255, g = static_cast<float>(picture.pixels[i + 1]) / 255,
                b = static_cast<float>(picture.pixels[i + 2]) / 255;
    const float y = 0.299f * r + 0.587f * g + 0.114f * b;
    planes[0].push_back(y);
    planes[1].push_back((b - y) / 1.772f);
    planes[2].push_back((r - y) / 1.402f);
  }
  const std::vector<float> luminance = device->download(
      network.forward({*device, nullptr, nullptr, nullptr}, device->upload(planes[0], Shape{1, 14, 20, 1})));
  const std::vector<float> cb = resize_values(planes[1], 20, 14, 1, 60, 42);
  const std::vector<float> cr = resize_values(planes[2], 20, 14, 1, 60, 42);
  Image expected = Image::blank(60, 42);
  for (size_t i = 0; i < luminance.size(); ++i) {
    const double y = std::clamp(luminance[i], 0.0f, 1.0f);
    expected.pixels[3 * i] = byte_of(y + 1.402 * cr[i]);
    expected.pixels[3 * i + 1] = byte_of(y - 0.344136 * cb[i] - 0.714136 * cr[i]);
    expected.pixels[3 * i + 2] = byte_of(y + 1.772 * cb[i]);
  }
  EXPECT_LE(largest_difference(result, expected), 1);
  EXPECT_GT(largest_difference(result, resize_image(picture, 60, 42)), 5) << "the network must count";
}

// Weights that make the network the identity, each pixel nine times: what comes out then is what went in, in whichever
// range the network works.
TEST_F(UpscalerTest, SpeaksTheRangeThatTheNetworkWasTrainedIn) {
  for (const bool studio : {false, true}) {
    TensorWriter writer;
    const std::vector<std::string> modules =
        studio ? std::vector<std::string>{"first_part.0", "first_part.2", "last_part.0"}
               : std::vector<std::string>{"conv1", "conv2", "conv3", "conv4"};
    for (size_t i = 0; i < modules.size(); ++i) {
      const bool last = i + 1 == modules.size();
      // tanh is nearly the identity for small numbers only.
      const float gain = !studio ? 1.0f : i == 0 ? 0.01f : last ? 100.0f : 1.0f;
      const int64_t out = last ? 4 : 1;
      std::vector<float> weight(static_cast<size_t>(out * 9), 0.0f);
      for (int64_t o = 0; o < out; ++o) weight[static_cast<size_t>(o * 9 + 4)] = gain;
      writer.add(modules[i] + ".weight", HostTensor::from_f32(weight, Shape{out, 1, 3, 3}));
      writer.add(modules[i] + ".bias", HostTensor::from_f32(std::vector<float>(static_cast<size_t>(out)), Shape{out}));
    }
    const std::string path = directory_.write("identity.safetensors", writer.file()).string();
    Image flat = Image::blank(9, 8);
    for (size_t i = 0; i < flat.pixels.size(); i += 3) {
      flat.pixels[i] = 200;
      flat.pixels[i + 1] = 30;
      flat.pixels[i + 2] = 90;
    }
    EXPECT_LE(largest_difference(enlarge(path, kWhole, flat), resize_image(flat, 18, 16)), 1) << "studio " << studio;
  }
}

TEST_F(UpscalerTest, TilesOfTheSubPixelNetworkCannotBeTold) {
  const std::string path = espcn();
  const Image picture = test_picture(150, 131);
  const Image whole = enlarge(path, kWhole, picture);
  EXPECT_EQ(largest_difference(enlarge(path, 32, picture), whole), 0);
  EXPECT_EQ(largest_difference(enlarge(path, 57, picture), whole), 0);
}

TEST_F(UpscalerTest, RunsRrdbNet) {
  const auto file = open_rrdbnet(golden_upscaler());
  const auto device = make_cpu_device({.threads = 2, .dtype = DType::f32});
  const RrdbNet network(*device, file.config, *file.weights);
  const Image picture = test_picture(24, 17);
  const std::vector<float> values = device->download(
      network.forward({*device, nullptr, nullptr, nullptr}, device->upload(unit_values(picture), Shape{1, 17, 24, 3})));
  Image expected = Image::blank(96, 68);
  for (size_t i = 0; i < values.size(); ++i) expected.pixels[i] = byte_of(values[i]);
  EXPECT_EQ(largest_difference(enlarge(golden_upscaler(), kWhole, picture), expected), 0);
  for (const char* name : {"tiny-esrgan-old.safetensors", "tiny-esrgan.pth"})
    EXPECT_EQ(largest_difference(enlarge((golden_dir() / "models" / name).string(), kWhole, picture), expected), 0);
}

TEST_F(UpscalerTest, TilesOfRrdbNetHardlyDiffer) {
  const Image picture = test_picture(120, 100);
  const Image whole = enlarge(golden_upscaler(), kWhole, picture);
  const Image tiled = enlarge(golden_upscaler(), 48, picture);
  const int difference = largest_difference(tiled, whole);
  RecordProperty("levels", difference);
  EXPECT_LE(difference, 2);
}

TEST_F(UpscalerTest, PicturesThatUnshufflingDoesNotDivideAreFilledUp) {
  const std::string path = unshuffling();
  const Image picture = test_picture(31, 23);
  const Image result = enlarge(path, kWhole, picture);
  EXPECT_EQ(result.width, 62);
  EXPECT_EQ(result.height, 46);
  EXPECT_EQ(enlarge(path, 32, test_picture(95, 71)).width, 190);
  Image filled = Image::blank(32, 24);
  for (int64_t y = 0; y < 24; ++y)
    for (int64_t x = 0; x < 32; ++x)
      std::copy_n(picture.row(std::min<int64_t>(y, 22)) + 3 * std::min<int64_t>(x, 30), 3, filled.row(y) + 3 * x);
  const Image larger = enlarge(path, kWhole, filled);
  for (int64_t y = 0; y < 46; ++y)
    ASSERT_TRUE(std::equal(result.row(y), result.row(y) + 3 * 62, larger.row(y))) << "row " << y;
}

TEST_F(UpscalerTest, MemoryFollowsTheTileAndNotThePicture) {
  const auto peak = [&](int64_t side) {
    const Upscaler upscaler = open(golden_upscaler(), 16);
    upscaler.upscale(test_picture(side, side), {});
    return upscaler.peak_activation_bytes();
  };
  const size_t small = peak(48);
  EXPECT_GT(small, 0u);
  EXPECT_LE(peak(96), small);
}

TEST_F(UpscalerTest, EachPassWorksOnTheOneBefore) {
  const Image picture = test_picture(17, 12);
  const Image once = enlarge(golden_upscaler(), kWhole, picture);
  EXPECT_EQ(enlarge(golden_upscaler(), kWhole, picture, 2), enlarge(golden_upscaler(), kWhole, once));
  const Image thrice = enlarge("", 0, picture, 3);
  EXPECT_EQ(thrice.width, 17 * 8);
  EXPECT_EQ(thrice.height, 12 * 8);
}

TEST_F(UpscalerTest, ThreadsDoNotChangeAByte) {
  const Image picture = test_picture(70, 50, 4);
  for (const std::string& path : {golden_upscaler(), espcn(), std::string()})
    EXPECT_EQ(open(path, 32, 1).upscale(picture, {}), open(path, 32, 2).upscale(picture, {})) << path;
}

TEST_F(UpscalerTest, AnOpaqueAlphaChangesNothing) {
  const Image picture = test_picture(40, 30, 4);
  for (const std::string& path : {golden_upscaler(), espcn(), std::string()}) {
    const Image with = enlarge(path, 32, picture), without = enlarge(path, 32, drop_alpha(picture));
    ASSERT_EQ(with.channels, 4);
    for (size_t i = 3; i < with.pixels.size(); i += 4) ASSERT_EQ(with.pixels[i], 255);
    EXPECT_EQ(drop_alpha(with), without) << path;
  }
}

// A white disc; around it nothing, whose color is `hidden`.
Image disc(uint8_t hidden) {
  Image picture = Image::blank(41, 37, 4);
  for (int64_t y = 0; y < picture.height; ++y)
    for (int64_t x = 0; x < picture.width; ++x) {
      uint8_t* pixel = picture.row(y) + 4 * x;
      const bool inside = (x - 20) * (x - 20) + (y - 18) * (y - 18) < 120;
      std::fill_n(pixel, 3, inside ? uint8_t{255} : hidden);
      pixel[3] = inside ? 255 : 0;
    }
  return picture;
}

TEST_F(UpscalerTest, ColorsThatNobodySeesDoNotBleed) {
  for (const std::string& path : {golden_upscaler(), espcn(), std::string()})
    EXPECT_EQ(enlarge(path, 0, disc(0), 1), enlarge(path, 0, disc(77), 1)) << path;
  const Image result = enlarge("", 0, disc(0), 2);
  int64_t partly = 0;
  for (size_t i = 0; i < result.pixels.size(); i += 4) {
    if (result.pixels[i + 3] == 0) continue;
    ASSERT_EQ(result.pixels[i], 255) << "a dark fringe at pixel " << i / 4;
    partly += result.pixels[i + 3] != 255;
  }
  EXPECT_GT(partly, 50) << "the edge is smooth";
}

TEST_F(UpscalerTest, HiddenColorsComeFromTheNearestThatShow) {
  Image picture = Image::blank(8, 1, 4);
  const auto set = [&](int64_t x, uint8_t red, uint8_t alpha) {
    picture.row(0)[4 * x] = red;
    picture.row(0)[4 * x + 3] = alpha;
  };
  set(0, 100, 255);
  set(1, 9, 0);
  set(6, 9, 0);
  set(7, 200, 1);
  const Image filled = fill_hidden_colors(picture);
  const auto red = [&](int64_t x) { return int{filled.row(0)[4 * x]}; };
  EXPECT_EQ(red(0), 100);
  EXPECT_EQ(red(1), 100);
  EXPECT_EQ(red(6), 200);
  EXPECT_EQ(red(7), 200);
  EXPECT_EQ(filled.row(0)[4 * 6 + 3], 0) << "alpha stays";
  EXPECT_EQ(fill_hidden_colors(test_picture(5, 4, 4)), test_picture(5, 4, 4));
  Image empty = Image::blank(3, 3, 4);
  empty.pixels[0] = 50;
  EXPECT_EQ(fill_hidden_colors(empty), Image::blank(3, 3, 4));
}

TEST_F(UpscalerTest, JpegIsRefusedForTransparencyOnly) {
  expect_refused(ErrorKind::invalid_argument, "which JPEG cannot hold",
                 [] { check_can_hold(ImageFormat::jpeg, disc(0)); });
  EXPECT_NO_THROW(check_can_hold(ImageFormat::png, disc(0)));
  EXPECT_NO_THROW(check_can_hold(ImageFormat::jpeg, test_picture(4, 4, 4)));
  EXPECT_NO_THROW(check_can_hold(ImageFormat::jpeg, test_picture(4, 4, 3)));
}

TEST_F(UpscalerTest, PixelsAreCountedBeforeAnyWork) {
  int64_t tiles = 0;
  const UpscaleOptions options{.passes = 2, .max_pixels = 100 * 100, .on_tile = [&](int64_t, int64_t) { ++tiles; }};
  const Upscaler upscaler;
  EXPECT_EQ(upscaler.upscale(test_picture(25, 25), options).width, 100);
  EXPECT_EQ(tiles, 2);
  tiles = 0;
  expect_refused(ErrorKind::invalid_argument, "26x25 becomes 104x100 in pass 2 of 2, which is over 10000 pixels",
                 [&] { upscaler.upscale(test_picture(26, 25), options); });
  EXPECT_EQ(tiles, 0);
  for (const int passes : {0, 4, -1})
    expect_refused(ErrorKind::invalid_argument, "1..3 is allowed", [&] { upscaled_size({8, 8}, 2, passes, 1000); });
  expect_refused(ErrorKind::invalid_argument, "over 10 pixels", [] { upscaled_size({1 << 30, 1 << 30}, 8, 3, 10); });
  EXPECT_EQ(upscaled_size({3, 5}, 4, 3, 64 * 64 * 15), (PictureSize{192, 320}));
}

TEST_F(UpscalerTest, ACancellationShowsBeforeTheNextTile) {
  CancelToken token;
  int64_t tiles = 0, announced = 0;
  UpscaleOptions options;
  options.cancel = &token;
  options.on_tile = [&](int64_t done, int64_t all) {
    EXPECT_EQ(done, ++tiles);
    announced = all;
    if (done == 2) token.cancel();
  };
  expect_refused(ErrorKind::cancelled, "cancelled", [&] { open("", 16).upscale(test_picture(64, 64), options); });
  EXPECT_EQ(tiles, 2);
  EXPECT_EQ(announced, 16);
}

TEST_F(UpscalerTest, AWrongFileIsNamedInOneLine) {
  const auto opening = [](const std::string& path) { return [path] { Upscaler{UpscalerOptions{.path = path}}; }; };
  const std::string lora = (golden_dir() / "models" / "tiny-sd15-lora-peft.safetensors").string();
  expect_refused(ErrorKind::invalid_file, "is a LoRA; an upscaler (RRDBNet or ESPCN) is expected", opening(lora));
  expect_refused(ErrorKind::invalid_file, "directory", opening(golden_dir().string()));
  expect_refused(ErrorKind::unavailable, "none.pth", opening((directory_.path() / "none.pth").string()));
  expect_refused(ErrorKind::invalid_file, "rubbish.pth", opening(directory_.write("rubbish.pth", "rubbish").string()));
  const std::string gray =
      write_network(directory_, "gray.safetensors",
                    RrdbNetConfig{.in_channels = 1, .out_channels = 1, .features = 4, .blocks = 1, .growth = 2})
          .string();
  expect_refused(ErrorKind::unsupported, "3 are allowed", opening(gray));
  expect_refused(ErrorKind::invalid_argument, "auto, fp32, bf16, fp16",
                 [] { Upscaler{UpscalerOptions{.path = golden_upscaler(), .device = {.dtype = "fp8"}}}; });
}

}  // namespace
}  // namespace dreamlab
