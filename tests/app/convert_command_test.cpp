// `dreamlab convert` from the outside.
#include <gmock/gmock.h>

#include "process.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

class ConvertCommand : public ::testing::Test {
 protected:
  TemporaryDirectory scratch_;
};

TEST_F(ConvertCommand, TellsWhatItWroteAndTheResultDraws) {
  const ProcessResult there =
      run_dreamlab({"convert", model_file("tiny-sdxl.safetensors"), scratch_ / "sdxl", "--dtype", "fp16"});
  ASSERT_EQ(there.exit_code, 0) << there.err;
  EXPECT_EQ(there.err, "");
  EXPECT_THAT(there.out, HasSubstr("sdxl/unet/diffusion_pytorch_model.safetensors\n"));
  EXPECT_THAT(there.out, HasSubstr(" tensors, "));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "sdxl/tokenizer_2/merges.txt"));
  const ProcessResult back = run_dreamlab({"convert", scratch_ / "sdxl", scratch_ / "merged.safetensors", "--lora",
                                           model_file("tiny-sdxl-lora-kohya.safetensors") + ":0.5", "--lora",
                                           model_file("tiny-sdxl-lora-peft.safetensors")});
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, HasSubstr("weights changed by LoRAs"));
  const ProcessResult drawn = run_dreamlab({"generate", "a fox", "--model", scratch_ / "merged.safetensors", "--size",
                                            "64x64", "--steps", "1", "-o", scratch_ / "fox.png"});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
}

TEST_F(ConvertCommand, RefusesWhatCannotBeInOneLine) {
  const auto expect_refused = [&](const std::vector<std::string>& arguments, int code, const std::string& message) {
    std::vector<std::string> all = {"convert"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    expect_refused_in_one_line(run_dreamlab(all), code, message);
  };
  const std::string model = model_file("tiny-sd15.safetensors");
  expect_refused({model}, kUsage, "target");
  expect_refused({model, scratch_ / "a", "--dtype", "int8"}, kUsage, "--dtype int8: not allowed; fp16, bf16, fp32 is");
  expect_refused({model, scratch_ / "a.ckpt"}, kUsage, "a.ckpt");
  expect_refused({scratch_ / "none.safetensors", scratch_ / "a"}, kFailed, "none.safetensors");
  expect_refused({model, scratch_ / "a", "--lora", scratch_ / "none.safetensors"}, kFailed, "none.safetensors");
  expect_refused({model, scratch_ / "a", "--lora", model + ":much"}, kUsage, "FILE:STRENGTH");
  EXPECT_THAT(scratch_.files(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace dreamlab
