#include "weights/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "file_writers.h"
#include "golden_dir.h"
#include "tensor_writer.h"

namespace dreamlab {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

FileReport inspect(const std::string& name) {
  return inspect_file(golden_dir() / "models" / name);
}

struct KindCase {
  const char* file;
  FileKind kind;
  const char* format;
  std::optional<int64_t> width;
  size_t parts;
};

class GoldenFiles : public testing::TestWithParam<KindCase> {};

INSTANTIATE_TEST_SUITE_P(
    Models, GoldenFiles,
    testing::Values(KindCase{"tiny-sd15.safetensors", FileKind::checkpoint, "safetensors", 32, 3},
                    KindCase{"tiny-sd15.ckpt", FileKind::checkpoint, "PyTorch zip", 32, 3},
                    KindCase{"tiny-sd15", FileKind::checkpoint, "diffusers directory", 32, 3},
                    KindCase{"tiny-sd2.safetensors", FileKind::checkpoint, "safetensors", 48, 3},
                    KindCase{"tiny-sdxl.safetensors", FileKind::checkpoint, "safetensors", 96, 4},
                    KindCase{"tiny-sdxl", FileKind::checkpoint, "diffusers directory", 96, 4},
                    KindCase{"tiny-refiner.safetensors", FileKind::checkpoint, "safetensors", 48, 3},
                    KindCase{"tiny-sd15-inpaint", FileKind::unet, "diffusers directory", 32, 1},
                    KindCase{"tiny-sd15-controlnet", FileKind::controlnet, "safetensors", 32, 1},
                    KindCase{"tiny-sdxl-lora-kohya.safetensors", FileKind::lora, "safetensors", 96, 1},
                    KindCase{"tiny-sd15-lora-locon.safetensors", FileKind::lora, "safetensors", 32, 1},
                    KindCase{"tiny-sd15-lora-peft.safetensors", FileKind::lora, "safetensors", 32, 1},
                    KindCase{"tiny-esrgan.pth", FileKind::upscaler, "PyTorch zip", std::nullopt, 1},
                    KindCase{"tiny-esrgan-old.safetensors", FileKind::upscaler, "safetensors", std::nullopt, 1},
                    KindCase{"tiny-taesd", FileKind::taesd, "safetensors", std::nullopt, 1},
                    KindCase{"tiny-sd15/vae", FileKind::vae, "safetensors", std::nullopt, 1},
                    KindCase{"tiny-sdxl/text_encoder_2", FileKind::text_encoder, "safetensors", std::nullopt, 1}));

TEST(Inspect, NamesAnEspcnWithItsScale) {
  TensorWriter writer;
  const EspcnConfig config;
  writer.add(expected_tensors(config));
  writer.add("optimizer_step", Shape{1});
  const TemporaryDirectory directory;
  const FileReport report = inspect_file(directory.write("espcn.safetensors", writer.file()));
  EXPECT_EQ(report.kind, FileKind::espcn);
  EXPECT_EQ(name_of(report.kind), "upscaler (ESPCN)");
  EXPECT_EQ(report.facts.at("scale"), "3x");
  EXPECT_EQ(report.facts.at("size"), "64, 32 features, windows of 5, 3, 3");
  ASSERT_EQ(report.parts.size(), 1u);
  EXPECT_THAT(report.parts[0].missing, IsEmpty());
  EXPECT_EQ(report.parts[0].parameters, 22729);
  EXPECT_THAT(report.unknown, testing::ElementsAre("optimizer_step"));
}

TEST_P(GoldenFiles, AreRecognizedAndComplete) {
  const FileReport report = inspect(GetParam().file);
  EXPECT_EQ(report.kind, GetParam().kind);
  EXPECT_EQ(report.format, GetParam().format);
  EXPECT_EQ(report.cross_attention_dim, GetParam().width);
  ASSERT_EQ(report.parts.size(), GetParam().parts);
  EXPECT_THAT(report.unknown, IsEmpty());
  EXPECT_GT(report.bytes, 0u);
  for (const PartReport& part : report.parts) {
    EXPECT_THAT(part.missing, IsEmpty()) << part.name;
    EXPECT_GT(part.parameters, 0) << part.name;
  }
}

TEST(Inspect, CountsParametersOfEachPart) {
  const FileReport file = inspect("tiny-sd15.safetensors"), directory = inspect("tiny-sd15");
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(file.parts[i].parameters, directory.parts[i].parameters) << file.parts[i].name;
  EXPECT_EQ(file.parts[0].name, "UNet");
  EXPECT_EQ(file.parameters_by_dtype.at("i64"), 77);
  EXPECT_EQ(file.parameters_by_dtype.at("f32"), 2000);
}

TEST(Inspect, TellsFamilyAndPredictionType) {
  EXPECT_EQ(inspect("tiny-sd2.safetensors").family, Family::sd2);
  EXPECT_EQ(inspect("tiny-sd2.safetensors").prediction_type, PredictionType::v_prediction);
  EXPECT_EQ(inspect("tiny-refiner.safetensors").family, Family::sdxl_refiner);
  EXPECT_EQ(inspect("tiny-sd15-inpaint").facts.at("in-painting"), "yes");
  EXPECT_EQ(inspect("tiny-esrgan.pth").facts.at("scale"), "4x");
}

TEST(Inspect, ListsMissingUnfitAndUnknownTensors) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add_renamed(*open_tensor_file(golden_dir() / "models/tiny-esrgan.safetensors"), [](const std::string& name) {
    return name == "conv_hr.bias" || name == "conv_body.bias" ? "" : name;
  });
  writer.add("conv_body.bias", Shape{17});
  writer.add("surplus", Shape{1});
  const FileReport report = inspect_file(directory.write("x.safetensors", writer.file()));
  EXPECT_EQ(report.kind, FileKind::upscaler);
  EXPECT_THAT(report.parts[0].missing, ElementsAre("conv_body.bias (is [17], not [16])", "conv_hr.bias"));
  EXPECT_THAT(report.unknown, ElementsAre("surplus"));
}

TEST(Inspect, NamesATextEmbedding) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add("emb_params", Shape{4, 768});
  EXPECT_EQ(inspect_file(directory.write("x.safetensors", writer.file())).kind, FileKind::embedding);
}

TEST(Inspect, DescribesAFileOfNoKnownNetwork) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add("layer.0", Shape{4, 4});
  writer.add("layer.1", Shape{4, 4});
  const FileReport report = inspect_file(directory.write("x.safetensors", writer.file()));
  EXPECT_EQ(report.kind, FileKind::unknown);
  EXPECT_THAT(report.unknown, ElementsAre("layer.0", "layer.1"));
}

}  // namespace
}  // namespace dreamlab
