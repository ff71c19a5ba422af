#include "server/uploaded_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "server/base64.h"
#include "server/schema.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;

std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

TEST(Base64, FollowsTheVectorsOfRfc4648) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : kVectors) {
    EXPECT_EQ(encode_base64(bytes_of(plain)), encoded);
    EXPECT_EQ(decode_base64(encoded), bytes_of(plain));
  }
}

TEST(Base64, ReadsBackWhatItWroteAcrossPieces) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes((3 << 20) + 5);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes);
}

TEST(Base64, TakesMissingPaddingAndLineBreaks) {
  EXPECT_EQ(decode_base64("Zm9vY\r\nmE"), bytes_of("fooba"));
}

TEST(Base64, RefusesEverythingElse) {
  for (const char* text : {"Z", "Zm9v=", "Zg=", "Z===", "Zg==Zg==", "Zm 9", "Zm9v-", "Zm9_", "Zm9\xc3\xa9", " Zm9v"})
    EXPECT_EQ(decode_base64(text), std::nullopt) << text;
}

std::string error_of(std::string_view text, int64_t max_pixels = kMaxUploadPixels) {
  try {
    decode_base64_picture(text, "init_image", max_pixels);
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 422);
    EXPECT_EQ(error.field(), "init_image");
    return error.what();
  }
  return "none";
}

TEST(UploadedPicture, ComesFromBase64OrADataUrl) {
  Image picture = Image::blank(3, 2);
  picture.pixels[4] = 200;
  const std::string base64 = encode_base64(encode_image(picture, ImageFormat::png));
  EXPECT_EQ(*decode_base64_picture(base64, "f"), picture);
  EXPECT_EQ(*decode_base64_picture("data:image/png;base64," + base64, "f"), picture);
}

TEST(UploadedPicture, IsRefusedWithTheFieldsName) {
  const std::string base64 = encode_base64(encode_image(Image::blank(64, 64), ImageFormat::png));
  EXPECT_THAT(error_of("!"), HasSubstr("init_image is not base64"));
  EXPECT_THAT(error_of("data:image/png,x"), HasSubstr("init_image is a data URL without base64"));
  EXPECT_THAT(error_of("data:image/png;base64"), HasSubstr("init_image is a data URL without base64"));
  EXPECT_THAT(error_of(""), HasSubstr("init_image: not an image"));
  EXPECT_THAT(error_of(base64.substr(0, 60)), HasSubstr("init_image: damaged or truncated PNG"));
  EXPECT_THAT(error_of(base64, 64 * 63), HasSubstr("larger than the 4032 pixels allowed"));
}

}  // namespace
}  // namespace dreamlab
