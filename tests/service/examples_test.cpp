// The example files of the documentation are ones that the server takes.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/config.h"
#include "service/modes.h"
#include "worker/styles.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

std::filesystem::path in_project(const std::string& name) {
  return (std::filesystem::path(DREAMLAB_TEST_DATA_DIR) / "../../.." / name).lexically_normal();
}

TEST(Examples, OfStyles) {
  const std::vector<StyleEntry> styles = read_styles(in_project("docs/examples/styles.yaml"), "/loras");
  ASSERT_EQ(styles.size(), 2u);
  EXPECT_EQ(styles[0].id, "papercut");
  EXPECT_EQ(styles[0].path, "/loras/papercut.safetensors");
  EXPECT_THAT(styles[0].levels, ElementsAre(0.5, 0.8, 1.0));
  EXPECT_EQ(styles[0].cross_attention_dim, 2048);
  EXPECT_EQ(styles[1].cross_attention_dim, std::nullopt);
}

TEST(Examples, OfModes) {
  const auto modes = ModeRegistry::from_file(in_project("docs/examples/modes.yaml"), "/models", "/loras");
  EXPECT_EQ(modes->default_mode(), "photo");
  const auto sketch = modes->find("sketch");
  ASSERT_TRUE(sketch);
  EXPECT_EQ(sketch->steps, 4);
  ASSERT_EQ(sketch->styles.size(), 1u);
  EXPECT_EQ(sketch->styles[0].path, "/loras/ink_sd15.safetensors");
}

TEST(Examples, OfAnEnvironment) {
  std::map<std::string, std::string, std::less<>> environment;
  std::ifstream file(in_project("env.sdxl"));
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t equals = line.find('=');
    ASSERT_NE(equals, std::string::npos) << line;
    environment[line.substr(0, equals)] = line.substr(equals + 1);
  }
  const Config config([&](std::string_view name) -> std::optional<std::string> {
    const auto found = environment.find(name);
    return found == environment.end() ? std::nullopt : std::optional(found->second);
  });
  for (const auto& [name, value] : environment) EXPECT_TRUE(config.is_set(name)) << name;
  EXPECT_EQ(config.boolean("USE_SDXL"), true);
  EXPECT_EQ(config.size("DEFAULT_SIZE"), (PictureSize{1024, 1024}));
}

TEST(Runner, SaysWhatItDoesWithoutDoingIt) {
  const std::string command = in_project("runner.sh").string() + " --port 1 --help";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string text;
  char piece[1024];
  while (std::fgets(piece, sizeof piece, pipe) != nullptr) text += piece;
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_THAT(text, ::testing::HasSubstr("usage: ./runner.sh"));
}

}  // namespace
}  // namespace dreamlab
