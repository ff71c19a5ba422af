#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Config config_of(std::map<std::string, std::string> environment) {
  return Config([environment](std::string_view name) -> std::optional<std::string> {
    const auto entry = environment.find(std::string(name));
    if (entry == environment.end()) return std::nullopt;
    return entry->second;
  });
}

std::string message_for(const std::string& name, const std::string& value) {
  try {
    config_of({{name, value}});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    return error.what();
  }
  ADD_FAILURE() << name << "=" << value << " was accepted";
  return "";
}

TEST(Config, AnEmptyEnvironmentGivesTheDocumentedDefaults) {
  const Config config = config_of({});
  EXPECT_EQ(config.text("CPU_DTYPE"), "auto");
  EXPECT_EQ(config.text("SCHEDULER"), "lcm");
  EXPECT_EQ(config.text("RNG"), "cuda");
  EXPECT_EQ(config.text("VAE_TILING"), "auto");
  EXPECT_EQ(config.integer("DEFAULT_STEPS"), 4);
  EXPECT_EQ(config.number("DEFAULT_GUIDANCE"), 1.0);
  EXPECT_EQ(config.size("DEFAULT_SIZE"), std::nullopt);
  EXPECT_EQ(config.text("MODEL"), std::nullopt);
  EXPECT_EQ(config.boolean("USE_SDXL"), std::nullopt);
  EXPECT_FALSE(config.is_set("RNG"));
}

TEST(Config, TheEnvironmentOverridesDefaults) {
  const Config config = config_of({{"CPU_DTYPE", "BF16"},
                                   {"DEFAULT_SIZE", "640x512"},
                                   {"DEFAULT_STEPS", "20"},
                                   {"DEFAULT_GUIDANCE", "7.5"},
                                   {"USE_SDXL", "Yes"},
                                   {"MODEL", "a b.safetensors"},
                                   {"RNG", ""}});
  EXPECT_EQ(config.text("CPU_DTYPE"), "bf16");
  EXPECT_EQ(config.size("DEFAULT_SIZE"), (PictureSize{640, 512}));
  EXPECT_EQ(config.integer("DEFAULT_STEPS"), 20);
  EXPECT_EQ(config.number("DEFAULT_GUIDANCE"), 7.5);
  EXPECT_EQ(config.boolean("USE_SDXL"), true);
  EXPECT_EQ(config.text("MODEL"), "a b.safetensors");
  EXPECT_TRUE(config.is_set("MODEL"));
  EXPECT_EQ(config.text("RNG"), "cuda") << "an empty value counts as not set";
  EXPECT_FALSE(config.is_set("RNG"));
}

TEST(Config, ABadValueIsOneLineWithTheVariableTheValueAndWhatIsAllowed) {
  struct Case {
    const char *name, *value, *allowed;
  };
  for (const Case& c : {Case{"CPU_DTYPE", "fp8x", "auto, bf16, fp32"}, Case{"DEFAULT_STEPS", "abc", "1..50"},
                        Case{"DEFAULT_STEPS", "51", "1..50"}, Case{"DEFAULT_STEPS", "4.5", "1..50"},
                        Case{"DEFAULT_GUIDANCE", "nan", "0..20"}, Case{"DEFAULT_GUIDANCE", "-1", "0..20"},
                        Case{"DEFAULT_SIZE", "512", "WIDTHxHEIGHT"}, Case{"DEFAULT_SIZE", "500x512", "multiples of 8"},
                        Case{"USE_SDXL", "maybe", "on/off"}, Case{"RNG", "gpu", "cuda, cpu"},
                        Case{"VAE_TILING", "1", "auto, on, off"}}) {
    const std::string message = message_for(c.name, c.value);
    EXPECT_THAT(message, StartsWith(std::string(c.name) + "=" + c.value));
    EXPECT_THAT(message, HasSubstr(c.allowed));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(Config, EveryRowsFallbackIsAllowedAndHasHelp) {
  for (const Setting& setting : settings()) {
    EXPECT_FALSE(setting.help.empty()) << setting.name;
    EXPECT_FALSE(allowed_values(setting).empty()) << setting.name;
  }
}

TEST(PictureSize, ReadsWidthTimesHeight) {
  EXPECT_EQ(parse_size("1024x768"), (PictureSize{1024, 768}));
  EXPECT_EQ(parse_size("8X4096"), (PictureSize{8, 4096}));
  EXPECT_EQ(to_string(PictureSize{640, 480}), "640x480");
}

TEST(PictureSize, AnythingElseIsAnInvalidSize) {
  for (const char* text : {"", "x", "512", "512x", "x512", "0x512", "512x0", "-8x8", "+8x8", "8 x8", "512x512x3",
                           "513x512", "512x516", "4104x8", "99999999999999999999x8", "axb", "512*512"}) {
    try {
      parse_size(text);
      ADD_FAILURE() << "'" << text << "' was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), StartsWith("Invalid size"));
    }
  }
}

}  // namespace
}  // namespace dreamlab
