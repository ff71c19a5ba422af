#include "server/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <cstring>
#include <stdexcept>

namespace dreamlab {

namespace {

namespace http = boost::beast::http;

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error("client: " + what);
}

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

}  // namespace

std::string WireAnswer::header(std::string_view lower_case_name) const {
  const auto entry = headers.find(lower_case_name);
  return entry == headers.end() ? "" : entry->second;
}

class HttpClient::Impl {
 public:
  Impl(int port, Security security) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      const std::string why = std::strerror(errno);
      ::close(socket_);
      give_up("cannot connect: " + why);
    }
    const timeval patience{kPatience.count(), 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (security == Security::tls) begin_tls();
  }
  ~Impl() { leave(); }

  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto count = ssl_ ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                              : ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  // False at the end of the connection, however it came.
  bool read_more() {
    if (!hears_within(kPatience)) give_up("nothing comes");
    char piece[16384];
    const auto count = ssl_ ? SSL_read(ssl_.get(), piece, sizeof piece) : ::recv(socket_, piece, sizeof piece, 0);
    if (count <= 0) return false;
    received.append(piece, static_cast<size_t>(count));
    return true;
  }

  bool hears_within(std::chrono::milliseconds time) const {
    if (ssl_ && SSL_pending(ssl_.get()) > 0) return true;
    pollfd state{socket_, POLLIN, 0};
    return poll(&state, 1, static_cast<int>(time.count())) > 0;
  }

  void shut_down_sending() { ::shutdown(socket_, SHUT_WR); }
  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void reset() {
    const linger at_once{1, 0};
    setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    leave();
  }

  std::string received;  // and not looked at yet

 private:
  void begin_tls() {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket_);
    if (SSL_connect(ssl_.get()) != 1) give_up("no TLS");
  }

  int socket_;
  std::unique_ptr<SSL_CTX, SslDeleter> context_;
  std::unique_ptr<SSL, SslDeleter> ssl_;
};

HttpClient::HttpClient(int port, Security security) : impl_(std::make_unique<Impl>(port, security)) {}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;

void HttpClient::send(std::string_view bytes) {
  if (!impl_->write(bytes)) give_up("cannot send");
}

bool HttpClient::try_send(std::string_view bytes) {
  return impl_->write(bytes);
}

WireAnswer HttpClient::receive(bool to_head) {
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.skip(to_head);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  while (!parser.is_done()) {
    const size_t used = parser.put(
        boost::asio::buffer(static_cast<const void*>(impl_->received.data()), impl_->received.size()), error);
    impl_->received.erase(0, used);
    if (parser.is_done()) break;
    if (error && error != http::error::need_more) give_up("no answer: " + error.message());
    if (impl_->read_more()) continue;
    if (!parser.got_some()) give_up("closed without an answer");
    parser.put_eof(error);
    if (error) give_up("the answer is cut off");
  }
  WireAnswer answer;
  answer.keeps_alive = parser.keep_alive();
  answer.chunked = parser.chunked();
  const auto message = parser.release();
  answer.status = message.result_int();
  answer.reason = std::string(message.reason());
  answer.body = message.body();
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    answer.headers[name] = std::string(field.value());
  }
  return answer;
}

WireAnswer HttpClient::request(const std::string& method, const std::string& target, const std::string& body,
                               const Headers& headers) {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: test\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  send(text + "\r\n" + body);
  return receive(method == "HEAD");
}

std::string HttpClient::receive_bytes(size_t count) {
  while (impl_->received.size() < count) {
    if (!impl_->read_more()) give_up("closed too early");
  }
  return std::exchange(impl_->received, "");
}

std::string HttpClient::receive_until_closed() {
  while (impl_->read_more()) {
  }
  return std::exchange(impl_->received, "");
}

bool HttpClient::hears_within(std::chrono::milliseconds time) {
  return !impl_->received.empty() || impl_->hears_within(time);
}

void HttpClient::shut_down_sending() {
  impl_->shut_down_sending();
}
void HttpClient::leave() {
  impl_->leave();
}
void HttpClient::reset() {
  impl_->reset();
}

}  // namespace dreamlab
