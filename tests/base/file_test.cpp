#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/utf8.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ =
        fs::temp_directory_path() / (std::string("dreamlab-file-") + info->name() + std::to_string(::getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST_F(FileTest, WhatIsWrittenIsReadBackAndNothingElseIsLeft) {
  const Bytes bytes = {1, 2, 3, 0, 255};
  write_file(path("a.bin"), bytes);
  EXPECT_EQ(read_file(path("a.bin")), bytes);
  write_file(path("a.bin"), Bytes{9});
  EXPECT_EQ(read_file(path("a.bin")), Bytes{9});
  write_file(path("empty"), {});
  EXPECT_TRUE(read_file(path("empty")).empty());
  EXPECT_EQ(entries(), 2u);
}

TEST_F(FileTest, CheckingThatAPathIsWritableLeavesNoTrace) {
  check_writable(path("new.png"));
  EXPECT_EQ(entries(), 0u);
  write_file(path("old.png"), Bytes{5});
  check_writable(path("old.png"));
  EXPECT_EQ(read_file(path("old.png")), Bytes{5});
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, MissingDirectoriesAndDirectoriesAreNamedInTheError) {
  EXPECT_THAT(message_of([&] { check_writable(path("no/such/a.png")); }),
              HasSubstr("no/such/a.png: cannot be written"));
  EXPECT_THAT(message_of([&] { check_writable(directory_.string()); }), HasSubstr("cannot be written"));
  EXPECT_THAT(message_of([&] { read_file(directory_.string()); }), HasSubstr("cannot be read"));
  EXPECT_THAT(message_of([&] { read_file(path("missing")); }), HasSubstr("missing: cannot be read"));
}

TEST_F(FileTest, FilesOverTheLimitAreNotRead) {
  write_file(path("big"), Bytes(100, 1));
  EXPECT_THAT(message_of([&] { read_file(path("big"), 99); }), HasSubstr("100 bytes are more than the 99 allowed"));
  EXPECT_EQ(read_file(path("big"), 100).size(), 100u);
}

TEST_F(FileTest, ADeviceIsWrittenToAndNotReplaced) {
  write_file("/dev/null", Bytes{1, 2});
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST(Utf8, RoundTripsEveryPlane) {
  const std::u32string points = U"a\u00e9\u732b\U0001F431\U0010FFFF";
  EXPECT_EQ(decode_utf8(encode_utf8(points)), points);
}

TEST(Utf8, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(decode_utf8("a\xFFz"), U"a\uFFFDz");
  EXPECT_EQ(decode_utf8("\xC0\x80"), U"\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(decode_utf8("\xED\xA0\x80"), U"\uFFFD\uFFFD\uFFFD") << "surrogate";
  EXPECT_EQ(decode_utf8("\xE7\x8C"), U"\uFFFD\uFFFD") << "cut short";
  EXPECT_EQ(decode_utf8("\xF4\x90\x80\x80"), U"\uFFFD\uFFFD\uFFFD\uFFFD") << "above the last plane";
}

}  // namespace
}  // namespace dreamlab
