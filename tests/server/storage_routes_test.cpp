#include "server/storage_routes.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "redis_server.h"
#include "server/route_client.h"
#include "temporary_directory.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

class StorageRoutes : public ::testing::Test {
 protected:
  StorageRoutes() {
    context_->blocking = std::make_shared<boost::asio::thread_pool>(1);
    open("file:" + directory_ / "store");
    register_storage_routes(router_, context_);
  }

  void open(const std::string& where) { context_->storage = open_storage(where, {}); }
  HttpResponse get(const std::string& path) const { return ask(router_, "GET", path); }
  HttpResponse put(const std::string& path, const std::string& body, const std::string& content_type = "") const {
    return content_type.empty() ? ask(router_, "PUT", path, body)
                                : ask(router_, "PUT", path, body, {{"content-type", content_type}});
  }
  static std::string detail_of(const HttpResponse& response) { return json::parse(response.body).at("detail"); }

  void expect_round_trip() {
    const std::string bytes("\x89PNG\0\r\n\xff", 8);
    const HttpResponse stored = put("/storage/fox.png", bytes, "image/png");
    EXPECT_EQ(stored.status, 200) << stored.body;
    EXPECT_EQ(json::parse(stored.body), json({{"key", "fox.png"}, {"bytes", 8}, {"content_type", "image/png"}}));
    const HttpResponse found = get("/storage/fox.png");
    EXPECT_EQ(found.status, 200);
    EXPECT_EQ(found.body, bytes);
    EXPECT_EQ(header_of(found, "Content-Type"), "image/png");
    EXPECT_EQ(get("/storage/other").status, 404);
  }

  TemporaryDirectory directory_;
  std::shared_ptr<ServerContext> context_ = std::make_shared<ServerContext>();
  Router router_;
};

TEST_F(StorageRoutes, WhatIsPutComesBackWithItsContentType) {
  expect_round_trip();
  EXPECT_EQ(put("/storage/raw", "x").status, 200);
  EXPECT_EQ(header_of(get("/storage/raw"), "Content-Type"), "application/octet-stream");
  EXPECT_EQ(put("/storage/empty", "").status, 200);
  EXPECT_EQ(get("/storage/empty").status, 200);
  EXPECT_EQ(get("/storage/empty").body, "");
}

TEST_F(StorageRoutes, APageThatSomebodyStoredDoesNotRun) {
  put("/storage/page", "<script>alert(1)</script>", "text/html");
  EXPECT_THAT(header_of(get("/storage/page"), "Content-Security-Policy"), HasSubstr("sandbox"));
}

TEST_F(StorageRoutes, HostileKeysAreRefused) {
  for (const char* key : {"..%2Fx", "%2e%2e", ".hidden", "a%2Fb", "%2Fetc%2Fpasswd", "a%00b", "a%20b"}) {
    const std::string path = std::string("/storage/") + key;
    EXPECT_EQ(put(path, "x", "image/png").status, 422) << key;
    const HttpResponse answer = get(path);
    EXPECT_EQ(answer.status, 422) << key;
    EXPECT_THAT(detail_of(answer), HasSubstr("1..128 of A-Z a-z 0-9")) << key;
  }
  EXPECT_EQ(get("/storage/" + std::string(129, 'a')).status, 422);
  EXPECT_EQ(get("/storage/a/b").status, 404);
  EXPECT_EQ(get("/storage/").status, 404);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "store"), fs::directory_iterator()), 0);
}

TEST_F(StorageRoutes, ABodyOverTheLimitIsRefused) {
  const Route* route = router_.find("PUT", "/storage/x").route;
  ASSERT_NE(route, nullptr);
  EXPECT_GE(route->max_body, int64_t{32} << 20);
  EXPECT_LE(static_cast<uint64_t>(route->max_body), kMaxObjectBytes);
  EXPECT_EQ(put("/storage/x", std::string(static_cast<size_t>(route->max_body) + 1, 'x')).status, 413);
}

TEST_F(StorageRoutes, HealthTellsWhatIsThere) {
  const HttpResponse health = get("/storage/health");
  EXPECT_EQ(health.status, 200);
  const json document = json::parse(health.body);
  EXPECT_EQ(document.at("status"), "ok");
  EXPECT_EQ(document.at("kind"), "file");
  EXPECT_EQ(put("/storage/health", "x").status, 405) << "no object can hide it";
  fs::remove_all(directory_ / "store");
  EXPECT_EQ(get("/storage/health").status, 503);
  EXPECT_EQ(put("/storage/a", "x").status, 503);
}

TEST_F(StorageRoutes, RedisServesThemToo) {
  RedisServer server;
  open(server.url());
  expect_round_trip();
  EXPECT_EQ(json::parse(get("/storage/health").body).at("kind"), "redis");
  server.stop();
  for (const HttpResponse& answer : {get("/storage/fox.png"), put("/storage/a", "x"), get("/storage/health")}) {
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(detail_of(answer), HasSubstr("cannot be reached"));
  }
  server.start();
  EXPECT_EQ(put("/storage/a", "x").status, 200);
}

TEST_F(StorageRoutes, WithoutAStorageTheySayHowToEnableOne) {
  open("none");
  for (const HttpResponse& answer : {get("/storage/a"), put("/storage/a", "x"), get("/storage/health")}) {
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(detail_of(answer), HasSubstr("STORAGE=file:DIR"));
  }
}

}  // namespace
}  // namespace dreamlab
