// Who may call, and what a request is called.
#include "server/access.h"

#include <gmock/gmock.h>

#include "server/wire_server.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ServerOptions with_key(const std::string& key) {
  ServerOptions options;
  options.api_key = key;
  return options;
}

TEST(ApiKey, EveryRouteButHealthNeedsIt) {
  const WireServer server(with_key("the key"));
  HttpClient client = server.client();
  EXPECT_EQ(client.request("GET", "/health").status, 200);
  EXPECT_EQ(client.request("OPTIONS", "/files/list").status, 204);
  const WireAnswer refused = client.request("GET", "/files/list");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.header("www-authenticate"), "Bearer");
  EXPECT_THAT(refused.body, HasSubstr("\"detail\""));
  EXPECT_EQ(client.request("HEAD", "/files/list").status, 401);
  EXPECT_EQ(client.request("GET", "/files/list", "", {{"Authorization", "Bearer the key"}}).status, 200);
  EXPECT_EQ(client.request("GET", "/files/list", "", {{"authorization", "bearer  the key"}}).status, 200);
  EXPECT_EQ(client.request("GET", "/files/list", "", {{"X-API-Key", "the key"}}).status, 200);
}

TEST(ApiKey, NothingButTheWholeKeyWillDo) {
  const WireServer server(with_key("secret"));
  HttpClient client = server.client();
  for (const char* wrong : {"", "secre", "secret1", "SECRET", "secret, secret", "*"}) {
    EXPECT_EQ(client.request("GET", "/files/list", "", {{"X-API-Key", wrong}}).status, 401) << wrong;
    EXPECT_EQ(client.request("GET", "/files/list", "", {{"Authorization", std::string("Bearer ") + wrong}}).status, 401)
        << wrong;
  }
  EXPECT_EQ(client.request("GET", "/files/list", "", {{"Authorization", "Basic secret"}}).status, 401);
}

TEST(ApiKey, ABodyWithoutTheKeyIsNotWaitedFor) {
  const WireServer server(with_key("secret"));
  HttpClient client = server.client();
  client.send("POST /echo/a HTTP/1.1\r\nHost: test\r\nContent-Length: 50000000\r\n\r\n");
  EXPECT_EQ(client.receive().status, 401);
}

TEST(RequestId, IsTheClientsWhereItIsSane) {
  const WireServer server;
  HttpClient client = server.client();
  const auto id_for = [&](const std::string& given) {
    return client.request("GET", "/health", "", {{"X-Request-Id", given}}).header("x-request-id");
  };
  EXPECT_EQ(id_for("Trace-1.2_3"), "Trace-1.2_3");
  for (const std::string& odd :
       {std::string("two words"), std::string("quo\"te"), std::string(129, 'a'), std::string()}) {
    EXPECT_EQ(id_for(odd).size(), 32u) << odd;
  }
  EXPECT_NE(id_for(""), id_for(""));
}

TEST(Cors, ListedOriginsMayReadAnswers) {
  ServerOptions options;
  options.cors_origins = {"https://one.example", "https://two.example"};
  const WireServer server(options);
  HttpClient client = server.client();
  const WireAnswer allowed = client.request("GET", "/headers", "", {{"Origin", "https://two.example"}});
  EXPECT_EQ(allowed.header("access-control-allow-origin"), "https://two.example");
  EXPECT_EQ(allowed.header("vary"), "Origin");
  EXPECT_THAT(allowed.header("access-control-expose-headers"), HasSubstr("X-Odd"));
  EXPECT_THAT(allowed.header("access-control-expose-headers"), HasSubstr("X-Request-Id"));
  const WireAnswer other = client.request("GET", "/headers", "", {{"Origin", "https://two.example.evil"}});
  EXPECT_EQ(other.status, 200);
  EXPECT_EQ(other.headers.count("access-control-allow-origin"), 0u);
  const WireAnswer error = client.request("GET", "/nowhere", "", {{"Origin", "https://one.example"}});
  EXPECT_EQ(error.header("access-control-allow-origin"), "https://one.example");
}

TEST(Cors, BrowsersLearnWhatTheyMaySend) {
  ServerOptions options = with_key("secret");
  options.cors_origins = {"*"};
  const WireServer server(options);
  HttpClient client = server.client();
  const HttpClient::Headers asking = {{"Origin", "https://any.example"}, {"Access-Control-Request-Method", "POST"}};
  const WireAnswer preflight = client.request("OPTIONS", "/echo/a", "", asking);
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.header("access-control-allow-origin"), "*");
  EXPECT_EQ(preflight.header("access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_THAT(preflight.header("access-control-allow-headers"), HasSubstr("Authorization"));
  EXPECT_EQ(client.request("OPTIONS", "/echo/a").headers.count("access-control-allow-methods"), 0u);
}

TEST(Cors, IsOffUnlessOriginsAreNamed) {
  const WireServer server;
  const WireAnswer answer = server.client().request("GET", "/health", "", {{"Origin", "https://any.example"}});
  EXPECT_EQ(answer.headers.count("access-control-allow-origin"), 0u);
}

}  // namespace
}  // namespace dreamlab
