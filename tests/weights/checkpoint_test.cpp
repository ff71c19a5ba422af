#include "weights/checkpoint.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "file_writers.h"
#include "golden_dir.h"
#include "tensor_writer.h"
#include "weights/config_json.h"
#include "weights/expected_tensors.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

std::unique_ptr<Checkpoint> open_model(const std::string& name) {
  return Checkpoint::open(golden_dir() / "models" / name);
}

// A changed copy of a golden single file, with the sidecar that it needs.
std::unique_ptr<Checkpoint> open_changed(const TemporaryDirectory& directory, const std::string& golden,
                                         const TensorWriter& writer) {
  std::filesystem::copy_file(golden_dir() / "models" / (golden + ".config.json"),
                             directory.path() / "changed.config.json",
                             std::filesystem::copy_options::overwrite_existing);
  return Checkpoint::open(directory.write("changed.safetensors", writer.file()));
}

std::shared_ptr<const TensorFile> golden_file(const std::string& name) {
  return open_tensor_file(golden_dir() / "models" / (name + ".safetensors"));
}

// Every tensor that the network needs is in both sources, with the same dtype and the same bytes.
void expect_same(const WeightSource& a, const WeightSource& b, const ExpectedTensors& tensors) {
  ASSERT_FALSE(tensors.empty());
  for (const ExpectedTensor& expected : tensors) {
    SCOPED_TRACE(expected.name);
    ASSERT_EQ(a.shape_of(expected.name), std::optional(expected.shape));
    ASSERT_EQ(b.shape_of(expected.name), std::optional(expected.shape));
    const HostTensor left = a.get(expected.name, expected.shape), right = b.get(expected.name, expected.shape);
    ASSERT_EQ(left.dtype, right.dtype);
    ASSERT_EQ(std::memcmp(left.data, right.data, left.bytes()), 0);
  }
}

void expect_same_model(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.config().family, b.config().family);
  EXPECT_EQ(a.config().unet, b.config().unet);
  EXPECT_EQ(a.config().vae, b.config().vae);
  EXPECT_EQ(a.config().text_encoders, b.config().text_encoders);
  EXPECT_EQ(a.config().schedule, b.config().schedule);
  EXPECT_EQ(a.config().native_size, b.config().native_size);
  expect_same(a.unet(), b.unet(), expected_tensors(a.config().unet));
  expect_same(a.vae(), b.vae(), expected_tensors(a.config().vae));
  for (size_t i = 0; i < a.config().text_encoders.size(); ++i)
    expect_same(a.text_encoder(i), b.text_encoder(i), expected_tensors(a.config().text_encoders[i]));
  EXPECT_TRUE(a.unknown_tensors().empty()) << a.unknown_tensors()[0];
  EXPECT_TRUE(b.unknown_tensors().empty()) << b.unknown_tensors()[0];
}

TEST(Checkpoint, GivesTheSameSd15FromASingleFileAndADirectory) {
  expect_same_model(*open_model("tiny-sd15.safetensors"), *open_model("tiny-sd15"));
}

TEST(Checkpoint, GivesTheSameSd15FromAPickle) {
  const auto pickle = open_model("tiny-sd15.ckpt");
  EXPECT_EQ(pickle->format(), "PyTorch zip");
  expect_same_model(*pickle, *open_model("tiny-sd15.safetensors"));
}

TEST(Checkpoint, GivesTheSameSdxlFromASingleFileAndADirectory) {
  const auto file = open_model("tiny-sdxl.safetensors"), directory = open_model("tiny-sdxl");
  expect_same_model(*file, *directory);
  EXPECT_EQ(file->config().family, Family::sdxl);
}

