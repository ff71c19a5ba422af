#include "server/router.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/url.h"

namespace dreamlab {
namespace {

Route route(const std::string& method, const std::string& pattern) {
  Route made;
  made.method = method;
  made.pattern = pattern;
  return made;
}

class Routes : public ::testing::Test {
 protected:
  Routes() {
    for (const char* pattern :
         {"/", "/jobs", "/jobs/{id}", "/jobs/{id}/events", "/jobs/all", "/files/{key...}", "/files/x/{y}"})
      router_.add(route("GET", pattern));
    router_.add(route("POST", "/jobs"));
    router_.add(route("DELETE", "/jobs/{id}"));
  }
  std::string found(const std::string& path, const std::string& method = "GET") const {
    const Router::Match match = router_.find(method, path);
    return match.route == nullptr ? "none" : match.route->pattern;
  }
  Router router_;
};

TEST_F(Routes, AreFoundByTheirWholePath) {
  EXPECT_EQ(found("/"), "/");
  EXPECT_EQ(found("/jobs"), "/jobs");
  EXPECT_EQ(found("/jobs/7"), "/jobs/{id}");
  EXPECT_EQ(found("/jobs/7/events"), "/jobs/{id}/events");
  for (const char* path : {"", "jobs", "/jobs/", "/job", "/jobs/7/", "/jobs//events", "/jobs/7/events/more", "/Jobs"})
    EXPECT_EQ(found(path), "none") << path;
}

TEST_F(Routes, LiteralsGoBeforeParametersAndTheseBeforeTheRest) {
  EXPECT_EQ(found("/jobs/all"), "/jobs/all");
  EXPECT_EQ(found("/files/x/1"), "/files/x/{y}");
  EXPECT_EQ(found("/files/x/1/2"), "/files/{key...}");
  EXPECT_EQ(found("/files/y"), "/files/{key...}");
  EXPECT_EQ(found("/jobs/all", "DELETE"), "none") << "the parameter must not take the literal's place";
}

TEST_F(Routes, ParametersAreDecodedAfterThePathIsSplit) {
  EXPECT_EQ(router_.find("GET", "/jobs/a%2Fb%20c").parameters.at("id"), "a/b c");
  EXPECT_EQ(router_.find("GET", "/files/a/b%2Fc").parameters.at("key"), "a/b/c");
  EXPECT_EQ(found("/%6Aobs"), "/jobs");
  EXPECT_EQ(found("/jobs/%"), "none");
}

TEST_F(Routes, SayWhatAPathAllows) {
  EXPECT_EQ(router_.find("PATCH", "/jobs").allowed, "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(router_.find("PATCH", "/jobs/1").allowed, "GET, HEAD, DELETE, OPTIONS");
  EXPECT_EQ(router_.find("PATCH", "/none").allowed, "");
  EXPECT_EQ(found("/jobs", "HEAD"), "/jobs");
  EXPECT_EQ(found("/jobs", "get"), "none");
}

TEST_F(Routes, MistakesInThemAreRefused) {
  EXPECT_THROW(router_.add(route("GET", "/jobs")), Error);
  for (const char* pattern : {"", "jobs", "/a/{}", "/{rest...}/more", "/{...}"})
    EXPECT_THROW(router_.add(route("PUT", pattern)), Error) << pattern;
}

TEST(Url, IsDecodedOrRefused) {
  EXPECT_EQ(percent_decode("a%41%7a+%2b"), "aAz++");
  EXPECT_EQ(percent_decode("%00"), std::string(1, '\0'));
  for (const char* bad : {"%", "%4", "%4g", "a%%20"}) EXPECT_EQ(percent_decode(bad), std::nullopt) << bad;
  const auto query = parse_query("a=1&b=x+y%26&&c&a=2&=e");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->at("a"), "2");
  EXPECT_EQ(query->at("b"), "x y&");
  EXPECT_EQ(query->at("c"), "");
  EXPECT_EQ(query->at(""), "e");
  EXPECT_EQ(parse_query("a=%"), std::nullopt);
}

}  // namespace
}  // namespace dreamlab
