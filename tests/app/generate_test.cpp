// `dreamlab generate` from the outside: files, reports, determinism, interruption.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/image.h"
#include "golden_dir.h"
#include "process.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class Generate : public ::testing::Test {
 protected:
  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {
        "generate", "a (red:1.2) fox", "--model", model_file("tiny-sd15.safetensors"), "--size", "128x64", "--steps",
        "2",        "--seed",          "42"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  ProcessResult generate(const std::vector<std::string>& more,
                         const std::map<std::string, std::string>& environment = {}) const {
    ProcessResult result = run_dreamlab(arguments(more), environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }
  std::string bytes_of(const std::string& name) const { return read_text(scratch_ / name); }
  DecodedImage picture(const std::string& name) const { return decode_image(read_file(scratch_ / name), name); }

  TemporaryDirectory scratch_;
};

TEST_F(Generate, WritesAPictureWithItsParameters) {
  const ProcessResult result = generate({"-o", scratch_ / "fox.png", "--negative-prompt", "blurry", "--guidance", "3"});
  EXPECT_THAT(scratch_.files(), ElementsAre("fox.png"));
  EXPECT_THAT(result.out, HasSubstr("fox.png  128x64  seed 42"));
  EXPECT_THAT(result.err, HasSubstr("step 2/2"));
  const DecodedImage decoded = picture("fox.png");
  EXPECT_EQ(decoded.image.width, 128);
  EXPECT_EQ(decoded.image.height, 64);
  ASSERT_EQ(decoded.texts.size(), 1u);
  EXPECT_EQ(decoded.texts[0].keyword, "parameters");
  EXPECT_THAT(decoded.texts[0].text,
              ::testing::StartsWith("a (red:1.2) fox\nNegative prompt: blurry\nSteps: 2, Sampler: LCM, "
                                    "CFG scale: 3, Seed: 42, Size: 128x64, Model: tiny-sd15, Version: dreamlab "));
}

TEST_F(Generate, TheFormatFollowsTheName) {
  for (const auto& [name, format] : std::map<std::string, ImageFormat>{{"a.png", ImageFormat::png},
                                                                       {"a.jpg", ImageFormat::jpeg},
                                                                       {"a.JPEG", ImageFormat::jpeg},
                                                                       {"a.webp", ImageFormat::webp}}) {
    generate({"-q", "-o", scratch_ / name});
    const DecodedImage decoded = picture(name);
    EXPECT_EQ(decoded.format, format) << name;
    ASSERT_EQ(decoded.texts.size(), 1u) << name;
    EXPECT_THAT(decoded.texts[0].text, HasSubstr("Seed: 42"));
  }
}

TEST_F(Generate, ThreadsAndCompanyDoNotChangeAByte) {
  for (const char* dtype : {"fp32", "bf16"}) {
    const auto run = [&](const std::vector<std::string>& more) {
      std::vector<std::string> all = {"-q", "--dtype", dtype};
      all.insert(all.end(), more.begin(), more.end());
      generate(all);
    };
    run({"--threads", "1", "-o", scratch_ / "one.png"});
    run({"--threads", "2", "-o", scratch_ / "two.png"});
    run({"--threads", "2", "-o", scratch_ / "again.png"});
    const std::string one = bytes_of("one.png");
    EXPECT_EQ(one, bytes_of("two.png")) << dtype << ": threads";
    EXPECT_EQ(one, bytes_of("again.png")) << dtype << ": repeated";

    run({"--batch", "4", "-o", scratch_ / "batch.png"});
    EXPECT_EQ(one, bytes_of("batch-1.png")) << dtype << ": in a batch of four";
    run({"--seed", "44", "-o", scratch_ / "third.png"});
    EXPECT_EQ(bytes_of("third.png"), bytes_of("batch-3.png")) << dtype << ": the third of a batch";
    EXPECT_NE(one, bytes_of("batch-2.png"));
  }
}

TEST_F(Generate, ReportsAsJson) {
  const ProcessResult result =
      generate({"--json", "--batch", "2", "-o", scratch_ / "r.png", "--fingerprint", scratch_ / "print.bin"});
  const auto report = nlohmann::json::parse(result.out);
  ASSERT_EQ(report.at("images").size(), 2u);
  for (int i = 0; i < 2; ++i) {
    const auto& image = report.at("images")[i];
    EXPECT_EQ(image.at("path"), scratch_ / ("r-" + std::to_string(i + 1) + ".png"));
    EXPECT_EQ(image.at("seed"), 42 + i);
    EXPECT_EQ(image.at("width"), 128);
    EXPECT_EQ(image.at("height"), 64);
    EXPECT_EQ(image.at("bytes"), std::filesystem::file_size(image.at("path").get<std::string>()));
    const std::string print = bytes_of("print-" + std::to_string(i + 1) + ".bin");
    ASSERT_EQ(print.size(), 512u);
    std::string hex;
    for (unsigned char byte : print) {
      constexpr char kDigits[] = "0123456789abcdef";
      hex += kDigits[byte >> 4];
      hex += kDigits[byte & 15];
    }
    EXPECT_EQ(image.at("fingerprint"), hex);
  }
  EXPECT_EQ(report.at("family"), "SD 1.x");
  EXPECT_EQ(report.at("scheduler"), "lcm");
  EXPECT_EQ(report.at("timings_ms").at("steps").size(), 2u);
  EXPECT_GT(report.at("timings_ms").at("total"), report.at("timings_ms").at("load"));
}

TEST_F(Generate, ASeedThatIsNotGivenIsDrawnAndReported) {
  std::vector<int64_t> seeds;
  for (int i = 0; i < 2; ++i) {
    const ProcessResult result =
        run_dreamlab({"generate", "x", "--model", model_file("tiny-sd15.safetensors"), "--size", "64x64", "--steps",
                      "1", "--json", "-q", "-o", scratch_ / "s.png"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    seeds.push_back(nlohmann::json::parse(result.out).at("images")[0].at("seed"));
    EXPECT_GE(seeds.back(), 0);
    EXPECT_LE(seeds.back(), 99'999'999);
  }
  EXPECT_NE(seeds[0], seeds[1]);
}

TEST_F(Generate, WithoutANamedModelTheOneInTheBoxDraws) {
  const ProcessResult result =
      run_dreamlab({"generate", "a majestic mountain landscape", "--seed", "42", "-o", scratch_ / "m.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("m.png  256x256  seed 42"));
  EXPECT_THAT(result.err, HasSubstr("no model is named: the small one in the box"));
  EXPECT_THAT(result.err, HasSubstr("--model FILE"));
}

TEST_F(Generate, KnowsTheStylesOfTheModelInTheBoxByName) {
  const auto draw = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"generate", "a red ball", "--seed", "1", "-q", "-o", scratch_ / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_dreamlab(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return decode_image(read_file(scratch_ / name), name).image.pixels;
  };
  const auto plain = draw("plain.png", {});
  EXPECT_NE(draw("line.png", {"--lora", "line"}), plain);
  EXPECT_EQ(draw("none.png", {"--lora", "line:0"}), plain);
  // Beside another model it is a file like any other.
  const ProcessResult result = run_dreamlab(
      {"generate", "x", "--model", model_file("tiny-sd15.safetensors"), "--lora", "line", "-o", scratch_ / "x.png"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("line: no such LoRA"));
}

TEST_F(Generate, WithoutAModelOfTheFamilyAskedForItSaysHowToNameOne) {
  const ProcessResult result = run_dreamlab({"generate", "x", "-o", scratch_ / "x.png"}, {{"USE_SDXL", "0"}});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("no model: name a checkpoint file"));
  EXPECT_THAT(scratch_.files(), ElementsAre());
}

TEST_F(Generate, QuietSaysNothing) {
  const ProcessResult result = generate({"-q", "-o", scratch_ / "q.png"});
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
}

TEST_F(Generate, TheEnvironmentSetsDefaultsAndFlagsOverrideIt) {
  const std::string models = (golden_dir() / "models").string();
  const std::map<std::string, std::string> environment = {
      {"MODEL_ROOT", models}, {"MODEL", "tiny-sd15.safetensors"}, {"DEFAULT_SIZE", "64x72"}, {"DEFAULT_STEPS", "3"},
      {"SCHEDULER", "euler"}, {"DEFAULT_GUIDANCE", "2.5"},        {"CPU_DTYPE", "fp32"},     {"RNG", "cpu"}};
  const auto report = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"generate", "a fox", "--json", "-q", "-o", scratch_ / "e.png"});
    const ProcessResult result = run_dreamlab(flags, environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out);
  };
  const auto by_environment = report({});
  EXPECT_EQ(by_environment.at("images")[0].at("height"), 72);
  EXPECT_EQ(by_environment.at("steps"), 3);
  EXPECT_EQ(by_environment.at("scheduler"), "euler");
  EXPECT_EQ(by_environment.at("guidance_scale"), 2.5);
  EXPECT_EQ(by_environment.at("dtype"), "f32");
  EXPECT_EQ(by_environment.at("rng"), "cpu");
  const auto by_flags =
      report({"--size", "72x64", "--steps", "1", "--scheduler", "lcm", "--guidance", "1", "--rng", "cuda"});
  EXPECT_EQ(by_flags.at("images")[0].at("height"), 64);
  EXPECT_EQ(by_flags.at("steps"), 1);
  EXPECT_EQ(by_flags.at("scheduler"), "lcm");
  EXPECT_EQ(by_flags.at("guidance_scale"), 1.0);
  EXPECT_EQ(by_flags.at("rng"), "cuda");
}

TEST_F(Generate, StartsFromAPictureOfAnySizeAndFormat) {
  Image start = Image::blank(90, 50);
  for (size_t i = 0; i < start.pixels.size(); ++i) start.pixels[i] = static_cast<uint8_t>(i / 3 % 200);
  write_file(scratch_ / "start.jpg", encode_image(start, ImageFormat::jpeg));
  Image mask = Image::blank(128, 64);
  std::fill(mask.pixels.begin(), mask.pixels.begin() + 128 * 32 * 3, uint8_t{255});
  write_file(scratch_ / "mask.png", encode_image(mask, ImageFormat::png));

  generate({"-q", "-o", scratch_ / "plain.png"});
  generate({"-q", "-o", scratch_ / "i2i.png", "--init-image", scratch_ / "start.jpg", "--strength", "0.5"});
  generate(
      {"-q", "-o", scratch_ / "inpaint.png", "--init-image", scratch_ / "start.jpg", "--mask", scratch_ / "mask.png"});
  EXPECT_FALSE(picture("i2i.png").image == picture("plain.png").image);
  EXPECT_FALSE(picture("inpaint.png").image == picture("i2i.png").image);
  EXPECT_THAT(picture("i2i.png").texts[0].text, HasSubstr("Denoising strength: 0.5"));
  EXPECT_EQ(picture("inpaint.png").image.width, 128);
}

TEST_F(Generate, ALoraChangesThePictureByItsStrength) {
  const std::string lora = model_file("tiny-sd15-lora-kohya.safetensors");
  generate({"-q", "-o", scratch_ / "plain.png"});
  generate({"-q", "-o", scratch_ / "full.png", "--lora", lora});
  generate({"-q", "-o", scratch_ / "half.png", "--lora", lora + ":0.5"});
  generate({"-q", "-o", scratch_ / "none.png", "--lora", lora + ":0"});
  EXPECT_FALSE(picture("full.png").image == picture("plain.png").image);
  EXPECT_FALSE(picture("half.png").image == picture("full.png").image);
  EXPECT_TRUE(picture("none.png").image == picture("plain.png").image);
}

TEST_F(Generate, EveryLayoutOfAModelGivesTheSamePicture) {
  const auto with = [&](const std::string& model, const std::string& output) {
    const ProcessResult result =
        run_dreamlab({"generate", "a fox", "--model", model_file(model), "--size", "64x64", "--steps", "2", "--seed",
                      "1", "--dtype", "fp32", "-q", "-o", scratch_ / output});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return picture(output).image;
  };
  const Image single = with("tiny-sd15.safetensors", "single.png");
  EXPECT_TRUE(with("tiny-sd15.ckpt", "ckpt.png") == single);
  EXPECT_TRUE(with("tiny-sd15", "directory.png") == single);
}

TEST_F(Generate, AnInterruptedRunEndsWithinAStepAndLeavesNoFile) {
  for (int signal : {SIGINT, SIGTERM}) {
    Process process(arguments({"--steps", "50", "--scheduler", "euler", "--size", "256x256", "-o",
                               scratch_ / "never.png", "--fingerprint", scratch_ / "never.bin"}),
                    {});
    ASSERT_TRUE(process.waits_for("step 1/50", std::chrono::seconds(60)));
    process.signal(signal);
    const ProcessResult result = process.finish();
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("cancelled\n"));
    EXPECT_THAT(result.err, ::testing::Not(HasSubstr("step 50/50")));
    EXPECT_THAT(scratch_.files(), ElementsAre());
  }
}

TEST_F(Generate, AnExistingPictureStaysWholeWhenARunIsInterrupted) {
  write_text(scratch_ / "old.png", "precious");
  Process process(arguments({"--steps", "50", "--scheduler", "euler", "--size", "256x256", "-o", scratch_ / "old.png"}),
                  {});
  ASSERT_TRUE(process.waits_for("step 1/50", std::chrono::seconds(60)));
  process.signal(SIGINT);
  EXPECT_EQ(process.finish().exit_code, 1);
  EXPECT_EQ(bytes_of("old.png"), "precious");
  EXPECT_THAT(scratch_.files(), UnorderedElementsAre("old.png"));
}

}  // namespace
}  // namespace dreamlab
