#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/test_server.h"
#include "server/ui_files.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TestServer& server_without_model() {
  static TestServer& server = start_shared_server({.environment = {{"API_KEY", "secret"}}, .model = ""});
  return server;
}

TEST(Ui, ThePageNeedsNoKeyAndAsksNoOtherHost) {
  const Answer page = server_without_model().get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.header("cache-control"), "no-cache");
  EXPECT_THAT(page.header("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(page.body, StartsWith("<!doctype html>"));
  EXPECT_THAT(page.body, Not(HasSubstr("http://")));
  EXPECT_THAT(page.body, Not(HasSubstr("https://")));
}

TEST(Ui, EveryFileComesCompressedOrNot) {
  const int port = server_without_model().port();
  for (const UiFile& file : ui_files()) {
    const std::string path = file.path == "/index.html" ? "/" : std::string(file.path);
    const Answer plain = ask(port, "GET", path);
    EXPECT_EQ(plain.status, 200) << path;
    EXPECT_EQ(plain.body.size(), file.size) << path;
    EXPECT_EQ(plain.header("content-encoding"), "") << path;
    const Answer packed = ask(port, "GET", path, "", {{"Accept-Encoding", "br, gzip"}});
    EXPECT_EQ(packed.header("content-encoding"), "gzip") << path;
    EXPECT_EQ(packed.body.size(), file.gzip.size()) << path;
    EXPECT_EQ(packed.header("vary"), "Accept-Encoding") << path;
    const Answer refused = ask(port, "GET", path, "", {{"Accept-Encoding", "gzip;q=0, identity"}});
    EXPECT_EQ(refused.body, plain.body) << path;
    const Answer known = ask(port, "GET", path, "", {{"If-None-Match", std::string(file.etag)}});
    EXPECT_EQ(known.status, 304) << path;
    EXPECT_EQ(known.body, "") << path;
  }
}

TEST(Ui, FilesWithAHashInTheirNameAreKept) {
  for (const UiFile& file : ui_files()) {
    if (file.path == "/index.html") continue;
    EXPECT_THAT(server_without_model().get(std::string(file.path)).header("cache-control"), HasSubstr("immutable"));
  }
}

TEST(Ui, OtherNamesAreNotFound) {
  for (const char* path : {"/assets/other.js", "/assets/..%2Findex.html", "/assets/", "/index.htm"})
    EXPECT_EQ(server_without_model().get(path).status, 404) << path;
}

TEST(Ui, AFirstVisitLoadsLittle) {
  size_t total = 0;
  for (const UiFile& file : ui_files()) total += file.gzip.size();
  EXPECT_LT(total, 300'000u);
}

}  // namespace
}  // namespace dreamlab
