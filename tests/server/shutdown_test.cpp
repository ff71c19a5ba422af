// How a server begins and ends.
#include <gmock/gmock.h>

#include <future>
#include <thread>

#include "base/error.h"
#include "server/wire_server.h"

namespace dreamlab {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr const char* kGetHealth = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
constexpr const char* kGetWait = "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n";

TEST(Start, NamesThePortThatIsInUse) {
  const WireServer server;
  ServerOptions options;
  options.host = "127.0.0.1";
  options.port = server.port();
  try {
    const Server second(options);
    FAIL() << "two servers on one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    EXPECT_THAT(error.what(), HasSubstr("PORT=" + std::to_string(server.port())));
  }
}

TEST(Start, RefusesAHostThatIsNone) {
  ServerOptions options;
  options.host = "not a host";
  EXPECT_THROW(Server server(options), Error);
}

TEST(Shutdown, OpenRequestsAreAnsweredAndIdleConnectionsClosed) {
  WireServer server;
  HttpClient idle = server.client(), busy = server.client();
  EXPECT_EQ(idle.request("GET", "/health").status, 200);
  busy.send(kGetWait);
  ASSERT_TRUE(server.routes.wait_until_waiting(1));
  std::future<bool> ended =
      std::async(std::launch::async, [&] { return server.server->shut_down(milliseconds(20'000)); });
  EXPECT_EQ(idle.receive_until_closed(), "");
  server.routes.release();
  const WireAnswer answer = busy.receive();
  EXPECT_EQ(answer.body, "released");
  EXPECT_FALSE(answer.keeps_alive);
  EXPECT_EQ(busy.receive_until_closed(), "");
  EXPECT_TRUE(ended.get());
  EXPECT_THROW(server.client(), std::exception) << "it still listens";
}

TEST(Shutdown, WhatIsAskedNowIsRefusedInWords) {
  WireServer server;
  HttpClient busy = server.client(), half = server.client(), uploading = server.client(), fresh = server.client();
  busy.send(std::string(kGetWait) + kGetHealth);
  half.send("GET /health HTTP/1.1\r\n");
  uploading.send("POST /echo/a HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf");
  ASSERT_TRUE(server.routes.wait_until_waiting(1));
  server.server->stop_accepting();
  fresh.send(kGetHealth);
  for (HttpClient* client : {&half, &uploading, &fresh}) {
    const WireAnswer answer = client->receive();
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(answer.body, HasSubstr("shutting down"));
    EXPECT_EQ(client->receive_until_closed(), "");
  }
  server.routes.release();
  EXPECT_EQ(busy.receive().body, "released");
  EXPECT_TRUE(server.server->shut_down(milliseconds(20'000)));
}

TEST(Shutdown, WhatDoesNotEndInTimeIsBrokenOff) {
  WireServer server;
  HttpClient busy = server.client(), streaming = server.client();
  busy.send(kGetWait);
  streaming.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
  ASSERT_TRUE(server.routes.wait_until_waiting(2));
  EXPECT_FALSE(server.server->shut_down(milliseconds(100)));
  EXPECT_TRUE(server.routes.wait_until_left(2));
  busy.receive_until_closed();
}

TEST(Shutdown, HappensUnderLoadWithoutLosingAnAnswer) {
  WireServer server;
  std::atomic<int> answered{0}, refused{0}, lost{0};
  std::vector<std::thread> clients;
  std::atomic<bool> stopping{false};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      while (!stopping) {
        std::unique_ptr<HttpClient> client;
        try {
          client = std::make_unique<HttpClient>(server.port());
        } catch (const std::exception&) {
          return;  // it does not listen any more
        }
        try {
          ++(client->request("POST", "/echo/a", "x").status == 200 ? answered : refused);
        } catch (const std::exception&) {
          ++lost;
        }
      }
    });
  }
  while (answered < 200) std::this_thread::yield();
  EXPECT_TRUE(server.server->shut_down(milliseconds(20'000)));
  stopping = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace dreamlab
