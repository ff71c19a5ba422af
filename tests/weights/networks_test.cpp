#include "weights/networks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "file_writers.h"
#include "golden_dir.h"
#include "tensor_writer.h"
#include "weights/config_json.h"
#include "weights/expected_tensors.h"
#include "weights/original_layout.h"

namespace dreamlab {
namespace {

std::filesystem::path model(const std::string& name) {
  return golden_dir() / "models" / name;
}

template <typename Config>
void expect_complete(const NetworkFile<Config>& network) {
  for (const ExpectedTensor& tensor : expected_tensors(network.config))
    EXPECT_NO_THROW(network.weights->get(tensor.name, tensor.shape)) << tensor.name;
}

template <typename Config>
void expect_same(const NetworkFile<Config>& a, const NetworkFile<Config>& b) {
  EXPECT_EQ(a.config, b.config);
  for (const ExpectedTensor& tensor : expected_tensors(a.config)) {
    const HostTensor left = a.weights->get(tensor.name, tensor.shape),
                     right = b.weights->get(tensor.name, tensor.shape);
    ASSERT_EQ(left.dtype, right.dtype) << tensor.name;
    ASSERT_EQ(std::memcmp(left.data, right.data, left.bytes()), 0) << tensor.name;
  }
}

TEST(Networks, OpenTheGoldenControlNets) {
  for (const char* name : {"tiny-sd15-controlnet", "tiny-sdxl-controlnet"}) {
    SCOPED_TRACE(name);
    const auto network = open_controlnet(model(name));
    expect_complete(network);
    EXPECT_EQ(network.config.conditioning_embedding_out_channels, (std::vector<int64_t>{16, 24, 32, 48}));
    expect_same(network, open_controlnet(model(name) / "diffusion_pytorch_model.safetensors"));
  }
  EXPECT_EQ(open_controlnet(model("tiny-sdxl-controlnet")).config.unet.transformer_layers,
            (std::vector<int64_t>{0, 2, 4}));
}

// The original file's names, written out from the structure of ControlNet's own code for two levels of one layer.
TEST(Networks, ReadAControlNetInTheOriginalLayout) {
  TensorWriter writer;
  const auto conv = [&](const std::string& name, int64_t in, int64_t out, int64_t kernel) {
    writer.add("control_model." + name + ".weight", Shape{out, in, kernel, kernel});
    writer.add("control_model." + name + ".bias", Shape{out});
  };
  const auto vector = [&](const std::string& name, int64_t size) {
    writer.add("control_model." + name + ".weight", Shape{size});
    writer.add("control_model." + name + ".bias", Shape{size});
  };
  const auto linear = [&](const std::string& name, int64_t in, int64_t out) {
    writer.add("control_model." + name + ".weight", Shape{out, in});
    writer.add("control_model." + name + ".bias", Shape{out});
  };
  const auto resnet = [&](const std::string& name, int64_t in, int64_t out) {
    vector(name + ".in_layers.0", in);
    conv(name + ".in_layers.2", in, out, 3);
    linear(name + ".emb_layers.1", 256, out);
    vector(name + ".out_layers.0", out);
    conv(name + ".out_layers.3", out, out, 3);
    if (in != out) conv(name + ".skip_connection", in, out, 1);
  };
  linear("time_embed.0", 64, 256);
  linear("time_embed.2", 256, 256);
  conv("input_blocks.0.0", 4, 64, 3);
  resnet("input_blocks.1.0", 64, 64);
  conv("input_blocks.2.0.op", 64, 64, 3);
  resnet("input_blocks.3.0", 64, 128);
  resnet("middle_block.0", 128, 128);
  resnet("middle_block.1", 128, 128);
  const std::vector<int64_t> hints{3, 16, 16, 32, 32, 64};
  for (size_t i = 0; i + 1 < hints.size(); ++i)
    conv(fmt::format("input_hint_block.{}", 2 * i), hints[i], hints[i + 1], 3);
  for (const int i : {0, 1, 2}) conv(fmt::format("zero_convs.{}.0", i), 64, 64, 1);
  conv("zero_convs.3.0", 128, 128, 1);
  conv("middle_block_out.0", 128, 128, 1);

  const TemporaryDirectory directory;
  const auto network = open_controlnet(directory.write("control.safetensors", writer.file()));
  EXPECT_EQ(network.config.unet.block_out_channels, (std::vector<int64_t>{64, 128}));
  EXPECT_EQ(network.config.unet.layers_per_block, 1);
  EXPECT_EQ(network.config.conditioning_embedding_out_channels, (std::vector<int64_t>{16, 32}));
  expect_complete(network);
}

TEST(Networks, OpenTheGoldenTaesd) {
  const auto network = open_taesd(model("tiny-taesd"));
  EXPECT_EQ(network.config.encoder_block_out_channels, (std::vector<int64_t>{16, 16, 16, 16}));
  expect_complete(network);
  expect_same(network, open_taesd(model("tiny-taesd/diffusion_pytorch_model.safetensors")));
}

TEST(Networks, OpenAVaeAloneOrInsideACheckpoint) {
  const auto alone = open_vae(model("tiny-sd15/vae"));
  expect_complete(alone);
  const auto inside = open_vae(model("tiny-sd15.safetensors"));
  EXPECT_TRUE(inside.weights->contains("decoder.mid_block.attentions.0.to_q.weight"));
  expect_same(alone, inside);
}

TEST(Networks, OpenTheGoldenUpscalerUnderAllItsNames) {
  const auto real_esrgan = open_rrdbnet(model("tiny-esrgan.safetensors"));
  RrdbNetConfig expected;
  expected.features = 16;
  expected.blocks = 2;
  expected.growth = 8;
  EXPECT_EQ(real_esrgan.config, expected);
  expect_complete(real_esrgan);
  expect_same(real_esrgan, open_rrdbnet(model("tiny-esrgan-old.safetensors")));
  expect_same(real_esrgan, open_rrdbnet(model("tiny-esrgan.pth")));
}

// Community models number the layers of one Sequential; with two upsamplings its convolutions are 0, 1.sub.N, 3, 6, 8
// and 10.
TEST(Networks, ReadUpscalersNumberedAsASequential) {
  const std::vector<std::pair<std::string, std::string>> outer{
      {"conv_first", "model.0"}, {"conv_body", "model.1.sub.2"}, {"conv_up1", "model.3"},
      {"conv_up2", "model.6"},   {"conv_hr", "model.8"},         {"conv_last", "model.10"}};
  TensorWriter writer;
  writer.add_renamed(*open_tensor_file(model("tiny-esrgan.safetensors")), [&](const std::string& name) {
    for (const auto& [modern, numbered] : outer)
      if (name.starts_with(modern + ".")) return numbered + name.substr(modern.size());
    // body.N.rdbK.convJ.weight -> model.1.sub.N.RDBK.convJ.0.weight
    std::string out = "model.1.sub." + name.substr(5);
    out.replace(out.find("rdb"), 3, "RDB");
    return out.insert(out.rfind('.'), ".0");
  });
  const TemporaryDirectory directory;
  expect_same(open_rrdbnet(model("tiny-esrgan.safetensors")),
              open_rrdbnet(directory.write("4x.safetensors", writer.file())));
}

struct ScaleCase {
  int64_t scale, unshuffle;
};

TEST(Networks, TellAnUpscalersScaleByItsShapes) {
  for (const auto& [scale, unshuffle] : {ScaleCase{4, 1}, ScaleCase{2, 2}, ScaleCase{1, 4}, ScaleCase{2, 1}}) {
    RrdbNetConfig config;
    config.features = 8;
    config.blocks = 3;
    config.growth = 4;
    config.scale = scale;
    config.unshuffle = unshuffle;
    TensorWriter writer;
    writer.add(expected_tensors(config));
    const TemporaryDirectory directory;
    EXPECT_EQ(open_rrdbnet(directory.write("x.safetensors", writer.file())).config, config)
        << scale << "x, unshuffle " << unshuffle;
  }
}

using Hidden = EspcnConfig::Hidden;
using Range = EspcnConfig::Range;

// A file of an ESPCN in the naming given, in the order of the convolutions.
std::string espcn_file(const EspcnConfig& config, const std::vector<std::string>& modules) {
  TensorWriter writer;
  const ExpectedTensors expected = expected_tensors(config);  // weight and bias of each convolution in turn
  for (size_t i = 0; i < expected.size(); ++i)
    writer.add(modules[i / 2] + (i % 2 == 0 ? ".weight" : ".bias"), expected[i].shape);
  return writer.file();
}

struct EspcnNamingCase {
  std::vector<std::string> modules;
  EspcnConfig config;
};

TEST(Networks, TellAnEspcnsImplementationByItsNames) {
  const std::vector<EspcnNamingCase> cases{
      {{"conv1", "conv2", "conv3", "conv4"}, {{64, 64, 32}, {5, 3, 3, 3}, 3, Hidden::relu, false, Range::full}},
      {{"conv1", "conv2", "conv3"}, {{64, 32}, {5, 3, 3}, 2, Hidden::tanh, true, Range::full}},
      {{"first_part.0", "first_part.2", "last_part.0"}, {{64, 32}, {5, 3, 3}, 3, Hidden::tanh, false, Range::studio}},
      {{"feature_maps.0", "feature_maps.2", "sub_pixel.0"},
       {{64, 32}, {5, 3, 3}, 4, Hidden::tanh, false, Range::studio}},
      {{"feature_maps.0", "feature_maps.2", "sub_pixel.0"}, {{8, 4}, {7, 1, 3}, 8, Hidden::tanh, false, Range::studio}},
  };
  for (const EspcnNamingCase& c : cases) {
    const TemporaryDirectory directory;
    const auto network = open_espcn(directory.write("x.safetensors", espcn_file(c.config, c.modules)));
    EXPECT_EQ(network.config, c.config) << c.modules[0];
    expect_complete(network);
  }
}

TEST(Networks, ReadAnEspcnFromAPyTorchFile) {
  using namespace pickle_text;
  const std::string values(16 * 25 * 4, '\0');  // as many bytes as the largest tensor has
  const auto stored = [&](int64_t offset, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
    return tensor(storage("FloatStorage", "0", 16 * 25), offset, sizes, strides);
  };
  const std::string weights = dict({{"first_part.0.weight", stored(0, {4, 1, 5, 5}, {25, 25, 5, 1})},
                                    {"first_part.0.bias", stored(0, {4}, {1})},
                                    {"first_part.2.weight", stored(0, {2, 4, 3, 3}, {36, 9, 3, 1})},
                                    {"first_part.2.bias", stored(0, {2}, {1})},
                                    {"last_part.0.weight", stored(0, {9, 2, 3, 3}, {18, 9, 3, 1})},
                                    {"last_part.0.bias", stored(0, {9}, {1})}});
  const TemporaryDirectory directory;
  for (const std::string& object : {weights, dict({{"epoch", integer(7)}, {"state_dict", weights}})}) {
    const auto network = open_espcn(directory.write("espcn.pth", pytorch_zip(object, {{"0", values}})));
    EXPECT_EQ(network.config, (EspcnConfig{{4, 2}, {5, 3, 3}, 3, Hidden::tanh, false, Range::studio}));
    expect_complete(network);
  }
}

TEST(Networks, RefuseAnEspcnOfAnotherStructure) {
  const std::vector<std::string> modules{"conv1", "conv2", "conv3"};
  const TemporaryDirectory directory;
  const auto write = [&](const EspcnConfig& config) {
    return directory.write("x.safetensors", espcn_file(config, modules));
  };
  // SRCNN has the same names, and one channel in the end.
  const auto srcnn = write({{64, 32}, {9, 5, 5}, 1, Hidden::relu, false, Range::full});
  expect_error(ErrorKind::unsupported, "conv3.weight has 1 channels; the square of a scale from 2 to 8",
               [&] { open_espcn(srcnn); });
  const auto even = write({{64, 32}, {4, 3, 3}, 2, Hidden::tanh, true, Range::full});
  expect_error(ErrorKind::unsupported, "odd windows up to 31", [&] { open_espcn(even); });
  TensorWriter rgb;
  rgb.add("conv1.weight", Shape{64, 3, 5, 5});
  rgb.add("conv2.weight", Shape{32, 64, 3, 3});
  rgb.add("conv3.weight", Shape{12, 32, 3, 3});
  const auto colors = directory.write("rgb.safetensors", rgb.file());
  expect_error(ErrorKind::unsupported, "an ESPCN on 3 channels; 1 (luminance) is allowed", [&] { open_espcn(colors); });
  TensorWriter part;
  part.add("first_part.0.weight", Shape{64, 1, 5, 5});
  part.add("last_part.0.weight", Shape{9, 32, 3, 3});
  const auto partial = directory.write("part.safetensors", part.file());
  expect_error(ErrorKind::invalid_file, "some of the convolutions are missing", [&] { open_espcn(partial); });
}

TEST(Networks, SayWhatAFileIsInsteadOfTheNetworkWanted) {
  expect_error(ErrorKind::invalid_file, "is a TAESD (AutoencoderTiny); a ControlNet is expected",
               [] { open_controlnet(model("tiny-taesd")); });
  expect_error(ErrorKind::invalid_file, "is a LoRA; an upscaler (RRDBNet) is expected",
               [] { open_rrdbnet(model("tiny-sd15-lora-peft.safetensors")); });
  expect_error(ErrorKind::unavailable, "no such file or directory", [] { open_vae("/nowhere"); });
}

TEST(Networks, IgnoreTheConfigurationOfAnotherNetworkBesideThem) {
  const TemporaryDirectory directory;
  directory.write("config.json", R"({"_class_name": "UNet2DConditionModel", "in_channels": 9})");
  std::filesystem::create_symlink(std::filesystem::absolute(model("tiny-taesd/diffusion_pytorch_model.safetensors")),
                                  directory.path() / "taesd.safetensors");
  EXPECT_EQ(open_taesd(directory.path() / "taesd.safetensors").config.in_channels, 3);
}

}  // namespace
}  // namespace dreamlab