TEST(Checkpoint, ReadsSd2WithItsOpenClipTower) {
  const auto model = open_model("tiny-sd2.safetensors");
  EXPECT_EQ(model->config().family, Family::sd2);
  EXPECT_EQ(model->config().schedule.prediction_type, PredictionType::v_prediction);
  ASSERT_EQ(model->config().text_encoders.size(), 1u);
  const TextEncoderConfig& text = model->config().text_encoders[0];
  EXPECT_EQ(text.layers, 3) << "the fourth block is stored but not used";
  EXPECT_EQ(text.pad_id, 0);
  EXPECT_EQ(text.projection_dim, 0);
  for (const ExpectedTensor& tensor : expected_tensors(text))
    EXPECT_NO_THROW(model->text_encoder(0).get(tensor.name, tensor.shape));
  EXPECT_TRUE(model->unknown_tensors().empty()) << model->unknown_tensors()[0];
}

TEST(Checkpoint, SplitsOpenClipsFusedProjectionsInOrder) {
  const auto model = open_model("tiny-sd2.safetensors");
  const auto file = open_tensor_file(golden_dir() / "models" / "tiny-sd2.safetensors");
  const HostTensor* fused = file->find("cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight");
  ASSERT_NE(fused, nullptr);
  const int64_t width = model->config().text_encoders[0].hidden_size;
  int64_t row = 0;
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const HostTensor part = model->text_encoder(0).get(
        fmt::format("text_model.encoder.layers.1.self_attn.{}.weight", name), {width, width});
    EXPECT_EQ(std::memcmp(part.data, fused->rows(row, row + width).data, part.bytes()), 0) << name;
    row += width;
  }
}

TEST(Checkpoint, ReadsTheRefiner) {
  const auto model = open_model("tiny-refiner.safetensors");
  const ModelConfig& config = model->config();
  EXPECT_EQ(config.family, Family::sdxl_refiner);
  EXPECT_TRUE(config.requires_aesthetics_score);
  EXPECT_FALSE(config.force_zeros_for_empty_prompt);
  EXPECT_EQ(config.unet.transformer_layers, (std::vector<int64_t>{0, 4, 4, 0}));
  EXPECT_EQ(config.unet.projection_class_embeddings_input_dim,
            config.text_encoders.at(0).projection_dim + 5 * config.unet.addition_time_embed_dim);
  ASSERT_EQ(config.text_encoders.size(), 1u);
  EXPECT_EQ(config.text_encoders[0].projection_dim, config.text_encoders[0].hidden_size);
  for (const ExpectedTensor& tensor : expected_tensors(config.unet))
    EXPECT_NO_THROW(model->unet().get(tensor.name, tensor.shape));
  for (const ExpectedTensor& tensor : expected_tensors(config.text_encoders[0]))
    EXPECT_NO_THROW(model->text_encoder(0).get(tensor.name, tensor.shape));
  EXPECT_TRUE(model->unknown_tensors().empty()) << model->unknown_tensors()[0];
}

TEST(Checkpoint, OpensAUNetWithoutTheRest) {
  const auto model = open_model("tiny-sd15-inpaint");
  EXPECT_TRUE(model->config().is_inpainting());
  EXPECT_TRUE(model->has_unet());
  EXPECT_FALSE(model->has_vae());
  EXPECT_FALSE(model->has_text_encoder(0));
  EXPECT_NO_THROW(model->unet().get("conv_in.weight", {model->config().unet.block_out_channels[0], 9, 3, 3}));
  expect_error(ErrorKind::unavailable, "this model has no vae directory", [&] { model->vae(); });
  expect_error(ErrorKind::unavailable, "this model has no text encoder 1", [&] { model->text_encoder(0); });
}

TEST(Checkpoint, OpensTheDirectoryOfAUNetItself) {
  EXPECT_EQ(open_model("tiny-sd15-inpaint/unet")->config().unet.in_channels, 9);
}

TEST(Checkpoint, OpensAUNetFileInDiffusersLayout) {
  const TemporaryDirectory directory;
  UNetConfig config = published_config(Family::sd1).unet;
  config.block_out_channels = {32, 64, 64, 64};
  TensorWriter writer;
  writer.add(expected_tensors(config));
  const auto model = Checkpoint::open(directory.write("unet.safetensors", writer.file()));
  EXPECT_EQ(model->config().family, Family::sd1);
  EXPECT_EQ(model->config().unet, config);
  EXPECT_TRUE(model->unknown_tensors().empty());
}

