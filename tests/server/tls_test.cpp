// The same over TLS.
#include <gmock/gmock.h>

#include <fstream>

#include "base/error.h"
#include "server/wire_server.h"

namespace dreamlab {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

const TestCertificate& certificate() {
  static const TestCertificate made;
  return made;
}

ServerOptions with_tls() {
  ServerOptions options;
  options.tls_cert = certificate().certificate();
  options.tls_key = certificate().key();
  return options;
}

TEST(Tls, ServesRequestsStreamsAndLargeBodies) {
  const WireServer server(with_tls());
  EXPECT_THAT(server.server->url(), HasSubstr("https://127.0.0.1:"));
  HttpClient client = server.client();
  EXPECT_EQ(client.request("GET", "/health").body, "ok");
  EXPECT_EQ(client.request("GET", "/stream/30").body.size(), 30'000u);
  const std::string body(3 << 20, 'b');
  EXPECT_EQ(client.request("POST", "/echo/a", body).body.size(), body.size() + 3);
  EXPECT_EQ(client.request("GET", "/large").body.size(), size_t{16} << 20);
  EXPECT_EQ(client.request("GET", "/health", "", {{"Connection", "close"}}).body, "ok");
  EXPECT_EQ(client.receive_until_closed(), "");
}

TEST(Tls, KeepsWhatWasSentAheadWhileAHandlerIsAtWork) {
  WireServer server(with_tls());
  HttpClient client = server.client();
  client.send("GET /wait HTTP/1.1\r\nHost: test\r\n\r\nGET /health HTTP/1.1\r\nHost: test\r\n\r\n");
  ASSERT_TRUE(server.routes.wait_until_waiting(1));
  server.routes.release();
  EXPECT_EQ(client.receive().body, "released");
  EXPECT_EQ(client.receive().body, "ok");
}

TEST(Tls, AHandlerLearnsThatItsClientHasLeft) {
  WireServer server(with_tls());
  HttpClient leaving = server.client(), breaking = server.client();
  leaving.send("GET /wait HTTP/1.1\r\nHost: test\r\n\r\n");
  breaking.send("GET /wait HTTP/1.1\r\nHost: test\r\n\r\n");
  ASSERT_TRUE(server.routes.wait_until_waiting(2));
  leaving.leave();
  EXPECT_TRUE(server.routes.wait_until_left(1));
  breaking.reset();
  EXPECT_TRUE(server.routes.wait_until_left(2));
}

TEST(Tls, WhoDoesNotShakeHandsIsLeft) {
  ServerOptions options = with_tls();
  options.handshake_timeout = milliseconds(200);
  const WireServer server(options);
  HttpClient silent(server.port(), HttpClient::Security::plain);
  EXPECT_EQ(silent.receive_until_closed(), "");
  HttpClient plain(server.port(), HttpClient::Security::plain);
  plain.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
  plain.receive_until_closed();
  EXPECT_EQ(server.client().request("GET", "/health").body, "ok");
}

TEST(Tls, FilesThatCannotBeUsedAreNamed) {
  const auto message_for = [](const std::string& cert, const std::string& key) -> std::string {
    ServerOptions options;
    options.tls_cert = cert;
    options.tls_key = key;
    try {
      const Server server(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      return error.what();
    }
    return "no error";
  };
  const std::string cert = certificate().certificate(), key = certificate().key();
  EXPECT_THAT(message_for("/none.pem", key), HasSubstr("TLS_CERT=/none.pem: "));
  EXPECT_THAT(message_for(key, key), HasSubstr("TLS_CERT=" + key));
  EXPECT_THAT(message_for(cert, cert), HasSubstr("TLS_KEY=" + cert));
  EXPECT_THAT(message_for(cert, certificate().other_key()), HasSubstr("the private key of TLS_CERT is needed"));
  EXPECT_THAT(message_for(cert, ""), HasSubstr("both"));
}

}  // namespace
}  // namespace dreamlab
