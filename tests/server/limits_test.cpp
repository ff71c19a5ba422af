// What no client can do to the others.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "server/http_client.h"
#include "server/wire_server.h"

namespace dreamlab {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr const char* kGetHealth = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
constexpr auto kLong = ServerOptions::Duration(600'000);

// Sends a byte every few milliseconds until the server answers or closes.
void drip(HttpClient& client, std::string_view bytes) {
  for (size_t i = 0; !client.hears_within(milliseconds(20)); ++i) {
    if (!client.try_send(bytes.substr(i % bytes.size(), 1))) return;
  }
}

TEST(Limits, HeadersOverTheLimitAreRefused) {
  ServerOptions options;
  options.max_header = 1000;
  const WireServer server(options);
  const std::string fits(800, 'h'), too_long(1200, 'h');
  EXPECT_EQ(server.client().request("GET", "/health", "", {{"X-Long", fits}}).status, 200);
  EXPECT_EQ(server.client().request("GET", "/health", "", {{"X-Long", too_long}}).status, 431);
  EXPECT_EQ(server.client().request("GET", "/health?" + too_long).status, 431);
  HttpClient::Headers many(100, {"X-Many", "0123456789"});
  EXPECT_EQ(server.client().request("GET", "/health", "", many).status, 431);
  HttpClient endless = server.client();
  endless.send("GET /health HTTP/1.1\r\nX-Endless: " + too_long);
  EXPECT_EQ(endless.receive().status, 431);
}

TEST(Limits, BodiesOverTheRoutesLimitAreRefusedUnread) {
  const WireServer server;
  EXPECT_EQ(server.client().request("POST", "/small", "ten bytes!").status, 200);
  HttpClient announced = server.client();
  announced.send("POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000000\r\n\r\n");
  const WireAnswer answer = announced.receive();
  EXPECT_EQ(answer.status, 413);
  EXPECT_THAT(answer.body, HasSubstr("10 bytes"));
  EXPECT_FALSE(answer.keeps_alive);
  EXPECT_EQ(announced.receive_until_closed(), "");

  HttpClient chunked = server.client();
  chunked.send(
      "POST /small HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n");
  EXPECT_EQ(chunked.receive().status, 413);
  EXPECT_EQ(chunked.receive_until_closed(), "");
}

// Closing at once would reset the connection, and the answer would be lost.
TEST(Limits, AClientThatGoesOnSendingStillReadsItsRefusal) {
  const WireServer server;
  HttpClient client = server.client();
  client.send("POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 4000000\r\n\r\n");
  client.try_send(std::string(4'000'000, 'x'));
  EXPECT_EQ(client.receive().status, 413);
}

TEST(Limits, UploadsTogetherAreLimited) {
  ServerOptions options;
  options.max_uploads = 1'000'000;
  WireServer server(options);
  const std::string half(600'000, 'u');
  HttpClient first = server.client();
  first.send("GET /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 600000\r\n\r\n" + half);
  ASSERT_TRUE(server.routes.wait_until_waiting(1));
  const WireAnswer answer = server.client().request("POST", "/echo/b", half);
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.header("retry-after"), "1");
  EXPECT_EQ(server.client().request("POST", "/echo/b", "little").status, 200);
  server.routes.release();
  EXPECT_EQ(first.receive().status, 200);
  EXPECT_EQ(first.request("POST", "/echo/b", half).status, 200);
}

TEST(Limits, AHeaderThatTakesTooLongIsRefused) {
  ServerOptions options;
  options.header_timeout = milliseconds(300);
  const WireServer server(options);
  HttpClient client = server.client();
  drip(client, "GET /health HTTP/1.1\r\nX-Slow: and slow and slow and slow and slow and slow and slow and slow");
  EXPECT_EQ(client.receive().status, 408);
  EXPECT_EQ(client.receive_until_closed(), "");
}

TEST(Limits, ABodyThatTakesTooLongIsRefused) {
  ServerOptions options;
  options.body_timeout = milliseconds(300);
  const WireServer server(options);
  HttpClient client = server.client();
  client.send("POST /echo/a HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
  drip(client, "slow");
  EXPECT_EQ(client.receive().status, 408);
}

TEST(Limits, ABodyThatKeepsTheLowestRateMayTakeItsTime) {
  ServerOptions options;
  options.body_timeout = milliseconds(1000);
  options.lowest_rate = 100;
  const WireServer server(options);
  HttpClient client = server.client();
  client.send("POST /echo/a HTTP/1.1\r\nHost: test\r\nContent-Length: 3000\r\n\r\n");
  for (int i = 0; i < 15; ++i) {
    client.send(std::string(200, 'b'));
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(client.receive().status, 200);
}

TEST(Limits, AnIdleConnectionIsClosed) {
  ServerOptions options;
  options.idle_timeout = milliseconds(200);
  const WireServer server(options);
  HttpClient fresh = server.client(), used = server.client();
  EXPECT_EQ(used.request("GET", "/health").status, 200);
  EXPECT_EQ(fresh.receive_until_closed(), "");
  EXPECT_EQ(used.receive_until_closed(), "");
}

TEST(Limits, AClientThatDoesNotReadIsLeft) {
  ServerOptions options;
  options.write_timeout = milliseconds(300);
  options.lowest_rate = 1 << 30;
  WireServer server(options);
  HttpClient client = server.client();
  client.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_TRUE(server.routes.wait_until_left(1));
}

TEST(Limits, ConnectionsOverTheLimitAreTurnedAway) {
  ServerOptions options;
  options.max_connections = 3;
  const WireServer server(options);
  std::vector<HttpClient> taken;
  for (int i = 0; i < 3; ++i) {
    taken.push_back(server.client());
    EXPECT_EQ(taken.back().request("GET", "/health").status, 200);
  }
  HttpClient fourth = server.client();
  fourth.send(kGetHealth);
  const WireAnswer answer = fourth.receive();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("retry-after"), "1");
  EXPECT_EQ(fourth.receive_until_closed(), "");
  EXPECT_EQ(taken[0].request("GET", "/health").status, 200);
  taken.clear();
  fourth.leave();
  // Whoever left makes room, once the server has noticed.
  int status = 503;
  for (int i = 0; i < 1000 && status == 503; ++i) status = server.client().request("GET", "/health").status;
  EXPECT_EQ(status, 200);
}

// Its own limit, for the time of a test.
class OpenFiles {
 public:
  OpenFiles() { getrlimit(RLIMIT_NOFILE, &before_); }
  ~OpenFiles() { setrlimit(RLIMIT_NOFILE, &before_); }
  void limit(rlim_t files) const {
    const rlimit limited{files, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limited);
  }
  void raise() const { limit(before_.rlim_max); }

 private:
  rlimit before_{};
};

TEST(Limits, RunningOutOfFilesIsSurvived) {
  const OpenFiles files;
  const WireServer server;
  HttpClient before = server.client();
  EXPECT_EQ(before.request("GET", "/health").status, 200);
  // Room for one more descriptor: the client's, so that the server has none for its side.
  const int next = dup(STDIN_FILENO);
  ASSERT_GE(next, 0);
  close(next);
  files.limit(static_cast<rlim_t>(next) + 1);
  HttpClient waiting = server.client();
  waiting.send(kGetHealth);
  EXPECT_EQ(before.request("GET", "/health").status, 200);
  EXPECT_FALSE(waiting.hears_within(milliseconds(300)));
  files.raise();
  EXPECT_EQ(waiting.receive().body, "ok");
}

TEST(Limits, ThousandsOfIdleAndSlowClientsDoNotHoldUpOthers) {
  constexpr int kIdle = 2000, kSlow = 50, kRequests = 200;
  const OpenFiles files;
  files.raise();
  ServerOptions options;
  options.header_timeout = options.body_timeout = options.idle_timeout = kLong;
  const WireServer server(options);
  std::vector<HttpClient> idle, slow;
  for (int i = 0; i < kIdle; ++i) idle.push_back(server.client());
  for (int i = 0; i < kSlow; ++i) slow.push_back(server.client());
  const std::string never_ending = "POST /echo/slow HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nbody";
  HttpClient client = server.client();
  for (int i = 0; i < kRequests; ++i) {
    for (HttpClient& dripping : slow)
      dripping.send(never_ending.substr(std::min<size_t>(i, never_ending.size() - 1), 1));
    ASSERT_EQ(client.request("GET", "/health").body, "ok") << i;
    ASSERT_EQ(server.client().request("POST", "/echo/a", "x").status, 200) << i;
  }
  EXPECT_GE(server.server->connections(), size_t{kIdle + kSlow});
  EXPECT_EQ(idle.front().request("GET", "/health").body, "ok");
  EXPECT_EQ(idle.back().request("GET", "/health").body, "ok");
}

}  // namespace
}  // namespace dreamlab
