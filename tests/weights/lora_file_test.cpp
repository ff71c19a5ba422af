#include "weights/lora_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "file_writers.h"
#include "golden_dir.h"
#include "tensor_writer.h"
#include "weights/checkpoint.h"

namespace dreamlab {
namespace {

struct GoldenLora {
  const char* file;
  const char* model;
  size_t layers;
  const char* naming;
  float alpha;
  int64_t width;
};

class GoldenLoras : public testing::TestWithParam<GoldenLora> {};

// The numbers of layers are the files' numbers of tensors over three (down, up, alpha) or two (no alpha).
INSTANTIATE_TEST_SUITE_P(
    Files, GoldenLoras,
    testing::Values(GoldenLora{"tiny-sd15-lora-kohya", "tiny-sd15.safetensors", 210, "kohya", 2, 32},
                    GoldenLora{"tiny-sd15-lora-locon", "tiny-sd15.safetensors", 277, "kohya", 4, 32},
                    GoldenLora{"tiny-sd15-lora-peft", "tiny-sd15", 172, "diffusers", 4, 32},
                    GoldenLora{"tiny-sd2-lora-kohya", "tiny-sd2.safetensors", 210, "kohya", 2, 48},
                    GoldenLora{"tiny-sdxl-lora-kohya", "tiny-sdxl.safetensors", 404, "kohya (sgm names)", 2, 96},
                    GoldenLora{"tiny-sdxl-lora-locon", "tiny-sdxl.safetensors", 427, "kohya", 4, 96},
                    GoldenLora{"tiny-sdxl-lora-peft", "tiny-sdxl", 368, "diffusers", 4, 96}));

TEST_P(GoldenLoras, EveryTensorFindsItsModule) {
  const ModelConfig target = Checkpoint::open(golden_dir() / "models" / GetParam().model)->config();
  const LoraFile lora =
      LoraFile::open(golden_dir() / "models" / (std::string(GetParam().file) + ".safetensors"), &target);
  EXPECT_EQ(lora.layers().size(), GetParam().layers);
  EXPECT_THAT(lora.unknown_tensors(), testing::IsEmpty());
  EXPECT_EQ(lora.naming(), GetParam().naming);
  EXPECT_EQ(lora.cross_attention_dim(), GetParam().width);
  std::set<std::string> modules;
  for (const LoraLayer& layer : lora.layers()) {
    EXPECT_TRUE(modules.insert(layer.module).second) << layer.module << " twice";
    EXPECT_EQ(layer.rank(), 4) << layer.module;
    EXPECT_EQ(layer.alpha, GetParam().alpha) << layer.module;
  }
}

TEST_P(GoldenLoras, ResolvesTheSameModulesWithoutTheModel) {
  const auto path = golden_dir() / "models" / (std::string(GetParam().file) + ".safetensors");
  const ModelConfig target = Checkpoint::open(golden_dir() / "models" / GetParam().model)->config();
  const LoraFile with = LoraFile::open(path, &target), without = LoraFile::open(path, nullptr);
  std::set<std::string> a, b;
  for (const LoraLayer& layer : with.layers()) a.insert(layer.module);
  for (const LoraLayer& layer : without.layers()) b.insert(layer.module);
  EXPECT_EQ(a, b);
}

const LoraLayer* find(const LoraFile& lora, const std::string& module) {
  for (const LoraLayer& layer : lora.layers())
    if (layer.module == module) return &layer;
  return nullptr;
}

TEST(LoraFile, MapsSgmBlockNumbersToDiffusersBlocks) {
  const ModelConfig target = Checkpoint::open(golden_dir() / "models/tiny-sdxl.safetensors")->config();
  const auto path = golden_dir() / "models/tiny-sdxl-lora-kohya.safetensors";
  const LoraFile lora = LoraFile::open(path, &target);
  const auto file = open_tensor_file(path);
  const std::vector<std::pair<std::string, std::string>> pairs{
      {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k",
       "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"},
      {"lora_unet_input_blocks_8_1_proj_in", "unet.down_blocks.2.attentions.1.proj_in"},
      {"lora_unet_middle_block_1_transformer_blocks_3_ff_net_0_proj",
       "unet.mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj"},
      {"lora_unet_output_blocks_2_1_transformer_blocks_0_attn2_to_out_0",
       "unet.up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_out.0"},
      {"lora_unet_output_blocks_3_1_transformer_blocks_1_attn1_to_q",
       "unet.up_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"},
      {"lora_te1_text_model_encoder_layers_1_mlp_fc2", "text_encoder.text_model.encoder.layers.1.mlp.fc2"},
      {"lora_te2_text_model_encoder_layers_3_self_attn_out_proj",
       "text_encoder_2.text_model.encoder.layers.3.self_attn.out_proj"}};
  for (const auto& [stored, module] : pairs) {
    const LoraLayer* layer = find(lora, module);
    ASSERT_NE(layer, nullptr) << module;
    const HostTensor* down = file->find(stored + ".lora_down.weight");
    ASSERT_NE(down, nullptr) << stored;
    EXPECT_THAT(layer->down.to_f32(), testing::ElementsAreArray(aligned(*down).to_f32())) << module;
  }
}

TEST(LoraFile, RefusesALoraOfAnotherFamilyWithBothWidths) {
  const ModelConfig target = Checkpoint::open(golden_dir() / "models/tiny-sdxl.safetensors")->config();
  expect_error(ErrorKind::invalid_file,
               "tiny-sd15-lora-kohya.safetensors: made for another model: its cross-attention width is 32, this "
               "model's (SDXL) is 96",
               [&] { LoraFile::open(golden_dir() / "models/tiny-sd15-lora-kohya.safetensors", &target); });
}

TEST(LoraFile, RefusesAFileThatIsNoLora) {
  expect_error(ErrorKind::invalid_file, "is an upscaler (RRDBNet); a LoRA is expected",
               [] { LoraFile::open(golden_dir() / "models/tiny-esrgan.safetensors", nullptr); });
}

class SmallLora : public testing::Test {
 protected:
  void pair(const std::string& name, const Shape& down = {2, 320}, const Shape& up = {320, 2},
            const char* down_name = ".lora_down.weight", const char* up_name = ".lora_up.weight") {
    writer_.add(name + down_name, down);
    writer_.add(name + up_name, up);
  }
  void hadamard(const std::string& name, int64_t rank, int64_t out, int64_t columns) {
    for (const char* number : {"1", "2"}) {
      writer_.add(name + ".hada_w" + number + "_a", Shape{out, rank});
      writer_.add(name + ".hada_w" + number + "_b", Shape{rank, columns});
    }
  }
  LoraFile open() { return LoraFile::open(directory_.write("l.safetensors", writer_.file()), &target_); }

