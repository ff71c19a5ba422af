// HTTP/1.1 as a client sees it on the wire.
#include <gmock/gmock.h>

#include "server/http_client.h"
#include "server/wire_server.h"

namespace dreamlab {
namespace {

using std::chrono::milliseconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kGetHealth = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";

std::string detail_of(const WireAnswer& answer) {
  EXPECT_THAT(answer.body, StartsWith("{\"detail\":")) << answer.status;
  EXPECT_EQ(answer.header("content-type"), "application/json");
  return answer.body;
}

class Wire : public ::testing::Test {
 protected:
  WireServer server_;
};

TEST_F(Wire, AnswersSeveralRequestsOnOneConnection) {
  HttpClient client = server_.client();
  for (int i = 0; i < 5; ++i) {
    const WireAnswer answer = client.request("POST", "/echo/a", "body " + std::to_string(i));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "a\n\nbody " + std::to_string(i));
    EXPECT_TRUE(answer.keeps_alive);
  }
}

TEST_F(Wire, EveryAnswerSaysWhatCachesAndLogsNeed) {
  HttpClient client = server_.client();
  for (const char* target : {"/health", "/nowhere", "/throw/busy"}) {
    const WireAnswer answer = client.request("GET", target);
    EXPECT_EQ(answer.header("cache-control"), "no-store") << target;
    EXPECT_EQ(answer.header("server"), "dreamlab") << target;
    EXPECT_EQ(answer.header("x-request-id").size(), 32u) << target;
    EXPECT_THAT(answer.header("date"), EndsWith(" GMT")) << target;
  }
}

TEST_F(Wire, AnswersPipelinedRequestsInTheirOrder) {
  HttpClient client = server_.client();
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    const std::string body = std::to_string(i);
    requests +=
        "POST /echo/x HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  client.send(requests);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.receive().body, "x\n\n" + std::to_string(i));
}

TEST_F(Wire, KeepsWhatWasSentAheadWhileAHandlerIsAtWork) {
  HttpClient client = server_.client();
  client.send(std::string("GET /wait HTTP/1.1\r\nHost: test\r\n\r\n") + kGetHealth);
  ASSERT_TRUE(server_.routes.wait_until_waiting(1));
  client.send(kGetHealth);
  server_.routes.release();
  EXPECT_EQ(client.receive().body, "released");
  EXPECT_EQ(client.receive().body, "ok");
  EXPECT_EQ(client.receive().body, "ok");
}

TEST_F(Wire, AnswersPipelinedRequestsOfAClientThatSendsNoMore) {
  HttpClient client = server_.client();
  client.send(std::string(kGetHealth) + kGetHealth);
  client.shut_down_sending();
  EXPECT_EQ(client.receive().body, "ok");
  EXPECT_EQ(client.receive().body, "ok");
  EXPECT_EQ(client.receive_until_closed(), "");
}

TEST_F(Wire, ReadsRequestsByteByByte) {
  HttpClient client = server_.client();
  const std::string request = "POST /echo/slow?q=1%2B1 HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody";
  for (const char c : request) client.send(std::string(1, c));
  EXPECT_EQ(client.receive().body, "slow\n1+1\nbody");
}

TEST_F(Wire, PassesOverEmptyLinesBeforeARequest) {
  HttpClient client = server_.client();
  client.send(std::string("\r\n\r\n") + kGetHealth + "\r\n" + kGetHealth);
  EXPECT_EQ(client.receive().body, "ok");
  EXPECT_EQ(client.receive().body, "ok");
}

TEST_F(Wire, AnswersHeadAsGetWithoutTheBody) {
  HttpClient client = server_.client();
  const WireAnswer head = client.request("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), "2");
  EXPECT_EQ(head.header("content-type"), "text/plain");
  EXPECT_EQ(client.request("HEAD", "/stream/3").status, 200);
  EXPECT_EQ(client.request("HEAD", "/nowhere").status, 404);
  EXPECT_EQ(client.request("GET", "/health").body, "ok") << "a body came after HEAD";
}

TEST_F(Wire, SaysWhatAPathAllows) {
  HttpClient client = server_.client();
  const WireAnswer options = client.request("OPTIONS", "/health");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.header("allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(options.headers.count("content-length"), 0u);
  const WireAnswer any = client.request("OPTIONS", "*");
  EXPECT_EQ(any.status, 204);
  EXPECT_THAT(any.header("allow"), HasSubstr("POST"));
  EXPECT_EQ(client.request("OPTIONS", "/nowhere").status, 404);
  const WireAnswer refused = client.request("DELETE", "/health");
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(refused.header("allow"), "GET, HEAD, OPTIONS");
  EXPECT_THAT(detail_of(refused), HasSubstr("DELETE"));
}

TEST_F(Wire, ConnectionCloseAndHttp10EndTheConnection) {
  HttpClient closing = server_.client();
  const WireAnswer last = closing.request("GET", "/health", "", {{"Connection", "close"}});
  EXPECT_EQ(last.body, "ok");
  EXPECT_EQ(last.header("connection"), "close");
  EXPECT_EQ(closing.receive_until_closed(), "");

  HttpClient old = server_.client();
  old.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.receive().body, "ok");
  EXPECT_EQ(old.receive_until_closed(), "");

  HttpClient old_and_keeping = server_.client();
  for (int i = 0; i < 2; ++i) {
    old_and_keeping.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(old_and_keeping.receive().header("connection"), "keep-alive");
  }
}

TEST_F(Wire, StreamsInChunksToHttp11AndPlainlyToHttp10) {
  HttpClient client = server_.client();
  const WireAnswer chunked = client.request("GET", "/stream/40");
  EXPECT_TRUE(chunked.chunked);
  EXPECT_EQ(chunked.body.size(), 40'000u);
  EXPECT_EQ(chunked.body.substr(1000, 3), "bbb");
  EXPECT_EQ(client.request("GET", "/stream/0").body, "");
  EXPECT_EQ(client.request("GET", "/health").body, "ok");

  HttpClient old = server_.client();
  old.send("GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string all = old.receive_until_closed();
  EXPECT_THAT(all, Not(HasSubstr("chunked")));
  EXPECT_THAT(all, EndsWith(std::string(1000, 'a') + std::string(1000, 'b') + std::string(1000, 'c')));
}

TEST_F(Wire, AStreamThatFailsIsSeenToBeCutOff) {
  HttpClient client = server_.client();
  client.send("GET /broken HTTP/1.1\r\nHost: test\r\n\r\n");
  const std::string all = client.receive_until_closed();
  EXPECT_THAT(all, HasSubstr("half of it"));
  EXPECT_THAT(all, Not(HasSubstr("0\r\n\r\n")));
  EXPECT_EQ(server_.client().request("GET", "/health").body, "ok");
}

TEST_F(Wire, ReadsChunkedBodies) {
  HttpClient client = server_.client();
  const std::string head = "POST /echo/c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  client.send(head + "3\r\nabc\r\n1;name=value\r\nd\r\n0\r\nTrailer: x\r\n\r\n");
  EXPECT_EQ(client.receive().body, "c\n\nabcd");
  client.send(head + "0\r\n\r\n");
  EXPECT_EQ(client.receive().body, "c\n\n");
  const std::string piece(100'000, 'p');
  client.send(head);
  for (int i = 0; i < 5; ++i) client.send("186a0\r\n" + piece + "\r\n");
  client.send("0\r\n\r\n");
  EXPECT_EQ(client.receive().body.size(), 500'003u);
}

TEST_F(Wire, TakesLargeBodiesAndGivesLargeAnswers) {
  HttpClient client = server_.client();
  const std::string body(5 << 20, 'b');
  EXPECT_EQ(client.request("POST", "/echo/l", body).body.size(), body.size() + 3);
  EXPECT_EQ(client.request("GET", "/large").body, std::string(16 << 20, 'L'));
}

TEST_F(Wire, SaysGoOnBeforeItReadsABodyThatWaitsForIt) {
  HttpClient client = server_.client();
  client.send("POST /echo/e HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.receive_bytes(25), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("body");
  EXPECT_EQ(client.receive().body, "e\n\nbody");
  client.send("POST /small HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(client.receive().status, 413);
  EXPECT_EQ(server_.client().request("POST", "/small", "x", {{"Expect", "a miracle"}}).status, 417);
}

TEST_F(Wire, DecodesPathsAndQueries) {
  HttpClient client = server_.client();
  EXPECT_EQ(client.request("POST", "/echo/a%2Fb%20c?q=x+y%26z&other=1", "!").body, "a/b c\nx y&z\n!");
  EXPECT_EQ(client.request("PUT", "/files/a/b/c%2Ed").body, "a/b/c.d");
  EXPECT_EQ(client.request("GET", "/files/list").body, "the list");
  EXPECT_EQ(client.request("PUT", "/files/list").status, 405);
  EXPECT_EQ(client.request("PUT", "/files/").status, 404);
  EXPECT_EQ(client.request("GET", "http://elsewhere/health?x=1").body, "ok");
  EXPECT_EQ(client.request("GET", "/health/").status, 404);
  EXPECT_EQ(client.request("GET", "/%68ealth").body, "ok");
}

TEST_F(Wire, ErrorsBecomeStatusAndDetail) {
  struct Case {
    const char* what;
    int status;
    const char* text;
  };
  constexpr Case kCases[] = {
      {"busy", 429, "the queue is full"}, {"invalid", 422, "size: \\\"7x7\\\" is no size"},
      {"timeout", 504, "took too long"},  {"unavailable", 503, "no model"},
      {"internal", 500, "our own"},       {"http", 415, "no such kind of body"},
      {"memory", 500, "out of memory"},   {"number", 500, "internal error"},
      {"secret", 500, "internal error"},
  };
  HttpClient client = server_.client();
  for (const Case& error : kCases) {
    const WireAnswer answer = client.request("GET", std::string("/throw/") + error.what);
    EXPECT_EQ(answer.status, error.status) << error.what;
    EXPECT_THAT(detail_of(answer), HasSubstr(error.text));
    EXPECT_THAT(answer.body, Not(HasSubstr("secret detail")));
    EXPECT_TRUE(answer.keeps_alive);
  }
  EXPECT_EQ(client.request("GET", "/throw/busy").header("retry-after"), "1");
  EXPECT_EQ(client.request("GET", "/throw/http").header("accept"), "image/png");
}

TEST_F(Wire, AHandlersHeadersStayOneLineEach) {
  const WireAnswer answer = server_.client().request("GET", "/headers");
  EXPECT_EQ(answer.header("x-odd"), "one  X-Injected: two");
  EXPECT_EQ(answer.headers.count("x-injected"), 0u);
  EXPECT_EQ(answer.header("cache-control"), "max-age=60");
}

TEST_F(Wire, BlockingWorkRunsOnAnotherThread) {
  EXPECT_EQ(server_.client().request("GET", "/blocking").body, "another");
}

TEST_F(Wire, MalformedRequestsAreRefusedInJsonAndEndTheConnection) {
  const std::string host = "Host: test\r\n";
  const std::pair<std::string, int> cases[] = {
      {"NONSENSE\r\n\r\n", 400},
      {"GET /health\r\n\r\n", 400},
      {"GET /health HTTP/2.0\r\n" + host + "\r\n", 400},
      {"GET /health HTTP/1.1\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\n" + host + host + "\r\n", 400},
      {"GET /health HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\n" + host + "Name : blank before the colon\r\n\r\n", 400},
      {"GET /health HTTP/1.1\n" + host + "\n", 400},
      {"GET health HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /a%00b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"GET /health?q=%4 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"POST /echo/a HTTP/1.1\r\n" + host + "Content-Length: five\r\n\r\n", 400},
      {"POST /echo/a HTTP/1.1\r\n" + host + "Content-Length: -5\r\n\r\n", 400},
      {"POST /echo/a HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
      {"POST /echo/a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"POST /echo/a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + std::string(9000, '1'), 400},
      {std::string("\0\0\0\0\r\n\r\n", 8), 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
  };
  for (const auto& [bytes, status] : cases) {
    HttpClient client = server_.client();
    client.send(bytes);
    const WireAnswer answer = client.receive();
    EXPECT_EQ(answer.status, status) << bytes;
    detail_of(answer);
    EXPECT_FALSE(answer.keeps_alive) << bytes;
    EXPECT_EQ(client.receive_until_closed(), "") << bytes;
  }
  EXPECT_EQ(server_.client().request("GET", "/health").status, 200);
}

// Two parties that read different requests out of the same bytes: the server takes no part.
TEST_F(Wire, RefusesWhatCouldSmuggleARequest) {
  const std::string post = "POST /echo/a HTTP/1.1\r\nHost: test\r\n";
  const std::string smuggled = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
  const std::pair<std::string, int> cases[] = {
      {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400},
      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {post + "Transfer-Encoding: chunked, gzip\r\n\r\n", 501},
      {post + "Transfer-Encoding: xchunked\r\n\r\n", 501},
      {"POST /echo/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
  };
  for (const auto& [bytes, status] : cases) {
    HttpClient client = server_.client();
    client.send(bytes + smuggled);
    EXPECT_EQ(client.receive().status, status) << bytes;
    EXPECT_EQ(client.receive_until_closed(), "") << "a second request was read out of " << bytes;
  }
}

TEST_F(Wire, ARefusedRequestWithASmallBodyDoesNotEndTheConnection) {
  HttpClient client = server_.client();
  EXPECT_EQ(client.request("POST", "/nowhere", "a small body").status, 404);
  EXPECT_EQ(client.request("POST", "/health", "a small body").status, 405);
  EXPECT_EQ(client.request("POST", "/small", "more than ten bytes").status, 413);
  EXPECT_EQ(client.request("GET", "/health").body, "ok");
}

TEST_F(Wire, ARequestThatIsCutOffIsNotHandled) {
  HttpClient client = server_.client();
  client.send("POST /echo/a HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
  client.shut_down_sending();
  EXPECT_EQ(client.receive().status, 400);
  EXPECT_EQ(client.receive_until_closed(), "");
}

// --- clients that leave ---

TEST_F(Wire, AHandlerLearnsThatItsClientHasLeft) {
  HttpClient leaving = server_.client(), breaking = server_.client(), sending = server_.client();
  const std::string wait = "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n";
  leaving.send(wait);
  breaking.send(wait);
  sending.send(wait + std::string(100'000, 'x'));  // more than the server reads ahead
  ASSERT_TRUE(server_.routes.wait_until_waiting(3));
  leaving.leave();
  EXPECT_TRUE(server_.routes.wait_until_left(1));
  breaking.reset();
  EXPECT_TRUE(server_.routes.wait_until_left(2));
  sending.leave();
  EXPECT_TRUE(server_.routes.wait_until_left(3));
}

TEST_F(Wire, AStreamEndsWhenItsClientLeaves) {
  HttpClient client = server_.client();
  client.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
  client.receive_bytes(1 << 20);
  client.leave();
  EXPECT_TRUE(server_.routes.wait_until_left(1));
}

}  // namespace
}  // namespace dreamlab
