#include "base/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spng.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/exif.h"
#include "base/image_codecs.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

// Smooth color with some grain, as generated pictures have.
Image make_picture(int64_t width, int64_t height, int64_t channels = 3) {
  Image image = Image::blank(width, height, channels);
  std::mt19937 random(7);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        const double wave = std::sin(0.05 * static_cast<double>(x * (c + 1))) * std::cos(0.03 * static_cast<double>(y));
        image.row(y)[x * channels + c] = static_cast<uint8_t>(128 + 100 * wave + static_cast<double>(random() % 8));
      }
    }
  }
  return image;
}

double mean_difference(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(int{a.pixels[i]} - int{b.pixels[i]});
  return sum / static_cast<double>(a.pixels.size());
}

ErrorKind kind_of_failure(std::span<const uint8_t> bytes, std::string* message = nullptr,
                          const ImageLimits& limits = {}) {
  try {
    decode_image(bytes, "picture", limits);
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  ADD_FAILURE() << "was read without an error";
  return ErrorKind::internal;
}

TEST(Image, PngKeepsEveryPixelAtEverySizeAndChannelCount) {
  for (int64_t channels : {3, 4}) {
    for (auto [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {1, 9}, {17, 1}, {3, 5}, {64, 64}, {131, 97}}) {
      const Image image = make_picture(width, height, channels);
      const DecodedImage decoded = decode_image(encode_image(image, ImageFormat::png), "png");
      EXPECT_TRUE(decoded.image == image) << width << "x" << height << "x" << channels;
      EXPECT_EQ(decoded.format, ImageFormat::png);
    }
  }
}

TEST(Image, PngOfNoiseAndOfOneColorComeBackUnchanged) {
  Image noise = Image::blank(200, 100);
  std::mt19937 random(3);
  for (uint8_t& value : noise.pixels) value = static_cast<uint8_t>(random());
  EXPECT_TRUE(decode_image(encode_image(noise, ImageFormat::png), "noise").image == noise);

  Image flat = Image::blank(500, 300);
  std::fill(flat.pixels.begin(), flat.pixels.end(), uint8_t{77});
  const Bytes bytes = encode_image(flat, ImageFormat::png);
  EXPECT_TRUE(decode_image(bytes, "flat").image == flat);
  EXPECT_LT(bytes.size(), 5000u) << "a picture of one color should be small";
}

TEST(Image, PngFiltersMakePicturesSmaller) {
  const Image image = make_picture(256, 256);
  EXPECT_LT(encode_image(image, ImageFormat::png).size(), image.pixels.size() * 6 / 10);
}

TEST(Image, EncodingIsDeterministic) {
  const Image image = make_picture(120, 80);
  for (ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    EXPECT_EQ(encode_image(image, format), encode_image(image, format)) << name_of(format);
  }
}

TEST(Image, JpegAndWebpComeBackCloseToTheOriginal) {
  const Image image = make_picture(150, 90);
  for (ImageFormat format : {ImageFormat::jpeg, ImageFormat::webp}) {
    const DecodedImage decoded = decode_image(encode_image(image, format), "lossy");
    ASSERT_EQ(decoded.image.width, 150);
    ASSERT_EQ(decoded.image.height, 90);
    EXPECT_EQ(decoded.format, format);
    EXPECT_LT(mean_difference(decoded.image, image), 4.0) << name_of(format);
  }
}

TEST(Image, LowerQualityGivesSmallerFiles) {
  const Image image = make_picture(256, 256);
  for (ImageFormat format : {ImageFormat::jpeg, ImageFormat::webp}) {
    EXPECT_LT(encode_image(image, format, {.quality = 40, .texts = {}}).size(),
              encode_image(image, format, {.quality = 95, .texts = {}}).size())
        << name_of(format);
  }
}

TEST(Image, WebpOfQuality100IsLosslessAndKeepsAlpha) {
  for (int64_t channels : {3, 4}) {
    Image image = make_picture(61, 40, channels);
    if (channels == 4) image.pixels[3] = 0;  // or libwebp may call it opaque
    EXPECT_TRUE(decode_image(encode_image(image, ImageFormat::webp, {.quality = 100, .texts = {}}), "webp").image ==
                image);
  }
}

TEST(Image, JpegLaysAlphaOverBlack) {
  Image image = Image::blank(16, 16, 4);
  for (size_t i = 0; i < image.pixels.size(); i += 4) {
    image.pixels[i] = image.pixels[i + 1] = image.pixels[i + 2] = 200;
    image.pixels[i + 3] = 128;
  }
  const Image back = decode_image(encode_image(image, ImageFormat::jpeg), "jpeg").image;
  EXPECT_EQ(back.channels, 3);
  EXPECT_NEAR(back.pixels[0], 100, 3);
}

TEST(Image, TextsTravelInEveryFormat) {
  const std::string plain = "a cat\nNegative prompt: dog\nSteps: 4, Size: 8x8";
  const std::string unicode = "caf\xC3\xA9 \xE7\x8C\xAB \xF0\x9F\x90\xB1 (\xC3\xBC)";
  const Image image = make_picture(24, 24);
  for (const std::string& text : {plain, unicode}) {
    for (ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
      const DecodedImage decoded =
          decode_image(encode_image(image, format, {.quality = 90, .texts = {{"parameters", text}}}), "x");
      ASSERT_EQ(decoded.texts.size(), 1u) << name_of(format);
      EXPECT_EQ(decoded.texts[0].keyword, "parameters");
      EXPECT_EQ(decoded.texts[0].text, text) << name_of(format);
    }
  }
}

TEST(Image, PngTextIsLatin1InATextChunkWhereThatIsEnough) {
  const Image image = make_picture(8, 8);
  const auto holds = [&](const std::string& text, std::string_view chunk) {
    const Bytes bytes = encode_image(image, ImageFormat::png, {.quality = 90, .texts = {{"parameters", text}}});
    return std::string(bytes.begin(), bytes.end()).find(chunk) != std::string::npos;
  };
  EXPECT_TRUE(holds("caf\xC3\xA9", std::string_view("tEXtparameters\0caf\xE9", 19)));
  EXPECT_TRUE(holds("\xE7\x8C\xAB", std::string_view("iTXtparameters\0\0\0\0\0\xE7\x8C\xAB", 22)));
}

TEST(Image, AWebpWithTextKeepsItsPixelsAndAlpha) {
  Image image = make_picture(33, 21, 4);
  image.pixels[3] = 0;
  const EncodeOptions options{.quality = 100, .texts = {{"parameters", "odd length"}}};
  EXPECT_TRUE(decode_image(encode_image(image, ImageFormat::webp, options), "webp").image == image);
}

// A PNG of any color type and depth, through the library's own writer.
Bytes make_png(spng_ihdr header, std::span<const uint8_t> raw, const spng_plte* palette = nullptr) {
  spng_ctx* context = spng_ctx_new(SPNG_CTX_ENCODER);
  spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
  spng_set_ihdr(context, &header);
  if (palette != nullptr) {
    spng_plte copy = *palette;
    spng_set_plte(context, &copy);
    spng_trns transparency{};
    transparency.n_type3_entries = 1;
    transparency.type3_alpha[0] = 9;
    spng_set_trns(context, &transparency);
  }
  EXPECT_EQ(spng_encode_image(context, raw.data(), raw.size(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
  size_t size = 0;
  int error = 0;
  auto* data = static_cast<uint8_t*>(spng_get_png_buffer(context, &size, &error));
  Bytes bytes(data, data + size);
  std::free(data);
  spng_ctx_free(context);
  return bytes;
}

TEST(Image, GrayPaletteAnd16BitPngsBecome8BitRgb) {
  const Bytes gray = {0, 100, 200, 255};
  const Image from_gray = decode_image(make_png({2, 2, 8, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0}, gray), "gray").image;
  EXPECT_EQ(from_gray.pixels, (Bytes{0, 0, 0, 100, 100, 100, 200, 200, 200, 255, 255, 255}));

  const std::vector<uint16_t> deep = {0x1234, 0xAB00, 0xFFFF};
  const auto* deep_data = reinterpret_cast<const uint8_t*>(deep.data());
  const Bytes deep_bytes(deep_data, deep_data + 6);
  const Image from_deep =
      decode_image(make_png({1, 1, 16, SPNG_COLOR_TYPE_TRUECOLOR, 0, 0, 0}, deep_bytes), "deep").image;
  EXPECT_EQ(from_deep.pixels, (Bytes{0x12, 0xAB, 0xFF}));

  spng_plte palette{};
  palette.n_entries = 2;
  palette.entries[0] = {10, 20, 30, 255};
  palette.entries[1] = {40, 50, 60, 255};
  const Bytes indices = {0, 1};
  const Image from_palette =
      decode_image(make_png({2, 1, 8, SPNG_COLOR_TYPE_INDEXED, 0, 0, 0}, indices, &palette), "palette").image;
  EXPECT_EQ(from_palette.channels, 4);
  EXPECT_EQ(from_palette.pixels, (Bytes{10, 20, 30, 9, 40, 50, 60, 255}));
}

TEST(Image, ExifOrientationOfAJpegIsHonoured) {
  // Upright 32x16: left half bright, right half dark. Orientation 6 means that the stored picture must be turned
  // clockwise.
  Image upright = Image::blank(32, 16);
  for (int64_t y = 0; y < 16; ++y) std::fill(upright.row(y), upright.row(y) + 48, uint8_t{250});
  for (int orientation = 1; orientation <= 8; ++orientation) {
    // The inverse of 6 is 8 and the other way round; the others are their own.
    const int inverse = orientation == 6 ? 8 : orientation == 8 ? 6 : orientation;
    const Bytes plain =
        encode_image(apply_orientation(upright, inverse), ImageFormat::jpeg, {.quality = 95, .texts = {}});
    const Bytes exif = {0xFF,
                        0xE1,
                        0,
                        34,
                        'E',
                        'x',
                        'i',
                        'f',
                        0,
                        0,
                        'I',
                        'I',
                        42,
                        0,
                        8,
                        0,
                        0,
                        0,
                        1,
                        0,
                        0x12,
                        0x01,
                        3,
                        0,
                        1,
                        0,
                        0,
                        0,
                        static_cast<uint8_t>(orientation),
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0};
    Bytes bytes(plain.begin(), plain.begin() + 2);
    bytes.insert(bytes.end(), exif.begin(), exif.end());
    bytes.insert(bytes.end(), plain.begin() + 2, plain.end());
    const Image decoded = decode_image(bytes, "turned").image;
    ASSERT_EQ(decoded.width, 32) << orientation;
    ASSERT_EQ(decoded.height, 16) << orientation;
    EXPECT_LT(mean_difference(decoded, upright), 3.0) << orientation;
  }
}

TEST(Image, EveryOrientationMovesTheCornerWhereExifSays) {
  // Stored 3x2, the first pixel marked; where it is after turning upright.
  struct Case {
    int orientation;
    int64_t width, x, y;
  };
  for (const Case& c : {Case{1, 3, 0, 0}, Case{2, 3, 2, 0}, Case{3, 3, 2, 1}, Case{4, 3, 0, 1}, Case{5, 2, 0, 0},
                        Case{6, 2, 1, 0}, Case{7, 2, 1, 2}, Case{8, 2, 0, 2}}) {
    Image stored = Image::blank(3, 2);
    stored.pixels[0] = 255;
    const Image upright = apply_orientation(stored, c.orientation);
    ASSERT_EQ(upright.width, c.width) << c.orientation;
    EXPECT_EQ(upright.row(c.y)[c.x * 3], 255) << c.orientation;
  }
}

TEST(Image, DamagedExifCountsAsAbsent) {
  const Bytes good = make_exif("hello");
  EXPECT_EQ(parse_exif(good).user_comment, "hello");
  for (size_t length = 0; length < good.size(); ++length) {
    const ExifData cut = parse_exif(std::span(good).first(length));
    EXPECT_EQ(cut.orientation, 1);
    EXPECT_EQ(cut.user_comment, "") << length;
  }
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    Bytes mutated = good;
    for (int k = 0; k < 4; ++k) mutated[random() % mutated.size()] = static_cast<uint8_t>(random());
    const ExifData exif = parse_exif(mutated);
    EXPECT_GE(exif.orientation, 1);
    EXPECT_LE(exif.orientation, 8);
  }
}

TEST(Image, TruncatedFilesAreRefusedAtEveryLength) {
  const Image image = make_picture(40, 30);
  for (ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const Bytes bytes = encode_image(image, format);
    const size_t tail = format == ImageFormat::png ? 12 : format == ImageFormat::jpeg ? 2 : 0;  // the end marker itself
    for (size_t length = 16; length + tail < bytes.size(); length += 7) {
      std::string message;
      EXPECT_EQ(kind_of_failure(std::span(bytes).first(length), &message), ErrorKind::invalid_file)
          << name_of(format) << " cut to " << length << " of " << bytes.size();
      EXPECT_THAT(message, HasSubstr("picture: "));
      EXPECT_EQ(message.find('\n'), std::string::npos);
    }
  }
}

TEST(Image, MutatedFilesNeverDoMoreThanFail) {
  const Image image = make_picture(24, 20, 4);
  std::mt19937 random(5);
  for (ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const Bytes bytes = encode_image(image, format, {.quality = 80, .texts = {{"parameters", "text"}}});
    for (int round = 0; round < 1500; ++round) {
      Bytes mutated = bytes;
      for (int k = 0; k < 3; ++k) mutated[12 + random() % (mutated.size() - 12)] = static_cast<uint8_t>(random());
      try {
        const Image decoded = decode_image(mutated, "mutated", {.max_pixels = 1 << 20}).image;
        EXPECT_EQ(decoded.pixels.size(), static_cast<size_t>(decoded.width * decoded.height * decoded.channels));
      } catch (const Error& error) {
        EXPECT_NE(error.kind(), ErrorKind::internal) << error.what();
      }
    }
  }
}

TEST(Image, SizesOverTheLimitAreRefusedFromTheHeader) {
  const Image image = make_picture(100, 101);
  for (ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const Bytes bytes = encode_image(image, format);
    std::string message;
    EXPECT_EQ(kind_of_failure(bytes, &message, {.max_pixels = 10099}), ErrorKind::invalid_file);
    EXPECT_THAT(message, HasSubstr("100x101 pixels is larger than the 10099"));
    EXPECT_NO_THROW(decode_image(bytes, "picture", {.max_pixels = 10100}));
  }
}

TEST(Image, AHeaderThatPromisesMoreThanTheFileCanHoldIsRefused) {
  Image image = Image::blank(8, 8);
  Bytes png = make_png({8000, 8000, 8, SPNG_COLOR_TYPE_GRAYSCALE, 0, 0, 0}, Bytes(64000000, 0));
  png.resize(2000);
  std::string message;
  EXPECT_EQ(kind_of_failure(png, &message), ErrorKind::invalid_file);
  EXPECT_THAT(message, HasSubstr("cannot hold"));

  Bytes jpeg = encode_image(image, ImageFormat::jpeg);
  const Bytes frame = {0xFF, 0xC0, 0, 17, 8, 0, 8, 0, 8};
  const auto at = std::search(jpeg.begin(), jpeg.end(), frame.begin(), frame.end());
  ASSERT_NE(at, jpeg.end());
  at[5] = at[7] = 0x1F;  // 7944 a side
  EXPECT_EQ(kind_of_failure(jpeg, &message), ErrorKind::invalid_file);
  EXPECT_THAT(message, HasSubstr("cannot hold"));
}

TEST(Image, WhatIsNoImageIsRefusedByName) {
  const std::string text = "GIF89a and what not";
  std::string message;
  EXPECT_EQ(kind_of_failure(Bytes(text.begin(), text.end()), &message), ErrorKind::unsupported);
  EXPECT_THAT(message, HasSubstr("PNG, JPEG and WebP"));
  EXPECT_EQ(kind_of_failure(Bytes{}), ErrorKind::unsupported);
}

TEST(Image, FormatsAreToldByExtensionAndContent) {
  EXPECT_EQ(image_format_from_path("a/b.PNG"), ImageFormat::png);
  EXPECT_EQ(image_format_from_path("x.jpg"), ImageFormat::jpeg);
  EXPECT_EQ(image_format_from_path("x.JPEG"), ImageFormat::jpeg);
  EXPECT_EQ(image_format_from_path("x.webp"), ImageFormat::webp);
  EXPECT_EQ(image_format_from_path("x.gif"), std::nullopt);
  EXPECT_EQ(image_format_from_path("png"), std::nullopt);
}

TEST(Image, ResizingKeepsAFlatPictureFlatAndMeansEqual) {
  Image flat = Image::blank(31, 17);
  std::fill(flat.pixels.begin(), flat.pixels.end(), uint8_t{93});
  for (auto [w, h] : {std::pair<int64_t, int64_t>{64, 64}, {7, 5}, {31, 40}}) {
    for (uint8_t value : resize_image(flat, w, h).pixels) ASSERT_EQ(value, 93) << w << "x" << h;
  }
  const Image picture = make_picture(128, 96);
  const auto mean = [](const Image& image) {
    double sum = 0;
    for (uint8_t value : image.pixels) sum += value;
    return sum / static_cast<double>(image.pixels.size());
  };
  EXPECT_NEAR(mean(resize_image(picture, 40, 30)), mean(picture), 1.0);
  EXPECT_NEAR(mean(resize_image(picture, 300, 200)), mean(picture), 1.0);
}

TEST(Image, ShrinkingDoesNotAlias) {
  // A checkerboard of single pixels averages to gray.
  Image board = Image::blank(128, 128);
  for (int64_t y = 0; y < 128; ++y) {
    for (int64_t x = 0; x < 128; ++x) std::fill_n(board.row(y) + 3 * x, 3, static_cast<uint8_t>((x + y) % 2 ? 255 : 0));
  }
  const Image small = resize_image(board, 32, 32);
  for (int64_t y = 4; y < 28; ++y) {
    for (int64_t i = 12; i < 84; ++i) EXPECT_NEAR(small.row(y)[i], 127, 4);
  }
}

TEST(Image, GrayIsLuma) {
  Image image = Image::blank(3, 1);
  image.pixels = {255, 0, 0, 0, 255, 0, 255, 255, 255};
  EXPECT_EQ(to_gray(image), (Bytes{76, 150, 255}));
}

}  // namespace
}  // namespace dreamlab
