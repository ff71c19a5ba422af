#include "service/modes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ModesTest : public ::testing::Test {
 protected:
  ModesTest() : path_(std::filesystem::temp_directory_path() / fmt::format("dreamlab-modes-{}.yaml", ::getpid())) {}
  ~ModesTest() override { std::filesystem::remove(path_); }

  void write(const std::string& text) const { std::ofstream(path_) << text; }
  std::shared_ptr<ModeRegistry> read(const std::string& text) const {
    write(text);
    return ModeRegistry::from_file(path_, "/models", "/loras");
  }
  // The text of the error after the file's name.
  std::string refusal(const std::string& text) const {
    try {
      read(text);
      return "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
      EXPECT_THAT(error.what(), StartsWith(path_.string() + ":"));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return std::string(error.what()).substr(path_.string().size());
    }
  }

  const std::filesystem::path path_;
};

TEST_F(ModesTest, AModeIsAModelWithItsStylesAndDefaults) {
  const auto registry = read(R"(
default: sketch
modes:
  photo:  {model: xl.safetensors, size: 1024x768, steps: 25, guidance: 6, scheduler: dpmpp_2m_karras}
  sketch:
    model: /elsewhere/lcm.safetensors
    loras:
      - {style: ink, path: ink.safetensors, levels: [0.4, 0.8], title: Ink}
      - {style: wash, path: wash.safetensors, cross_attention_dim: 768}
)");
  EXPECT_TRUE(registry->named());
  EXPECT_EQ(registry->default_mode(), "sketch");
  ASSERT_EQ(registry->modes().size(), 2u);
  const Mode photo = registry->find("photo").value();
  EXPECT_EQ(photo.model, "/models/xl.safetensors");
  EXPECT_EQ(photo.size, (PictureSize{1024, 768}));
  EXPECT_EQ(photo.steps, 25);
  EXPECT_EQ(photo.guidance, 6.0);
  EXPECT_EQ(photo.scheduler, "dpmpp_2m_karras");
  EXPECT_TRUE(photo.styles.empty());
  const Mode sketch = registry->find("sketch").value();
  EXPECT_EQ(sketch.model, "/elsewhere/lcm.safetensors");
  EXPECT_EQ(sketch.size, std::nullopt);
  EXPECT_EQ(sketch.steps, std::nullopt);
  EXPECT_EQ(sketch.guidance, std::nullopt);
  EXPECT_EQ(sketch.scheduler, "");
  ASSERT_EQ(sketch.styles.size(), 2u);
  EXPECT_EQ(sketch.styles[0].id, "ink");
  EXPECT_EQ(sketch.styles[0].title, "Ink");
  EXPECT_EQ(sketch.styles[0].path, "/loras/ink.safetensors");
  EXPECT_EQ(sketch.styles[0].levels, (std::vector<double>{0.4, 0.8}));
  EXPECT_EQ(sketch.styles[1].cross_attention_dim, 768);
  EXPECT_EQ(registry->find("oil"), std::nullopt);
}

TEST_F(ModesTest, TheFirstModeIsTheDefaultWhereNoneIsNamed) {
  EXPECT_EQ(read("modes: {b: {model: m}, a: {model: m}}")->default_mode(), "b");
}

TEST_F(ModesTest, ErrorsNameTheFileTheLineAndWhatIsAllowed) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ":1: there are no modes"},
      {"modes:", ":1: there are no modes"},
      {"modes: {}", "there are no modes"},
      {"modes: [a]", "a map"},
      {"modes:\n  a:\n    steps: 3", "mode a has no model"},
      {"modes:\n  a: {model: m}\n  b: {model: m, stps: 3}", ":3: \"stps\" is not known here; allowed are model"},
      {"mods: {}", "\"mods\" is not known here; allowed are default, modes"},
      {"modes:\n  a: {model: m}\n  a: {model: m}", ":3: a is here twice"},
      {"default: b\nmodes:\n  a: {model: m}\n  c: {model: m}", ":1: the default mode b is not there; allowed are a, c"},
      {"modes:\n  a: {model: m, size: 512}", ":2: Invalid size '512'"},
      {"modes:\n  a: {model: m, size: 513x512}", ":2: Invalid size '513x512'"},
      {"modes:\n  a: {model: m, steps: 51}", ":2: steps 51 are out of range; 1..50"},
      {"modes:\n  a: {model: m, steps: few}", ":2: a whole number"},
      {"modes:\n  a: {model: m, guidance: 21}", ":2: guidance 21 is out of range; 0..20"},
      {"modes:\n  a: {model: m, scheduler: fastest}", "fastest"},
      {"modes:\n  a:\n    model: m\n    loras:\n      - {path: p}", ":5: a lora without a style"},
      {"modes:\n  a:\n    model: m\n    loras:\n      - {style: s}", ":5: style s has no path"},
      {"modes:\n  a:\n    model: m\n    loras: [{style: s, path: p},\n     {style: s, path: q}]",
       ":5: s is here twice"},
      {"modes: {a: {model: m}", "this is no YAML"},
  };
  for (const auto& [text, expected] : cases) EXPECT_THAT(refusal(text), HasSubstr(expected)) << text;
}

TEST_F(ModesTest, AFileThatIsNotThereIsSaid) {
  try {
    ModeRegistry::from_file("/nowhere/modes.yaml", "", "");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/modes.yaml"));
  }
}

TEST_F(ModesTest, ReadingAgainReplacesAllOrNothing) {
  const auto registry = read("modes: {a: {model: m}, b: {model: m}}");
  write("modes: {c: {model: m}, d: {}}");
  EXPECT_THROW(registry->reload(), Error);
  EXPECT_EQ(registry->modes().size(), 2u);
  EXPECT_EQ(registry->default_mode(), "a");
  write("modes: {c: {model: n}}");
  registry->reload();
  EXPECT_EQ(registry->default_mode(), "c");
  EXPECT_EQ(registry->find("c")->model, "/models/n");
  EXPECT_EQ(registry->find("a"), std::nullopt);
}

TEST_F(ModesTest, WithoutAFileThereIsOneModeWithoutAName) {
  Mode mode;
  mode.model = "m.safetensors";
  const auto registry = ModeRegistry::single(mode);
  EXPECT_FALSE(registry->named());
  EXPECT_EQ(registry->default_mode(), "");
  EXPECT_EQ(registry->find(""), mode);
  registry->reload();
  EXPECT_EQ(registry->modes().size(), 1u);
}

}  // namespace
}  // namespace dreamlab