// A sidecar with nothing but the groups and heads, which shapes do not tell.
nlohmann::json groups_and_heads(const nlohmann::json& whole) {
  nlohmann::json text = nlohmann::json::array();
  for (const nlohmann::json& encoder : whole["text_encoders"])
    text.push_back({{"num_attention_heads", encoder["num_attention_heads"]}});
  return {{"unet",
           {{"norm_num_groups", whole["unet"]["norm_num_groups"]},
            {"attention_head_dim", whole["unet"]["attention_head_dim"]}}},
          {"vae", {{"norm_num_groups", whole["vae"]["norm_num_groups"]}}},
          {"text_encoders", text}};
}

TEST(Checkpoint, ReadsFromShapesAllThatShapesTell) {
  const TemporaryDirectory directory;
  for (const std::string name : {"tiny-sd15", "tiny-sdxl", "tiny-refiner"}) {
    SCOPED_TRACE(name);
    const auto golden = golden_dir() / "models" / (name + ".safetensors");
    std::filesystem::create_symlink(std::filesystem::absolute(golden), directory.path() / (name + ".safetensors"));
    const nlohmann::json whole = read_json_file(golden_dir() / "models" / (name + ".config.json"));
    directory.write(name + ".config.json", groups_and_heads(whole).dump());
    const ModelConfig found = Checkpoint::open(directory.path() / (name + ".safetensors"))->config();
    const ModelConfig told = Checkpoint::open(golden)->config();
    EXPECT_EQ(found.family, told.family);
    EXPECT_EQ(found.unet, told.unet);
    EXPECT_EQ(found.vae, told.vae);
    EXPECT_EQ(found.text_encoders, told.text_encoders);
  }
}

TEST(Checkpoint, AsksForASidecarWhereTheUsualGroupsDoNotFit) {
  const TemporaryDirectory directory;
  UNetConfig config = published_config(Family::sd1).unet;
  config.block_out_channels = {8, 16, 16, 16};
  TensorWriter writer;
  writer.add(expected_tensors(config));
  expect_error(ErrorKind::invalid_file,
               "8 UNet channels do not divide into 32 groups; unet.config.json may say otherwise",
               [&] { Checkpoint::open(directory.write("unet.safetensors", writer.file())); });
}

// An SD 2.x UNet whose telling layer norm has biases of one size and both signs.
std::string sd2_unet(float bias_spread, int64_t in_channels = 4) {
  UNetConfig config = published_config(Family::sd2).unet;
  config.block_out_channels = {64, 64, 64, 64};
  config.in_channels = in_channels;
  TensorWriter writer;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    if (tensor.name != "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias") {
      writer.add(tensor.name, tensor.shape);
      continue;
    }
    std::vector<float> bias(static_cast<size_t>(tensor.shape[0]));
    for (size_t i = 0; i < bias.size(); ++i) bias[i] = i % 2 ? bias_spread : -bias_spread;
    writer.add(tensor.name, HostTensor::from_f32(bias, tensor.shape));
  }
  return writer.file();
}

TEST(Checkpoint, TellsSd2sPredictionTypeBySpreadOfANorm) {
  const TemporaryDirectory directory;
  const ModelConfig base = Checkpoint::open(directory.write("base.safetensors", sd2_unet(0.05f)))->config();
  EXPECT_EQ(base.family, Family::sd2);
  EXPECT_EQ(base.schedule.prediction_type, PredictionType::epsilon);
  EXPECT_EQ(base.native_size, 512);
  const ModelConfig v = Checkpoint::open(directory.write("v.safetensors", sd2_unet(0.15f)))->config();
  EXPECT_EQ(v.schedule.prediction_type, PredictionType::v_prediction);
  EXPECT_EQ(v.native_size, 768);
  const ModelConfig inpaint = Checkpoint::open(directory.write("inpaint.safetensors", sd2_unet(0.15f, 9)))->config();
  EXPECT_EQ(inpaint.schedule.prediction_type, PredictionType::epsilon);
}

