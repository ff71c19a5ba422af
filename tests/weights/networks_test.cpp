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
