#pragma once

// A connection's bytes, plain or through TLS. One read and one write may be under way at a time; all calls on the
// connection's strand.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <memory>
#include <string>
#include <vector>

namespace dreamlab {

// A certificate and its key.
class TlsIdentity {
 public:
  virtual ~TlsIdentity() = default;
};

// Throws Error(invalid_argument) that names the variable and the file.
std::shared_ptr<TlsIdentity> load_tls_identity(const std::string& cert_path, const std::string& key_path);

class Transport {
 public:
  using error_code = boost::system::error_code;

  virtual ~Transport() = default;
  // Of TLS; returns at once where there is none.
  virtual boost::asio::awaitable<void> handshake(error_code& error) = 0;
  virtual boost::asio::awaitable<size_t> read_some(boost::asio::mutable_buffer buffer, error_code& error) = 0;
  virtual boost::asio::awaitable<size_t> write_some(const std::vector<boost::asio::const_buffer>& buffers,
                                                    error_code& error) = 0;
  // Nothing more will be written.
  virtual boost::asio::awaitable<void> shut_down_sending(error_code& error) = 0;

  // Ends every operation under way.
  void close();
  // Whether the peer has closed or reset the connection, as the kernel knows it: also behind bytes not read yet.
  bool peer_has_left();

 protected:
  virtual boost::asio::ip::tcp::socket& socket() = 0;
};

std::unique_ptr<Transport> make_plain_transport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> make_tls_transport(boost::asio::ip::tcp::socket socket, TlsIdentity& identity);

}  // namespace dreamlab
