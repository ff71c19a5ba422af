// `dreamlab sheet` from the outside.
#include <gmock/gmock.h>

#include <algorithm>

#include "base/file.h"
#include "base/image.h"
#include "process.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

class Sheet : public ::testing::Test {
 protected:
  ProcessResult sheet(const std::string& prompts, const std::vector<std::string>& more = {}) const {
    write_text(scratch_ / "prompts.txt", prompts);
    std::vector<std::string> all = {"sheet",   scratch_ / "prompts.txt",
                                    "--model", model_file("tiny-sd15.safetensors"),
                                    "--size",  "64x72",
                                    "--steps", "1",
                                    "-o",      scratch_ / "sheet.png"};
    all.insert(all.end(), more.begin(), more.end());
    return run_dreamlab(all);
  }
  void expect_refused(const ProcessResult& result, int exit_code, const std::string& message) const {
    expect_refused_in_one_line(result, exit_code, message);
    EXPECT_FALSE(std::filesystem::exists(scratch_ / "sheet.png")) << "a file was left";
  }
  Image picture(const std::string& name) const { return decode_image(read_file(scratch_ / name), name).image; }

  TemporaryDirectory scratch_;
};

TEST_F(Sheet, PutsAPictureForEachPromptSideBySide) {
  const ProcessResult result = sheet("# a comment\na fox\n\na cat\r\na ship\n", {"--columns", "2", "--seed", "5"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("sheet.png  128x144  3 pictures, seeds from 5"));
  const Image all = picture("sheet.png");
  ASSERT_EQ(all.width, 128);
  ASSERT_EQ(all.height, 144);
  // The second is what generate makes of it with the second seed.
  const ProcessResult alone =
      run_dreamlab({"generate", "a cat", "--model", model_file("tiny-sd15.safetensors"), "--size", "64x72", "--steps",
                    "1", "--seed", "6", "-o", scratch_ / "cat.png"});
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  const Image cat = picture("cat.png");
  for (int64_t y = 0; y < 72; ++y) {
    EXPECT_TRUE(std::equal(cat.row(y), cat.row(y) + 3 * 64, all.row(y) + 3 * 64)) << "row " << y;
    EXPECT_TRUE(std::all_of(all.row(72 + y) + 3 * 64, all.row(72 + y) + 3 * 128, [](uint8_t v) { return v == 255; }))
        << "the empty place in row " << y;
  }
}

TEST_F(Sheet, RefusesWhatCannotBeInOneLine) {
  expect_refused(sheet(""), kUsage, "prompts.txt: has no prompts");
  expect_refused(sheet("# nothing\n"), kUsage, "prompts.txt: has no prompts");
  expect_refused(sheet("a fox", {"--columns", "0"}), kUsage, "--columns 0: out of range; 1..64 is allowed");
  expect_refused(sheet("a fox", {"--size", "63x64"}), kUsage, "63");
  expect_refused(run_dreamlab({"sheet", scratch_ / "none.txt"}), kFailed, "none.txt");
}

}  // namespace
}  // namespace dreamlab
