#include "verify/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_dir.h"
#include "verify/record_kinds.h"
#include "verify/recorded_sampler.h"
#include "weights/tensor_file.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> failures_of(const VerifyReport& report) {
  std::vector<std::string> lines;
  for (const CaseResult& result : report.cases) {
    if (!result.passed()) lines.push_back(line_of(result));
  }
  return lines;
}

std::unique_ptr<Device> cpu(DType dtype) {
  CpuOptions options;
  options.dtype = dtype;
  return make_cpu_device(options);
}

VerifyReport verify(const fs::path& folder, const std::string& filter = "") {
  static const std::unique_ptr<Device> device = cpu(DType::f32);
  VerifyOptions options;
  options.filter = filter;
  return verify_folder(folder, *device, options);
}

TEST(Verify, PassesEveryGoldenRecordInF32) {
  const VerifyReport report = verify(golden_dir());
  EXPECT_THAT(failures_of(report), IsEmpty());
  EXPECT_GE(report.passed(), 500);
}

TEST(Verify, PassesEveryGoldenRecordInBf16) {
  const VerifyReport report = verify_folder(golden_dir(), *cpu(DType::bf16));
  EXPECT_THAT(failures_of(report), IsEmpty());
  EXPECT_GE(report.passed(), 500);
}

TEST(Verify, PassesOnThePlainImplementationOfTheDevice) {
  const auto device = make_reference_device();
  for (const char* filter : {"text_encoder.safetensors", "layers.safetensors", "unet.safetensors case5", "decode2"}) {
    VerifyOptions options;
    options.filter = filter;
    const VerifyReport report = verify_folder(golden_dir(), *device, options);
    EXPECT_THAT(failures_of(report), IsEmpty()) << filter;
    EXPECT_GT(report.passed(), 0) << filter;
  }
}

TEST(Verify, TellsEveryResultAsItComes) {
  const auto device = cpu(DType::f32);
  VerifyOptions options;
  options.filter = "emphasis.json";
  std::vector<std::string> seen;
  options.on_case = [&](const CaseResult& result) { seen.push_back(line_of(result)); };
  const VerifyReport report = verify_folder(golden_dir(), *device, options);
  ASSERT_EQ(seen.size(), report.cases.size());
  EXPECT_THAT(seen.back(), HasSubstr("pass  emphasis.json prompt49"));
}

