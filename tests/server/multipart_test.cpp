#include "server/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/schema.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;

TEST(MultipartBoundary, IsReadFromTheContentType) {
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(multipart_boundary("Multipart/Form-Data;charset=utf-8; Boundary=\"a b+c\""), "a b+c");
  EXPECT_EQ(multipart_boundary("multipart/form-data"), std::nullopt);
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary="), std::nullopt);
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=\"abc"), std::nullopt);
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=a\nb"), std::nullopt);
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'a')), std::nullopt);
  EXPECT_EQ(multipart_boundary("multipart/mixed; boundary=abc"), std::nullopt);
  EXPECT_EQ(multipart_boundary("application/json"), std::nullopt);
  EXPECT_EQ(multipart_boundary(""), std::nullopt);
}

std::string part(const std::string& header, const std::string& body) {
  return "--abc\r\n" + header + "\r\n\r\n" + body + "\r\n";
}

const std::string kName = "Content-Disposition: form-data; name=\"x\"";
const std::string kEnd = "--abc--\r\n";

TEST(Multipart, ReadsPartsAsTheyAre) {
  const std::string bytes("\r\n--ab\0--abc \r\n", 15);
  const auto parts = parse_multipart(
      "preamble\r\n" +
          part("content-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".png\"\r\nContent-Type: image/png",
               bytes) +
          part("Content-Disposition:form-data;name=plain", "") + kEnd + "epilogue",
      "abc");
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "file");
  EXPECT_EQ(parts[0].filename, "a \"b\".png");
  EXPECT_EQ(parts[0].content_type, "image/png");
  EXPECT_EQ(parts[0].body, bytes);
  EXPECT_EQ(parts[1].name, "plain");
  EXPECT_EQ(parts[1].filename, "");
  EXPECT_EQ(parts[1].body, "");
}

TEST(Multipart, TakesAFormWithoutParts) {
  EXPECT_TRUE(parse_multipart("--abc--\r\n", "abc").empty());
}

struct Malformed {
  std::string body;
  const char* message;
};

class MalformedForms : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedForms, AreRefusedWithThePlace) {
  try {
    parse_multipart(GetParam().body, "abc");
    FAIL() << "was taken";
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 400);
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
    EXPECT_THAT(error.what(), HasSubstr("(byte "));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Multipart, MalformedForms,
    testing::Values(
        Malformed{"", "does not begin with its boundary"}, Malformed{"--abd\r\n", "does not begin with its boundary"},
        Malformed{"--abcd\r\n", "not at the end of its line"}, Malformed{"--abc", "not at the end of its line"},
        Malformed{"--abc\r\n", "ends inside a part's header"},
        Malformed{"--abc\r\n" + kName, "ends inside a part's header"},
        Malformed{"--abc\r\n" + kName + "\r\n\r\nbody", "ends inside a part"},
        Malformed{"--abc\r\n" + kName + "\r\n\r\nbody\r\n--abc", "not at the end of its line"},
        Malformed{part("Content-Type: text/plain", "") + kEnd, "no Content-Disposition with a name"},
        Malformed{part("Content-Disposition: form-data", "") + kEnd, "no Content-Disposition with a name"},
        Malformed{part("Content-Disposition: form-data; name=\"x", "") + kEnd, "no Content-Disposition with a name"},
        Malformed{part("Content-Disposition: attachment; name=\"x\"", "") + kEnd, "is not form-data"},
        Malformed{part(kName + "\r\nContent-Transfer-Encoding: base64", "") + kEnd, "encoded for transfer"},
        Malformed{part(kName + "\r\nnonsense", "") + kEnd, "no colon"},
        Malformed{part(kName + "\r\nX: " + std::string(9000, 'x'), "") + kEnd, "longer than 8192 bytes"}));

TEST(Multipart, LimitsTheNumberOfParts) {
  std::string body;
  for (int i = 0; i < 33; ++i) body += part(kName, "");
  try {
    parse_multipart(body + kEnd, "abc");
    FAIL() << "was taken";
  } catch (const RequestError& error) {
    EXPECT_THAT(error.what(), HasSubstr("more than 32 parts"));
  }
}

}  // namespace
}  // namespace dreamlab
