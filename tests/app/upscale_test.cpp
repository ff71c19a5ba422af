// `dreamlab upscale` from the outside.
#include <gmock/gmock.h>

#include "base/file.h"
#include "base/image.h"
#include "process.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

class UpscaleCommand : public ::testing::Test {
 protected:
  UpscaleCommand() {
    Image picture = Image::blank(20, 12, 4);
    for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(i % 4 == 3 ? 255 : i);
    write_file(scratch_ / "opaque.png", encode_image(drop_alpha(picture), ImageFormat::png,
                                                     {.quality = 92, .texts = {{"parameters", "a fox"}}}));
    picture.pixels[3] = 0;
    write_file(scratch_ / "clear.png", encode_image(picture, ImageFormat::png));
  }

  ProcessResult upscale(const std::string& from, const std::string& to, const std::vector<std::string>& more = {},
                        const std::map<std::string, std::string>& environment = {}) const {
    std::vector<std::string> arguments{"upscale", scratch_ / from, scratch_ / to};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_dreamlab(arguments, environment);
  }
  DecodedImage picture(const std::string& name) const { return decode_image(read_file(scratch_ / name), name); }

  void expect_refused(const ProcessResult& result, int exit_code, const std::string& message) const {
    expect_refused_in_one_line(result, exit_code, message);
    EXPECT_FALSE(std::filesystem::exists(scratch_ / "out.png")) << "a file was left";
  }

  TemporaryDirectory scratch_;
};

TEST_F(UpscaleCommand, DoublesByTheNetworkInTheBoxWithoutAModel) {
  const ProcessResult result = upscale("opaque.png", "out.png");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("out.png  40x24  by upscaler.safetensors, 1 x 2"));
}

TEST_F(UpscaleCommand, DoublesByLanczosWhereThatIsNamed) {
  const ProcessResult result = upscale("opaque.png", "out.png", {"--model", "lanczos"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("out.png  40x24  by lanczos, 1 x 2"));
  EXPECT_EQ(result.err, "");
  const DecodedImage decoded = picture("out.png");
  EXPECT_EQ(decoded.image.width, 40);
  EXPECT_EQ(decoded.image.height, 24);
  ASSERT_EQ(decoded.texts.size(), 1u);
  EXPECT_EQ(decoded.texts[0].text, "a fox");
}

TEST_F(UpscaleCommand, RunsANetworkOverSeveralPasses) {
  const ProcessResult result = upscale(
      "opaque.png", "out.jpg", {"--model", model_file("tiny-esrgan.pth"), "--magnitude", "2", "--quality", "50"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("out.jpg  320x192  by tiny-esrgan.pth, 2 x 4"));
  EXPECT_THAT(result.err, HasSubstr("step 2/2"));
  EXPECT_EQ(picture("out.jpg").format, ImageFormat::jpeg);
  EXPECT_EQ(picture("out.jpg").texts.size(), 1u);
  // The variable names the model, too; quiet says nothing.
  const ProcessResult quiet =
      upscale("opaque.png", "out.webp", {"-q"}, {{"SR_MODEL_PATH", model_file("tiny-esrgan.pth")}});
  ASSERT_EQ(quiet.exit_code, 0) << quiet.err;
  EXPECT_EQ(quiet.out + quiet.err, "");
  EXPECT_EQ(picture("out.webp").image.width, 80);
}

TEST_F(UpscaleCommand, ThreadsDoNotChangeAByte) {
  for (const char* threads : {"1", "2"}) {
    const ProcessResult result =
        upscale("clear.png", std::string(threads) + ".png",
                {"-q", "--threads", threads, "--model", model_file("tiny-esrgan.safetensors")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(read_text(scratch_ / "1.png"), read_text(scratch_ / "2.png"));
  EXPECT_EQ(picture("1.png").image.channels, 4) << "alpha is kept";
}

TEST_F(UpscaleCommand, WhatCannotBeIsRefusedInOneLine) {
  expect_refused(upscale("opaque.png", "out.png", {"--magnitude", "4"}), kUsage, "--magnitude 4: out of range; 1..3");
  expect_refused(upscale("opaque.png", "out.png", {"--quality", "0"}), kUsage, "--quality 0");
  expect_refused(upscale("opaque.png", "out.png", {"--dtype", "fp8", "--model", model_file("tiny-esrgan.pth")}), kUsage,
                 "auto, bf16, fp16, fp32");
  expect_refused(upscale("opaque.png", "out.gif"), kUsage, ".webp");
  expect_refused(upscale("none.png", "out.png"), kFailed, "none.png");
  expect_refused(upscale("opaque.png", "out.png", {"--model", scratch_ / "none.pth"}), kFailed, "none.pth");
  expect_refused(upscale("opaque.png", "out.png", {"--model", model_file("tiny-sd15-lora-peft.safetensors")}), kFailed,
                 "is a LoRA; an upscaler");
  expect_refused(upscale("opaque.png", "out.png", {}, {{"SR_MAX_PIXELS", "900"}}), kUsage, "over 900 pixels");
  expect_refused(upscale("clear.png", "out.jpg"), kUsage, "JPEG");
  EXPECT_THAT(run_dreamlab({"upscale", scratch_ / "opaque.png"}).err, HasSubstr("output"));
}

}  // namespace
}  // namespace dreamlab