// A folder of its own with an esrgan record, its model and an index; the tests spoil it.
class VerifyFolder : public ::testing::Test {
 protected:
  using Tensors = std::map<std::string, std::pair<Shape, std::vector<float>>>;

  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("dreamlab_verify_" + std::to_string(getpid()));
    fs::create_directories(folder_ / "models");
    fs::copy_file(golden_dir() / kModel, folder_ / kModel, fs::copy_options::overwrite_existing);
    const auto record = open_tensor_file(golden_dir() / kRecord);
    for (const auto& [name, tensor] : record->tensors()) tensors_[name] = {tensor.shape, aligned(tensor).to_f32()};
    write_record(kRecord, tensors_);
    write_text("INDEX.json",
               R"({"_remark": "of this test", "esrgan.safetensors": {}, "models/tiny-esrgan.safetensors": {}})");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_text(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  void write_record(const std::string& name, const Tensors& tensors) const {
    nlohmann::json header;
    std::string bytes;
    for (const auto& [tensor, content] : tensors) {
      const auto& [shape, values] = content;
      const size_t begin = bytes.size();
      bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      header[tensor] = {{"dtype", "F32"},
                        {"shape", std::vector<int64_t>(shape.dims().begin(), shape.dims().end())},
                        {"data_offsets", {begin, bytes.size()}}};
    }
    std::string head = header.dump();
    head.resize((head.size() + 7) / 8 * 8, ' ');
    const uint64_t length = head.size();
    std::string length_bytes(8, '\0');
    std::memcpy(length_bytes.data(), &length, 8);
    write_text(name, length_bytes + head + bytes);
  }

  // The one line that fails.
  std::string only_failure() const {
    const std::vector<std::string> failures = failures_of(verify(folder_));
    EXPECT_EQ(failures.size(), 1u) << ::testing::PrintToString(failures);
    return failures.empty() ? "" : failures.front();
  }

  static constexpr const char* kRecord = "esrgan.safetensors";
  static constexpr const char* kModel = "models/tiny-esrgan.safetensors";
  fs::path folder_;
  Tensors tensors_;
};

TEST_F(VerifyFolder, PassesAsLongAsNothingIsWrong) {
  const VerifyReport report = verify(folder_);
  EXPECT_THAT(failures_of(report), IsEmpty());
  EXPECT_EQ(report.passed(), 4);  // the index, two cases, the model file
}

TEST_F(VerifyFolder, FailsWhereOneNumberIsOff) {
  auto& values = tensors_.at("case1/out").second;
  values[17] += 0.01f;
  write_record(kRecord, tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("FAIL  esrgan.safetensors case1 (models/tiny-esrgan.safetensors)"));
}

TEST_F(VerifyFolder, FailsWhereANumberIsNotFinite) {
  tensors_.at("case0/out").second[0] = std::numeric_limits<float>::quiet_NaN();
  write_record(kRecord, tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("error inf"));
}

TEST_F(VerifyFolder, FailsOnATensorThatNobodyAsksFor) {
  tensors_["case0/surprise"] = {Shape{1}, {1.0f}};
  write_record(kRecord, tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("1 unknown tensors: case0/surprise"));
}

TEST_F(VerifyFolder, FailsOnARecordWithoutItsInput) {
  tensors_.erase("case1/x");
  write_record(kRecord, tensors_);
  EXPECT_THAT(failures_of(verify(folder_)), ::testing::Contains(HasSubstr("the record has no tensor \"case1/x\"")));
}

TEST_F(VerifyFolder, FailsOnAnUnknownKindOfRecord) {
  write_record("mystery.safetensors", tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("mystery.safetensors  unknown kind of record"));
}

TEST_F(VerifyFolder, FailsOnAnUnknownKindOfRecordOfAModel) {
  write_record("tiny-sd15/mystery.safetensors", tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("tiny-sd15/mystery.safetensors  unknown kind of record"));
}

TEST_F(VerifyFolder, FailsOnSettingsWithoutTheirRecord) {
  write_text("tiny-sd15/pipeline.json", "{}");
  EXPECT_THAT(only_failure(), HasSubstr("tiny-sd15/pipeline.json  unknown kind of record"));
}

TEST_F(VerifyFolder, FailsOnAListedFileThatIsMissing) {
  write_text("INDEX.json", R"({"esrgan.safetensors": {}, "taesd.safetensors": {}})");
  EXPECT_THAT(only_failure(), HasSubstr("it lists taesd.safetensors, which is not there"));
}

TEST_F(VerifyFolder, FailsOnATensorThatIsNotAsListed) {
  write_text("INDEX.json", R"({"esrgan.safetensors": {"tensors": {"case1/x": ["float32", [1, 3, 7, 9]]}}})");
  EXPECT_THAT(only_failure(), HasSubstr("case1/x is f32 [1, 3, 9, 7], listed as"));
}

TEST_F(VerifyFolder, FailsOnARecordWithoutItsModel) {
  fs::remove(folder_ / kModel);
  write_text("INDEX.json", R"({"esrgan.safetensors": {}})");
  EXPECT_THAT(only_failure(), HasSubstr("there is no model with \"esrgan\" in its name"));
  write_record("some-model/unet.safetensors", {{"case0/out", {Shape{1}, {0.0f}}}});
  EXPECT_THAT(failures_of(verify(folder_)),
              ::testing::Contains(HasSubstr("there is no models/some-model in any layout")));
}

TEST_F(VerifyFolder, FailsOnADamagedRecord) {
  fs::resize_file(folder_ / kRecord, fs::file_size(folder_ / kRecord) - 4);
  EXPECT_THAT(only_failure(), HasSubstr("FAIL  esrgan.safetensors"));
}

TEST_F(VerifyFolder, FailsOnAModelFileOfNoKnownKind) {
  write_record("models/riddle.safetensors", tensors_);
  EXPECT_THAT(only_failure(), HasSubstr("models/riddle.safetensors"));
}

TEST_F(VerifyFolder, FailsOnAnUnknownSettingOfAScheduler) {
  fs::copy_file(golden_dir() / "schedulers.safetensors", folder_ / "schedulers.safetensors");
  std::ifstream file(golden_dir() / "schedulers.json");
  auto settings = nlohmann::json::parse(file);
  settings["cases"]["lcm/1"]["config"]["novelty"] = 1;
  write_text("schedulers.json", settings.dump());
  EXPECT_THAT(failures_of(verify(folder_)),
              ::testing::Contains(HasSubstr("scheduler argument novelty = 1 is not known")));
}

TEST_F(VerifyFolder, RefusesAFolderWithoutAnIndex) {
  fs::remove(folder_ / "INDEX.json");
  EXPECT_THROW(verify(folder_), Error);
  EXPECT_THROW(verify(folder_ / "nowhere"), Error);
}

TEST(RecordKinds, MatchPatternsAsShellsDo) {
  EXPECT_TRUE(matches("*_rng*.safetensors", "torch_cpu_rng_scalar.safetensors"));
  EXPECT_TRUE(matches("*_rng*.safetensors", "cuda_rng.safetensors"));
  EXPECT_FALSE(matches("*_rng*.safetensors", "cuda_rng.json"));
  EXPECT_FALSE(matches("unet.safetensors", "unet_lcm_cond.safetensors"));
}

TEST(RecordedNoise, GivesNoMoreThanWasRecorded) {
  RecordedNoise noise({1, 2, 3, 4}, 2);
  std::vector<float> draw(2);
  noise.normals(draw);
  EXPECT_FALSE(noise.exhausted());
  noise.normals(draw);
  EXPECT_EQ(draw, (std::vector<float>{3, 4}));
  EXPECT_TRUE(noise.exhausted());
  EXPECT_THROW(noise.normals(draw), Error);
}

TEST(RecordedSampler, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(sampler_of_record("SomeScheduler", nlohmann::json::object(), {}), Error);
  EXPECT_THROW(sampler_of_record("DDIMScheduler", {{"thresholding", true}}, {}), Error);
  EXPECT_NO_THROW(sampler_of_record("DDIMScheduler", {{"thresholding", false}}, {}));
}

}  // namespace
}  // namespace dreamlab