TEST(Checkpoint, KnowsTheMarksOfVPredictionAndZeroTerminalSnr) {
  const TemporaryDirectory directory;
  UNetConfig config = published_config(Family::sdxl).unet;
  config.block_out_channels = {32, 64, 64};
  config.transformer_layers = {0, 1, 1};
  config.mid_transformer_layers = 1;
  TensorWriter writer;
  writer.add(expected_tensors(config));
  EXPECT_EQ(Checkpoint::open(directory.write("e.safetensors", writer.file()))->config().schedule.prediction_type,
            PredictionType::epsilon);
  writer.add("v_pred", Shape{0});
  writer.add("ztsnr", Shape{0});
  const auto model = Checkpoint::open(directory.write("v.safetensors", writer.file()));
  EXPECT_EQ(model->config().family, Family::sdxl);
  EXPECT_EQ(model->config().schedule.prediction_type, PredictionType::v_prediction);
  EXPECT_TRUE(model->config().schedule.rescale_betas_zero_snr);
  EXPECT_TRUE(model->unknown_tensors().empty());
}

TEST(Checkpoint, FindsTheGuidanceEmbeddingOfLcmModels) {
  for (const char* name : {"time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"}) {
    const TemporaryDirectory directory;
    TensorWriter writer;
    writer.add_renamed(*golden_file("tiny-sd15"), [](const std::string& stored) { return stored; });
    writer.add(std::string("model.diffusion_model.") + name, Shape{32, 256});
    const auto model = open_changed(directory, "tiny-sd15", writer);
    EXPECT_EQ(model->config().unet.time_cond_proj_dim, 256) << name;
    EXPECT_NO_THROW(model->unet().get("time_embedding.cond_proj.weight", {32, 256})) << name;
    EXPECT_TRUE(model->unknown_tensors().empty());
  }
}

TEST(Checkpoint, ReadsTheOlderNamesOfTheVaesAttention) {
  const TemporaryDirectory directory;
  const auto golden = golden_dir() / "models" / "tiny-sd15";
  for (const char* part : {"unet", "text_encoder"}) {
    std::filesystem::create_directories(directory.path() / part);
    for (const auto& entry : std::filesystem::directory_iterator(golden / part))
      std::filesystem::create_symlink(std::filesystem::absolute(entry.path()),
                                      directory.path() / part / entry.path().filename());
  }
  std::filesystem::create_directories(directory.path() / "vae");
  std::filesystem::copy_file(golden / "vae/config.json", directory.path() / "vae/config.json");
  TensorWriter writer;
  writer.add_renamed(*open_tensor_file(golden / "vae/diffusion_pytorch_model.safetensors"), [](std::string name) {
    const std::vector<std::pair<std::string, std::string>> old_names{
        {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    for (const auto& [now, then] : old_names)
      if (const size_t at = name.find(now); at != std::string::npos) name.replace(at, now.size(), then);
    return name;
  });
  directory.write("vae/diffusion_pytorch_model.safetensors", writer.file());
  const auto model = Checkpoint::open(directory.path()), reference = open_model("tiny-sd15");
  expect_same(model->vae(), reference->vae(), expected_tensors(model->config().vae));
}

TEST(Checkpoint, PrefersTheFp16VariantOfADirectory) {
  const TemporaryDirectory directory;
  const auto golden = golden_dir() / "models/tiny-sd15-inpaint/unet";
  std::filesystem::copy_file(golden / "config.json", directory.path() / "config.json");
  directory.write("diffusion_pytorch_model.safetensors", "damaged");
  std::filesystem::create_symlink(std::filesystem::absolute(golden / "diffusion_pytorch_model.safetensors"),
                                  directory.path() / "diffusion_pytorch_model.fp16.safetensors");
  EXPECT_EQ(Checkpoint::open(directory.path())->config().unet.in_channels, 9);
}

TEST(Checkpoint, SaysWhatAFileIsInsteadOfACheckpoint) {
  expect_error(ErrorKind::invalid_file,
               "tiny-sd15-lora-peft.safetensors: is a LoRA; a Stable Diffusion checkpoint is expected",
               [] { open_model("tiny-sd15-lora-peft.safetensors"); });
  expect_error(ErrorKind::invalid_file, "is an upscaler (RRDBNet)", [] { open_model("tiny-esrgan.pth"); });
  expect_error(ErrorKind::invalid_file, "neither unet/config.json nor", [] { open_model("tiny-taesd"); });
  expect_error(ErrorKind::unavailable, "no such file or directory", [] { open_model("absent.safetensors"); });
}

TEST(Checkpoint, NamesAMissingTensorWithItsFile) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add_renamed(*golden_file("tiny-sd15"), [](const std::string& name) {
    return name == "model.diffusion_model.middle_block.0.in_layers.2.weight" ? "" : name;
  });
  const auto model = open_changed(directory, "tiny-sd15", writer);
  expect_error(ErrorKind::invalid_file,
               "changed.safetensors (UNet): tensor mid_block.resnets.0.conv1.weight of shape [64, 64, 3, 3] is missing",
               [&] {
                 model->unet().get("mid_block.resnets.0.conv1.weight", Shape{64, 64, 3, 3});
               });
}

TEST(Checkpoint, NamesATensorOfAWrongShapeOrDtype) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add_renamed(*golden_file("tiny-sd15"), [](const std::string& name) {
    return name.starts_with("model.diffusion_model.out.2.") ? "" : name;
  });
  writer.add("model.diffusion_model.out.2.weight", Shape{4, 33, 3, 3});
  writer.add("model.diffusion_model.out.2.bias", Shape{4}, DType::i64);
  const auto model = open_changed(directory, "tiny-sd15", writer);
  expect_error(
      ErrorKind::invalid_file,
      "model.diffusion_model.out.2.weight has shape [4, 33, 3, 3]; [4, 32, 3, 3] is expected for conv_out.weight", [&] {
        model->unet().get("conv_out.weight", Shape{4, 32, 3, 3});
      });
  expect_error(ErrorKind::invalid_file,
               "model.diffusion_model.out.2.bias is of i64; a floating-point dtype is expected",
               [&] { model->unet().get("conv_out.bias", Shape{4}); });
}

