#include "server/transport.h"

#include <poll.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <mutex>

#include "base/error.h"

namespace dreamlab {

namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::redirect_error;
using asio::use_awaitable;
using asio::ip::tcp;
using boost::system::error_code;

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket) : socket_(std::move(socket)) {}

  asio::awaitable<void> handshake(error_code&) override { co_return; }
  asio::awaitable<size_t> read_some(asio::mutable_buffer buffer, error_code& error) override {
    return socket_.async_read_some(buffer, redirect_error(use_awaitable, error));
  }
  asio::awaitable<size_t> write_some(const std::vector<asio::const_buffer>& buffers, error_code& error) override {
    return socket_.async_write_some(buffers, redirect_error(use_awaitable, error));
  }
  asio::awaitable<void> shut_down_sending(error_code& error) override {
    socket_.shutdown(tcp::socket::shutdown_send, error);
    co_return;
  }

 private:
  tcp::socket& socket() override { return socket_; }
  tcp::socket socket_;
};

class TlsFiles final : public TlsIdentity {
 public:
  ssl::context context{ssl::context::tls_server};
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, TlsFiles& files) : stream_(std::move(socket), files.context) {}

  asio::awaitable<void> handshake(error_code& error) override {
    return stream_.async_handshake(ssl::stream_base::server, redirect_error(use_awaitable, error));
  }
  asio::awaitable<size_t> read_some(asio::mutable_buffer buffer, error_code& error) override {
    return stream_.async_read_some(buffer, redirect_error(use_awaitable, error));
  }
  asio::awaitable<size_t> write_some(const std::vector<asio::const_buffer>& buffers, error_code& error) override {
    return stream_.async_write_some(buffers, redirect_error(use_awaitable, error));
  }
  asio::awaitable<void> shut_down_sending(error_code& error) override {
    return stream_.async_shutdown(redirect_error(use_awaitable, error));
  }

 private:
  tcp::socket& socket() override { return stream_.next_layer(); }
  ssl::stream<tcp::socket> stream_;
};

[[noreturn]] void refuse_file(std::string_view variable, const std::string& path, const error_code& error,
                              std::string_view needed) {
  fail(ErrorKind::invalid_argument, "{}={}: {}; a PEM file with {} is needed", variable, path, error.message(), needed);
}

}  // namespace

void Transport::close() {
  error_code ignored;
  socket().close(ignored);
}

bool Transport::peer_has_left() {
  if (!socket().is_open()) return true;
  pollfd state{socket().native_handle(), POLLRDHUP, 0};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

std::shared_ptr<TlsIdentity> load_tls_identity(const std::string& cert_path, const std::string& key_path) {
  auto files = std::make_shared<TlsFiles>();
  ssl::context& context = files->context;
  error_code error;
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  context.use_certificate_chain_file(cert_path, error);
  if (error) refuse_file("TLS_CERT", cert_path, error, "a certificate chain");
  context.use_private_key_file(key_path, ssl::context::pem, error);
  if (error) refuse_file("TLS_KEY", key_path, error, "the private key of TLS_CERT");
  return files;
}

std::unique_ptr<Transport> make_plain_transport(tcp::socket socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

std::unique_ptr<Transport> make_tls_transport(tcp::socket socket, TlsIdentity& identity) {
  return std::make_unique<TlsTransport>(std::move(socket), static_cast<TlsFiles&>(identity));
}

}  // namespace dreamlab
