#pragma once

// One client: its requests one after the other, each read, given to its route, and answered. Everything happens on the
// strand of its socket; a slow client holds a coroutine and a buffer, never a thread.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"
#include "server/request_parser.h"
#include "server/server_state.h"
#include "server/transport.h"

namespace dreamlab {

// The Disconnect of one request.
class ClientWatch final : public Disconnect {
 public:
  bool happened() const override;
  void on_disconnect(std::function<void()> listener) override;
  void raise();

 private:
  mutable std::mutex mutex_;
  bool happened_ = false;
  std::vector<std::function<void()>> listeners_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // socket: its executor is a strand. welcome: false answers 503 and closes.
  static void start(const std::shared_ptr<ServerState>& state, TlsIdentity* tls, boost::asio::ip::tcp::socket socket,
                    bool welcome);
  ~Connection();

  // From any thread:
  void look_up();  // the server may be draining
  void abort();    // as if the client had left

 private:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  struct Exchange;
  class PieceWriter;
  enum class Wake { input, ended, timeout, draining };

  Connection(std::shared_ptr<ServerState> state, std::unique_ptr<Transport> transport,
             const boost::asio::ip::tcp::socket::executor_type& executor, std::string client, bool welcome);

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> serve();
  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<void> turn_away();
  boost::asio::awaitable<void> close_gently();

  // Reading. The reader fills input_ as long as the connection is open, which also tells when the client leaves.
  boost::asio::awaitable<void> read_input();
  boost::asio::awaitable<void> wait_for_room();
  boost::asio::awaitable<Wake> wait_for_input(Time deadline);
  boost::asio::awaitable<bool> wait_for_request();
  boost::asio::awaitable<void> read_header(Exchange& exchange);
  boost::asio::awaitable<void> read_body(Exchange& exchange);
  void feed(Exchange& exchange);
  void end_input();

  // Answering.
  boost::asio::awaitable<HttpResponse> answer(Exchange& exchange);
  void introduce(Exchange& exchange);
  Router::Match admit(Exchange& exchange) const;
  HttpResponse answer_options(const Exchange& exchange) const;
  boost::asio::awaitable<void> skip_small_body(Exchange& exchange);
  boost::asio::awaitable<void> send(Exchange& exchange, HttpResponse& response);
  std::string head_of(const Exchange& exchange, const HttpResponse& response) const;
  // Throws Error(cancelled) where the client is gone or takes too long.
  boost::asio::awaitable<void> write(std::vector<boost::asio::const_buffer> buffers);
  void log(const Exchange& exchange) const;

  // Closes the socket unless disarm() comes first; for one operation at a time.
  void arm(Time deadline);
  void disarm();

  const std::shared_ptr<ServerState> state_;
  const std::unique_ptr<Transport> transport_;
  const boost::asio::ip::tcp::socket::executor_type executor_;
  const std::string client_;
  const bool welcome_;

  std::string input_;         // bytes not parsed yet
  bool input_fresh_ = false;  // there are some that the parser has not seen
  bool input_ended_ = false;
  bool discarding_ = false;             // what still comes is of no interest
  bool bulk_ = false;                   // a body is coming: read in large pieces
  uint64_t served_ = 0;                 // requests
  std::shared_ptr<ClientWatch> watch_;  // of the request under way

  boost::asio::steady_timer input_timer_, room_timer_, guard_timer_;
  Time guard_deadline_;
  bool guarded_ = false;
};

}  // namespace dreamlab