TEST(Checkpoint, ListsTensorsThatBelongNowhere) {
  const TemporaryDirectory directory;
  TensorWriter writer;
  writer.add_renamed(*golden_file("tiny-sd15"), [](const std::string& name) { return name; });
  writer.add("model.diffusion_model.input_blocks.1.7.weight", Shape{1});
  writer.add("first_stage_model.decoder.extra.weight", Shape{1});
  writer.add("something.else", Shape{1});
  writer.add("model_ema.decay", Shape{1});
  const auto model = open_changed(directory, "tiny-sd15", writer);
  EXPECT_THAT(model->unknown_tensors(),
              testing::ElementsAre("first_stage_model.decoder.extra.weight",
                                   "model.diffusion_model.input_blocks.1.7.weight", "something.else"));
}

TEST(Checkpoint, RefusesASidecarThatDoesNotFit) {
  const TemporaryDirectory directory;
  const auto golden = golden_dir() / "models" / "tiny-sd15.safetensors";
  std::filesystem::create_symlink(std::filesystem::absolute(golden), directory.path() / "m.safetensors");
  directory.write("m.config.json", R"({"unet": {"attention_head_dim": 7}})");
  expect_error(ErrorKind::invalid_file, "channels do not divide into 7 heads",
               [&] { Checkpoint::open(directory.path() / "m.safetensors"); });
}

TEST(Checkpoint, MakesRandomWeightsForEveryNetwork) {
  const auto model = Checkpoint::random(published_config(Family::sdxl), 1, DType::bf16);
  EXPECT_TRUE(model->has_unet() && model->has_vae() && model->has_text_encoder(1));
  const HostTensor a = model->text_encoder(1).get("text_projection.weight", {1280, 1280});
  EXPECT_EQ(a.dtype, DType::bf16);
  EXPECT_FALSE(model->has_text_encoder(2));
}

}  // namespace
}  // namespace dreamlab
