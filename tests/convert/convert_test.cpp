#include "convert/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/assets.h"
#include "base/error.h"
#include "base/file.h"
#include "convert/safetensors_writer.h"
#include "convert/tokenizer_files.h"
#include "device/make_device.h"
#include "golden_dir.h"
#include "pipeline/pipeline.h"
#include "temporary_directory.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "weights/checkpoint.h"
#include "weights/expected_tensors.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

fs::path model(const std::string& name) {
  return golden_dir() / "models" / name;
}

template <typename Work>
void expect_refused(Work work, ErrorKind kind, const std::string& what) {
  try {
    work();
    ADD_FAILURE() << "taken; expected: " << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

// The same values, each rounded to `dtype` where there is one.
void expect_same_weights(const WeightSource& before, const WeightSource& after, const ExpectedTensors& tensors,
                         std::optional<DType> dtype) {
  for (const ExpectedTensor& expected : tensors) {
    SCOPED_TRACE(expected.name);
    const HostTensor left = before.get(expected.name, expected.shape), right = after.get(expected.name, expected.shape);
    ASSERT_EQ(right.dtype, dtype.value_or(left.dtype));
    std::vector<std::byte> wanted(right.bytes());
    convert_elements(left.data, left.dtype, wanted.data(), right.dtype, static_cast<size_t>(left.shape.elements()));
    ASSERT_EQ(std::memcmp(wanted.data(), right.data, right.bytes()), 0);
  }
}

void expect_same_model(const Checkpoint& before, const Checkpoint& after, std::optional<DType> dtype = std::nullopt) {
  const ModelConfig &a = before.config(), &b = after.config();
  EXPECT_EQ(a.family, b.family);
  EXPECT_EQ(a.unet, b.unet);
  EXPECT_EQ(a.vae, b.vae);
  EXPECT_EQ(a.text_encoders, b.text_encoders);
  EXPECT_EQ(a.schedule, b.schedule);
  EXPECT_EQ(a.native_size, b.native_size);
  EXPECT_EQ(a.force_zeros_for_empty_prompt, b.force_zeros_for_empty_prompt);
  EXPECT_EQ(a.requires_aesthetics_score, b.requires_aesthetics_score);
  expect_same_weights(before.unet(), after.unet(), expected_tensors(a.unet), dtype);
  ASSERT_EQ(before.has_vae(), after.has_vae());
  if (before.has_vae()) expect_same_weights(before.vae(), after.vae(), expected_tensors(a.vae), dtype);
  for (size_t i = 0; i < a.text_encoders.size(); ++i)
    expect_same_weights(before.text_encoder(i), after.text_encoder(i), expected_tensors(a.text_encoders[i]), dtype);
}

class ConvertModel : public ::testing::TestWithParam<const char*> {
 protected:
  TemporaryDirectory scratch_;
};

TEST_P(ConvertModel, ToADirectoryAndBackLeavesTheModelAsItWas) {
  const fs::path source = model(GetParam()), directory = scratch_.path() / "directory",
                 file = scratch_.path() / "file.safetensors";
  const auto before = Checkpoint::open(source);
  convert_model(source, directory);
  const auto between = Checkpoint::open(directory);
  EXPECT_EQ(between->format(), "diffusers directory");
  expect_same_model(*before, *between);
  convert_model(directory, file);
  const auto after = Checkpoint::open(file);
  EXPECT_EQ(after->format(), "safetensors");
  EXPECT_THAT(after->unknown_tensors(), ::testing::IsEmpty());
  expect_same_model(*before, *after);
}

TEST_P(ConvertModel, ToASingleFileOfAnotherPrecision) {
  const auto before = Checkpoint::open(model(GetParam()));
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32}) {
    SCOPED_TRACE(name_of(dtype));
    const fs::path file = scratch_.path() / (std::string(name_of(dtype)) + ".safetensors");
    const ConvertReport report = convert_model(model(GetParam()), file, {dtype, {}});
    EXPECT_EQ(report.bytes, fs::file_size(file));
    expect_same_model(*before, *Checkpoint::open(file), dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, ConvertModel,
                         ::testing::Values("tiny-sd15.safetensors", "tiny-sd15.ckpt", "tiny-sd15", "tiny-sd15-inpaint",
                                           "tiny-sd2.safetensors", "tiny-sdxl.safetensors", "tiny-sdxl",
                                           "tiny-refiner.safetensors"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
                           return name;
                         });

class Convert : public ::testing::Test {
 protected:
  TemporaryDirectory scratch_;
};

// Names and shapes as the original layout has them, which other programs go by.
TEST_F(Convert, WritesTheNamesOfTheOriginalLayout) {
  for (const char* name : {"tiny-sd15", "tiny-sdxl"}) {
    SCOPED_TRACE(name);
    const fs::path file = scratch_.path() / (std::string(name) + ".safetensors");
    convert_model(model(name), file);
    const auto written = open_tensor_file(file);
    const auto original = open_tensor_file(model(std::string(name) + ".safetensors"));
    for (const auto& [tensor, value] : written->tensors()) {
      const HostTensor* there = original->find(tensor);
      ASSERT_NE(there, nullptr) << tensor;
      EXPECT_EQ(there->shape, value.shape) << tensor;
    }
    const std::set<std::string> leftovers = {"betas", "alphas_cumprod"};  // of training
    for (const auto& item : original->tensors())
      EXPECT_TRUE(written->contains(item.first) || leftovers.contains(item.first) ||
                  item.first.ends_with("position_ids") || item.first.ends_with("logit_scale"))
          << item.first;
  }
}

TEST_F(Convert, RoundsNothingToInfinity) {
  const auto large = [](float value, DType dtype) {
    return StoredTensor{"t", dtype, {2}, [value] { return HostTensor::from_f32(std::vector<float>{1, value}, {2}); }};
  };
  const fs::path file = scratch_.path() / "t.safetensors";
  expect_refused([&] { write_safetensors(file, {large(7e4f, DType::f16)}, {}); }, ErrorKind::invalid_argument,
                 "t: 70000 is too large for fp16");
  EXPECT_THAT(scratch_.files(), ::testing::IsEmpty());
  write_safetensors(file, {large(6.5e4f, DType::f16)}, {});
  EXPECT_FLOAT_EQ(open_tensor_file(file)->find("t")->to_f32()[1], 65000 - 65000 % 32);
  write_safetensors(file, {large(INFINITY, DType::f16)}, {{"note", "as it was"}});
  EXPECT_TRUE(std::isinf(open_tensor_file(file)->find("t")->to_f32()[1]));
  EXPECT_EQ(open_tensor_file(file)->metadata().at("note"), "as it was");
}

TEST_F(Convert, RefusesTargetsThatAreThereOrOfAnotherKind) {
  const fs::path source = model("tiny-sd15"), file = scratch_.path() / "there.safetensors";
  write_file(file.string(), {});
  expect_refused([&] { convert_model(source, file); }, ErrorKind::invalid_argument, "is there already");
  expect_refused([&] { convert_model(source, scratch_.path()); }, ErrorKind::invalid_argument, "is there already");
  expect_refused([&] { convert_model(source, scratch_.path() / "a.ckpt"); }, ErrorKind::invalid_argument,
                 ".safetensors is, and a directory");
  expect_refused([&] { convert_model(source, scratch_.path() / "none" / "a.safetensors"); }, ErrorKind::unavailable,
                 "a.safetensors");
  expect_refused([&] { convert_model(model("tiny-esrgan.pth"), scratch_.path() / "a"); }, ErrorKind::invalid_file,
                 "a Stable Diffusion checkpoint is expected");
  expect_refused(
      [&] {
        convert_model(source, scratch_.path() / "a", {std::nullopt, {{model("tiny-sdxl-lora-kohya.safetensors"), 1}}});
      },
      ErrorKind::invalid_file, "tiny-sdxl-lora-kohya.safetensors");
  EXPECT_THAT(scratch_.files(), ::testing::ElementsAre("there.safetensors"));
}

std::vector<float> latents_of(const fs::path& checkpoint, const fs::path& lora = "", float strength = 1) {
  const auto device = make_device({.device = "cpu", .dtype = "fp32", .threads = 2});
  Pipeline pipeline(*device, Checkpoint::open(checkpoint), {});
  GenerationRequest request = pipeline.default_request();
  request.prompt = "a red fox";
  request.size = {64, 64};
  request.steps = 2;
  request.seed = 7;
  if (!lora.empty()) request.loras.push_back({pipeline.load_lora(lora), strength});
  const Image image = pipeline.generate(request).image;
  return {image.pixels.begin(), image.pixels.end()};
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

// A merged adapter draws what the same adapter draws beside the weights.
TEST_F(Convert, MergesAdapters) {
  for (const std::string family : {"tiny-sd15", "tiny-sdxl"}) {
    for (const char* kind : {"kohya", "locon", "peft"}) {
      SCOPED_TRACE(family + " " + kind);
      const fs::path lora = model(family + "-lora-" + kind + ".safetensors"),
                     merged = scratch_.path() / (family + kind + ".safetensors");
      const ConvertReport report = convert_model(model(family), merged, {DType::f32, {{lora, 0.7f}}});
      EXPECT_GT(report.changed, 0u);
      const std::vector<float> beside = latents_of(model(family), lora, 0.7f), within = latents_of(merged);
      EXPECT_LT(difference(beside, within), 0.1);
      EXPECT_GT(difference(latents_of(model(family)), within), 1);
    }
  }
}

TEST_F(Convert, TheModelInTheBoxBecomesASingleFile) {
  const fs::path directory = *find_asset("models/demo"), file = scratch_.path() / "demo.safetensors";
  const ConvertReport report = convert_model(directory, file);
  EXPECT_EQ(report.files.size(), 2u) << "a sidecar for what shapes do not tell";
  expect_same_model(*Checkpoint::open(directory), *Checkpoint::open(file));
  EXPECT_EQ(difference(latents_of(directory), latents_of(file)), 0);
}

TEST_F(Convert, WritesTokenizersThatSpellWhatTheTokenizerSays) {
  write_tokenizer_files(scratch_.path() / "tokenizer", 0);
  const auto read = [&](const char* name) {
    const std::vector<uint8_t> bytes = read_file((scratch_.path() / "tokenizer" / name).string());
    return std::string(bytes.begin(), bytes.end());
  };
  const auto vocabulary = nlohmann::json::parse(read("vocab.json"));
  EXPECT_EQ(vocabulary.size(), 49408u);
  std::set<int> ids;
  for (const auto& item : vocabulary.items()) ids.insert(item.value().get<int>());
  EXPECT_EQ(ids.size(), 49408u);
  for (const char* word : {"cat", "photo", "a", "astronaut"})
    EXPECT_EQ(vocabulary.at(std::string(word) + "</w>"), encode_text(word).at(0)) << word;
  // Published ids of openai/CLIP's vocabulary.
  EXPECT_EQ(vocabulary.at("a</w>"), 320);
  EXPECT_EQ(vocabulary.at("cat</w>"), 2368);
  EXPECT_EQ(vocabulary.at("!"), 0);
  EXPECT_EQ(vocabulary.at("\u0120"), 220);  // a space, as a character that can be seen
  EXPECT_EQ(vocabulary.at("<|endoftext|>"), 49407);
  const std::string merges = read("merges.txt");
  EXPECT_THAT(merges, ::testing::StartsWith("#version: 0.2\ni n\nt h\n"));
  EXPECT_EQ(std::count(merges.begin(), merges.end(), '\n'), 1 + 48894);
  EXPECT_EQ(nlohmann::json::parse(read("special_tokens_map.json")).at("pad_token"), "!");
  EXPECT_EQ(nlohmann::json::parse(read("tokenizer_config.json")).at("model_max_length"), 77);
}

}  // namespace
}  // namespace dreamlab
