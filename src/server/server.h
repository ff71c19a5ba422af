#pragma once

// Listens, and gives every request to its route.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/router.h"

namespace dreamlab {

struct ServerOptions {
  std::string host = "0.0.0.0";
  int port = 0;                           // 0: any free one
  std::string tls_cert, tls_key;          // PEM files; both or none
  std::string api_key;                    // "": none is needed
  std::vector<std::string> cors_origins;  // that browsers may call from; "*": any
  std::string name = "dreamlab";          // in the Server header

  // Called after each answer, from the server's threads: status, seconds from the request's first byte to the answer's
  // last, bytes of the answer's body.
  std::function<void(int status, double seconds, uint64_t bytes)> on_answer;

  int threads = 2;
  size_t max_connections = 4096;             // 503 above
  size_t max_header = 16 << 10;              // bytes of request line and header fields; 431 above
  uint64_t max_uploads = uint64_t{1} << 30;  // bytes of request bodies in memory, of all requests; 429 above

  using Duration = std::chrono::milliseconds;
  Duration handshake_timeout{10'000};
  Duration header_timeout{30'000};  // from its first byte to its end; 408 above
  Duration idle_timeout{75'000};    // without a request
  // Bodies, and answers: the time that they may take beyond what they take at the lowest rate.
  Duration body_timeout{30'000}, write_timeout{60'000};
  int64_t lowest_rate = 4 << 10;  // bytes per second
};

class Server {
 public:
  // Takes the address, so that nothing else need be begun where it is not to be had: connections wait until start().
  // Throws Error, one line: unavailable where the address cannot be listened on, invalid_argument for a host or TLS
  // files that cannot be used.
  explicit Server(ServerOptions options);
  // Ends what is still open as if the clients had left, and waits for the handlers.
  ~Server();

  void start(Router router);
  int port() const;         // the real one
  std::string url() const;  // "http://0.0.0.0:4200"
  size_t connections() const;

  // No new connections; requests that come now on the open ones are answered by 503, idle ones are closed.
  void stop_accepting();
  // Also gives open requests that long to end, and ends the rest as if their clients had left. True where none was left
  // over; a handler that then still does not end is waited for by the destructor.
  bool shut_down(ServerOptions::Duration grace);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
