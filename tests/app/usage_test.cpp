// What the program says to wrong flags, files and variables: one line, and an exit code that tells whose mistake it is.
#include <gmock/gmock.h>

#include "process.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Usage : public ::testing::Test {
 protected:
  // `dreamlab generate` with what a good call needs, then `more`.
  ProcessResult generate(const std::vector<std::string>& more,
                         const std::map<std::string, std::string>& environment = {},
                         const std::string& model = model_file("tiny-sd15.safetensors")) {
    std::vector<std::string> arguments = {"generate", "a cat", "--steps", "1", "--size", "64x64", "--dtype", "fp32"};
    if (!model.empty()) arguments.insert(arguments.end(), {"--model", model});
    const bool has_output = std::find(more.begin(), more.end(), "-o") != more.end();
    if (!has_output) arguments.insert(arguments.end(), {"-o", scratch_ / "out.png"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_dreamlab(arguments, environment);
  }

  void expect_refused(const ProcessResult& result, int exit_code, const std::string& message) {
    expect_refused_in_one_line(result, exit_code, message);
    for (const std::string& file : scratch_.files())
      EXPECT_THAT(file, ::testing::Not(HasSubstr("out"))) << "a file was left";
  }

  TemporaryDirectory scratch_;
};

TEST_F(Usage, HelpAndVersionAreNoMistakes) {
  const ProcessResult bare = run_dreamlab({});
  EXPECT_EQ(bare.exit_code, 0);
  for (const char* command : {"generate", "upscale", "inspect", "verify", "bench"})
    EXPECT_THAT(bare.out, HasSubstr(command));
  const ProcessResult help = run_dreamlab({"generate", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag : {"--model",
                           "--size",
                           "--steps",
                           "--guidance",
                           "--seed",
                           "--negative-prompt",
                           "--scheduler",
                           "--rng",
                           "--clip-skip",
                           "--no-emphasis",
                           "--guidance-rescale",
                           "--eta",
                           "--batch",
                           "--init-image",
                           "--strength",
                           "--mask",
                           "--lora",
                           "--vae",
                           "--vae-tiling",
                           "--dtype",
                           "--device",
                           "--threads",
                           "--output",
                           "--quality",
                           "--json",
                           "--fingerprint",
                           "--quiet",
                           "--verbose"}) {
    EXPECT_THAT(help.out, HasSubstr(flag));
  }
  const ProcessResult version = run_dreamlab({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, StartsWith("dreamlab "));
}

TEST_F(Usage, UnknownFlagsAndCommandsAreNamed) {
  expect_refused(generate({"--magic", "1"}), kUsage, "--magic");
  expect_refused(run_dreamlab({"paint"}), kUsage, "paint");
  expect_refused(run_dreamlab({"generate"}), kUsage, "prompt");
  expect_refused(generate({"--steps", "many"}), kUsage, "many");
}

TEST_F(Usage, ABadSizeBeginsWithInvalidSize) {
  for (const char* size : {"512", "0x64", "64x0", "65x64", "axb", "-64x64", "100000x64", ""}) {
    const ProcessResult result = generate({"--size", size});
    expect_refused(result, kUsage, "Invalid size");
    EXPECT_THAT(result.err, StartsWith("Invalid size"));
  }
}

TEST_F(Usage, ValuesOutOfRangeSayTheRange) {
  struct Case {
    std::vector<std::string> flags;
    const char* message;
  };
  for (const Case& c :
       {Case{{"--steps", "0"}, "--steps 0"}, Case{{"--guidance", "-1"}, "--guidance -1"},
        Case{{"--guidance", "nan"}, "--guidance nan"}, Case{{"--seed", "-5"}, "--seed -5"},
        Case{{"--batch", "0"}, "--batch 0"}, Case{{"--batch", "1000"}, "--batch 1000"},
        Case{{"--quality", "101"}, "1..100"}, Case{{"--scheduler", "magic"}, "--scheduler magic"},
        Case{{"--rng", "gpu"}, "cuda, cpu"}, Case{{"--vae-tiling", "maybe"}, "auto, on, off"},
        Case{{"--dtype", "fp8"}, "fp32"}, Case{{"--device", "toaster"}, "cpu"}, Case{{"--clip-skip", "0"}, "1..12"},
        Case{{"--eta", "2"}, "0..1"}, Case{{"--strength", "0.5"}, "--init-image"},
        Case{{"--mask", "m.png"}, "--init-image"}, Case{{"--strength", "7", "--init-image", "i.png"}, "--strength 7"},
        Case{{"--lora", "file.safetensors:strong"}, "FILE:STRENGTH"}}) {
    expect_refused(generate(c.flags), kUsage, c.message);
  }
}

TEST_F(Usage, EnvironmentVariablesAreCheckedAndNamed) {
  for (const auto& [name, value] : std::map<std::string, std::string>{{"CPU_DTYPE", "fp8x"},
                                                                      {"DEFAULT_STEPS", "abc"},
                                                                      {"DEFAULT_SIZE", "big"},
                                                                      {"DEFAULT_GUIDANCE", "99"},
                                                                      {"RNG", "dice"},
                                                                      {"VAE_TILING", "7"},
                                                                      {"USE_SDXL", "perhaps"}}) {
    expect_refused(generate({}, {{name, value}}), kUsage, name + "=" + value);
  }
  // Without a flag of its own, so that the variable is what counts.
  expect_refused(
      run_dreamlab({"generate", "a cat", "--model", model_file("tiny-sd15.safetensors"), "-o", scratch_ / "out.png"},
                   {{"SCHEDULER", "magic"}}),
      kUsage, "SCHEDULER=magic");
}

TEST_F(Usage, AMissingModelIsNamed) {
  expect_refused(generate({}, {}, scratch_ / "none.safetensors"), kFailed, "none.safetensors");
  expect_refused(generate({}, {{"MODEL", ""}, {"USE_SDXL", "0"}}, ""), kUsage, "--model");
}

TEST_F(Usage, RubbishInsteadOfAModelIsRefusedInOneLine) {
  const std::string rubbish = scratch_ / "rubbish.safetensors";
  write_text(rubbish, std::string(1000, '\xAB'));
  expect_refused(generate({}, {}, rubbish), kFailed, "rubbish.safetensors");
  write_text(rubbish, "");
  expect_refused(generate({}, {}, rubbish), kFailed, "rubbish.safetensors");
  const std::string cut = scratch_ / "cut.safetensors";
  write_text(cut, read_text(model_file("tiny-sd15.safetensors")).substr(0, 3'000'000));
  expect_refused(generate({}, {}, cut), kFailed, "cut.safetensors");
  expect_refused(generate({}, {}, model_file("tiny-sd15-lora-kohya.safetensors")), kFailed,
                 "tiny-sd15-lora-kohya.safetensors");
  expect_refused(generate({}, {}, scratch_.path().string()), kFailed, scratch_.path().filename().string());
}

TEST_F(Usage, AWrongPairingIsRefused) {
  expect_refused(generate({}, {{"USE_SDXL", "1"}}), kFailed, "SDXL");
  expect_refused(generate({"--lora", model_file("tiny-sd15.safetensors")}), kFailed, "tiny-sd15.safetensors");
  expect_refused(generate({"--vae", model_file("tiny-sd15-lora-kohya.safetensors")}), kFailed, "lora-kohya");
}

TEST_F(Usage, AnOutputThatCannotBeWrittenIsRefusedBeforeTheModelIsRead) {
  // The model does not exist either: the output is looked at first.
  const std::string none = scratch_ / "none.safetensors";
  expect_refused(generate({"-o", scratch_ / "no/such/x.png"}, {}, none), kFailed, "no/such/x.png");
  expect_refused(generate({"-o", scratch_ / "x.gif"}, {}, none), kUsage, ".webp");
  std::filesystem::create_directory(scratch_ / "folder.png");
  expect_refused(generate({"-o", scratch_ / "folder.png"}, {}, none), kFailed, "folder.png");
  expect_refused(generate({"--fingerprint", scratch_ / "no/such/f"}, {}, none), kFailed, "no/such/f");
}

TEST_F(Usage, APictureThatCannotBeReadIsNamed) {
  expect_refused(generate({"--init-image", scratch_ / "none.png"}), kFailed, "none.png");
  const std::string broken = scratch_ / "broken.png";
  write_text(broken, "\x89PNG\r\n\x1a\n and no more");
  expect_refused(generate({"--init-image", broken}), kFailed, "broken.png");
  write_text(broken, "not a picture");
  expect_refused(generate({"--init-image", broken}), kFailed, "PNG, JPEG and WebP");
}

}  // namespace
}  // namespace dreamlab