  const std::string kQuery = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
  ModelConfig target_ = published_config(Family::sd1);
  TemporaryDirectory directory_;
  TensorWriter writer_;
};

TEST_F(SmallLora, TakesTheRankForAnAbsentAlpha) {
  pair(kQuery);
  EXPECT_EQ(open().layers()[0].scale(), 1.0f);
}

TEST_F(SmallLora, ReadsDiffusersOlderNames) {
  pair("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q", {2, 320}, {320, 2},
       "_lora.down.weight", "_lora.up.weight");
  pair("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out", {2, 320}, {320, 2},
       "_lora.down.weight", "_lora.up.weight");
  pair("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", {2, 768}, {768, 2},
       ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight");
  const LoraFile lora = open();
  EXPECT_THAT(lora.unknown_tensors(), testing::IsEmpty());
  EXPECT_NE(find(lora, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"), nullptr);
  EXPECT_NE(find(lora, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"), nullptr);
  EXPECT_NE(find(lora, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"), nullptr);
}

TEST_F(SmallLora, ReportsWhatItCannotPlace) {
  pair(kQuery);
  pair("lora_unet_no_such_module");
  writer_.add("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", Shape{2, 768});
  EXPECT_THAT(
      open().unknown_tensors(),
      testing::ElementsAre("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
                           "lora_unet_no_such_module.lora_down.weight", "lora_unet_no_such_module.lora_up.weight"));
}

TEST_F(SmallLora, LeavesOutWholeLayersOfRicherMethods) {
  pair(kQuery);
  pair("lora_unet_mid_block_resnets_0_conv1", {2, 1280, 3, 3}, {1280, 2, 1, 1});
  writer_.add("lora_unet_mid_block_resnets_0_conv1.dora_scale", Shape{1280});
  const LoraFile lora = open();
  EXPECT_EQ(lora.layers().size(), 1u);
  EXPECT_EQ(lora.unknown_tensors().size(), 3u);
}

TEST_F(SmallLora, RefusesAFileOfRicherMethodsOnly) {
  for (const char* part : {"lokr_w1", "lokr_w2"}) writer_.add(kQuery + "." + part, Shape{4, 320});
  expect_error(ErrorKind::unsupported, "none of its 2 tensors is a LoRA layer", [&] { open(); });
}

TEST_F(SmallLora, ReadsTheFactorsOfLoHa) {
  hadamard(kQuery, 4, 320, 320);
  writer_.add(kQuery + ".alpha", HostTensor::from_f32(std::vector<float>{2}, Shape{}));
  hadamard("lora_unet_mid_block_resnets_0_conv1", 3, 1280, 1280 * 9);
  hadamard("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 4, 320, 768);
  const LoraFile lora = open();
  EXPECT_THAT(lora.unknown_tensors(), testing::IsEmpty());
  EXPECT_EQ(lora.cross_attention_dim(), 768);
  const LoraLayer* query = find(lora, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q");
  ASSERT_NE(query, nullptr);
  EXPECT_TRUE(query->is_hadamard());
  EXPECT_EQ(query->scale(), 0.5f);
  EXPECT_EQ(query->down.shape, (Shape{4, 320}));
  EXPECT_EQ(query->second_up.shape, (Shape{320, 4}));
  const LoraLayer* conv = find(lora, "unet.mid_block.resnets.0.conv1");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->down.shape, (Shape{3, 1280, 3, 3})) << "the window of the module";
  EXPECT_EQ(conv->second_down.shape, (Shape{3, 1280, 3, 3}));
  EXPECT_EQ(conv->scale(), 1.0f);
}

TEST_F(SmallLora, LeavesOutALoHaOfTuckerFactors) {
  pair(kQuery);
  hadamard("lora_unet_mid_block_resnets_0_conv1", 3, 1280, 1280 * 9);
  writer_.add("lora_unet_mid_block_resnets_0_conv1.hada_t1", Shape{3, 3, 3, 3});
  const LoraFile lora = open();
  EXPECT_EQ(lora.layers().size(), 1u);
  EXPECT_EQ(lora.unknown_tensors().size(), 5u);
}

TEST_F(SmallLora, LeavesOutAModuleOfTwoMethodsAtOnce) {
  pair("lora_unet_mid_block_attentions_0_proj_in", {2, 1280, 1, 1}, {1280, 2, 1, 1});
  pair(kQuery);
  hadamard(kQuery, 4, 320, 320);
  EXPECT_EQ(open().layers().size(), 1u);
}

TEST_F(SmallLora, RefusesALoHaWhoseProductsDiffer) {
  writer_.add(kQuery + ".hada_w1_a", Shape{320, 4});
  writer_.add(kQuery + ".hada_w1_b", Shape{4, 320});
  writer_.add(kQuery + ".hada_w2_a", Shape{320, 4});
  writer_.add(kQuery + ".hada_w2_b", Shape{4, 640});
  expect_error(ErrorKind::invalid_file, "are of different shapes", [&] { open(); });
}

TEST_F(SmallLora, RefusesALoHaOfAnotherWidth) {
  hadamard(kQuery, 4, 640, 640);
  expect_error(ErrorKind::invalid_file, "made for another model: " + kQuery, [&] { open(); });
}

TEST_F(SmallLora, RefusesFactorsThatDoNotMultiply) {
  pair(kQuery, {2, 320}, {320, 3});
  expect_error(ErrorKind::invalid_file, "factors f16 [320, 3] and f16 [2, 320] do not multiply", [&] { open(); });
}

TEST_F(SmallLora, RefusesALayerOfAnotherWidth) {
  pair(kQuery, {2, 640}, {640, 2});
  expect_error(ErrorKind::invalid_file, "made for another model: " + kQuery, [&] { open(); });
}

TEST_F(SmallLora, RefusesAnAlphaThatIsNoNumber) {
  pair(kQuery);
  writer_.add(kQuery + ".alpha", HostTensor::from_f32(std::vector<float>{NAN}, Shape{}));
  expect_error(ErrorKind::invalid_file, "has an alpha of nan", [&] { open(); });
}

}  // namespace
}  // namespace dreamlab
