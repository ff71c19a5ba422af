#include "server/connection.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "server/errors.h"
#include "server/request_log.h"

namespace dreamlab {

namespace asio = boost::asio;
using asio::awaitable;
using asio::redirect_error;
using asio::use_awaitable;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

constexpr size_t kSmallPiece = 4 << 10, kLargePiece = 64 << 10;  // bytes to read at once
constexpr size_t kInputMax = 64 << 10;                           // bytes not parsed yet; then the reader waits
constexpr uint64_t kSmallBody = 64 << 10;  // bytes of a refused request's body that are read for the next one's sake
constexpr milliseconds kLookAtPeer{500};   // how often, while the reader waits
// After an answer that ends the connection: how long to take in, and throw away, what the client still sends. Closing
// at once would reset the connection and could take the answer from the client (RFC 9112, section 9.6).
constexpr milliseconds kLinger{2000}, kLingerDraining{250};
// A connection made just before the server drains is about to send its request.
constexpr milliseconds kFirstRequestDraining{500};

constexpr const char* kShuttingDown = "the server is shutting down";

bool has_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

asio::const_buffer as_buffer(std::string_view text) {
  return asio::const_buffer(text.data(), text.size());
}

// Whatever a handler puts into a header, it stays one line.
std::string header_line(std::string_view name, std::string_view value) {
  std::string line;
  line.append(name).append(": ");
  for (const unsigned char c : value) line += c < 0x20 || c == 0x7f ? ' ' : static_cast<char>(c);
  return line += "\r\n";
}

bool names(const HttpResponse& response, std::string_view header) {
  const auto same = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
  return std::any_of(response.headers.begin(), response.headers.end(), [&](const auto& field) {
    return std::equal(field.first.begin(), field.first.end(), header.begin(), header.end(), same);
  });
}

std::string http_date() {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr)));
}

// Drops the first `count` bytes.
void consume(std::vector<asio::const_buffer>& buffers, size_t count) {
  size_t whole = 0;
  while (whole < buffers.size() && count >= buffers[whole].size()) count -= buffers[whole++].size();
  buffers.erase(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(whole));
  if (!buffers.empty()) buffers.front() += count;
}

}  // namespace

bool ClientWatch::happened() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return happened_;
}

void ClientWatch::on_disconnect(std::function<void()> listener) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!happened_) {
      listeners_.push_back(std::move(listener));
      return;
    }
  }
  listener();
}

void ClientWatch::raise() {
  std::vector<std::function<void()>> listeners;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    happened_ = true;
    listeners.swap(listeners_);
  }
  for (const auto& listener : listeners) {
    try {
      listener();
    } catch (const std::exception& error) {
      log::error("after a client had left: {}", error.what());
    }
  }
}

// A request and what becomes of it.
struct Connection::Exchange {
  explicit Exchange(ServerState& server) : state(server), parser(server.options.max_header) {}
  ~Exchange() { drop_body(); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  HttpRequest& request() { return parser.request(); }
  const HttpRequest& request() const { return parser.request(); }
  bool is_head() const { return parser.request().method == "HEAD"; }
  // Makes room for the uploads of others.
  void drop_body() {
    std::string().swap(request().body);
    state.upload_bytes -= std::exchange(counted, 0);
  }

  ServerState& state;
  RequestParser parser;
  std::shared_ptr<ClientWatch> watch = std::make_shared<ClientWatch>();
  Time begin = Clock::now();
  uint64_t counted = 0;  // of the body, in state.upload_bytes
  bool keep_alive = false, chunked = false;
  int status = 0;
  uint64_t bytes_sent = 0;  // of the answer's body
};

class Connection::PieceWriter final : public BodyWriter {
 public:
  PieceWriter(Connection& connection, Exchange& exchange) : connection_(connection), exchange_(exchange) {}

  awaitable<void> write(std::string_view piece) override {
    if (exchange_.watch->happened()) fail(ErrorKind::cancelled, "the client has left");
    if (piece.empty()) co_return;  // an empty chunk would be the last
    const std::string size = exchange_.chunked ? fmt::format("{:x}\r\n", piece.size()) : "";
    std::vector<asio::const_buffer> buffers{as_buffer(size), as_buffer(piece)};
    if (exchange_.chunked) buffers.push_back(as_buffer("\r\n"));
    co_await connection_.write(std::move(buffers));
    exchange_.bytes_sent += piece.size();
  }

 private:
  Connection& connection_;
  Exchange& exchange_;
};

void Connection::start(const std::shared_ptr<ServerState>& state, TlsIdentity* tls, asio::ip::tcp::socket socket,
                       bool welcome) {
  error_code ignored;
  const auto peer = socket.remote_endpoint(ignored);
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const auto executor = socket.get_executor();
  std::unique_ptr<Transport> transport =
      tls != nullptr ? make_tls_transport(std::move(socket), *tls) : make_plain_transport(std::move(socket));
  const std::shared_ptr<Connection> connection(
      new Connection(state, std::move(transport), executor, peer.address().to_string(), welcome));
  state->connections.add(connection);
  asio::co_spawn(
      executor, [connection] { return connection->run(); }, asio::detached);
}

Connection::Connection(std::shared_ptr<ServerState> state, std::unique_ptr<Transport> transport,
                       const asio::ip::tcp::socket::executor_type& executor, std::string client, bool welcome)
    : state_(std::move(state)),
      transport_(std::move(transport)),
      executor_(executor),
      client_(std::move(client)),
      welcome_(welcome),
      input_timer_(executor),
      room_timer_(executor),
      guard_timer_(executor) {}

Connection::~Connection() {
  state_->connections.remove(this);
}

void Connection::look_up() {
  asio::post(executor_, [self = shared_from_this()] { self->input_timer_.cancel(); });
}

void Connection::abort() {
  asio::post(executor_, [self = shared_from_this()] {
    self->transport_->close();
    self->end_input();
  });
}

awaitable<void> Connection::run() {
  const std::shared_ptr<Connection> self = shared_from_this();
  try {
    co_await serve();
  } catch (const std::exception& error) {
    log::debug("connection of {}: {}", client_, error.what());
  }
  transport_->close();
  room_timer_.cancel();
}

awaitable<void> Connection::serve() {
  error_code error;
  arm(Clock::now() + state_->options.handshake_timeout);
  co_await transport_->handshake(error);
  disarm();
  if (error) {
    log::debug("TLS handshake of {}: {}", client_, error.message());
    co_return;
  }
  asio::co_spawn(
      executor_, [self = shared_from_this()] { return self->read_input(); }, asio::detached);
  if (!welcome_) {
    co_await turn_away();
  } else {
    bool goes_on = true;
    while (goes_on) goes_on = co_await serve_one();
  }
  co_await close_gently();
}

awaitable<bool> Connection::serve_one() {
  const bool is_there = co_await wait_for_request();
  if (!is_there) co_return false;
  Exchange exchange(*state_);
  HttpResponse response;
  std::exception_ptr failure;
  try {
    response = co_await answer(exchange);
  } catch (...) {
    failure = std::current_exception();
  }
  introduce(exchange);
  if (failure) {
    co_await skip_small_body(exchange);
    response = response_to(failure, exchange.request().id);
  }
  if (!response.stream) exchange.drop_body();
  co_await send(exchange, response);
  watch_ = nullptr;
  ++served_;
  log(exchange);
  co_return exchange.keep_alive;
}

awaitable<void> Connection::turn_away() {
  Exchange exchange(*state_);
  introduce(exchange);
  HttpResponse response = HttpResponse::error(503, "too many connections; try again later");
  response.headers.emplace_back("Retry-After", "1");
  co_await send(exchange, response);
}

awaitable<void> Connection::close_gently() {
  if (input_ended_) co_return;
  discarding_ = true;
  input_.clear();
  room_timer_.cancel();
  const Time deadline = Clock::now() + (state_->draining ? kLingerDraining : kLinger);
  error_code ignored;
  arm(deadline);
  co_await transport_->shut_down_sending(ignored);
  disarm();
  while (!input_ended_ && Clock::now() < deadline) {
    input_timer_.expires_at(deadline);
    co_await input_timer_.async_wait(redirect_error(use_awaitable, ignored));
  }
}

// --- reading ---

awaitable<void> Connection::read_input() {
  std::vector<char> piece;
  for (;;) {
    while (input_.size() >= kInputMax && !input_ended_) co_await wait_for_room();
    if (input_ended_) co_return;
    piece.resize(bulk_ || discarding_ ? kLargePiece : kSmallPiece);
    error_code error;
    const size_t count = co_await transport_->read_some(asio::buffer(piece), error);
    if (error) break;
    if (discarding_) continue;
    input_.append(piece.data(), count);
    input_fresh_ = true;
    input_timer_.cancel();
  }
  end_input();
}

// A client that sends on while its request is worked on may still leave.
awaitable<void> Connection::wait_for_room() {
  error_code ignored;
  room_timer_.expires_after(kLookAtPeer);
  co_await room_timer_.async_wait(redirect_error(use_awaitable, ignored));
  if (input_.size() >= kInputMax && transport_->peer_has_left()) end_input();
}

void Connection::end_input() {
  input_ended_ = true;
  const std::shared_ptr<ClientWatch> watch = watch_;
  if (watch) watch->raise();
  input_timer_.cancel();
  room_timer_.cancel();
}

awaitable<Connection::Wake> Connection::wait_for_input(Time deadline) {
  for (;;) {
    if (input_fresh_) {
      input_fresh_ = false;
      co_return Wake::input;
    }
    if (input_ended_) co_return Wake::ended;
    if (state_->draining) co_return Wake::draining;
    if (Clock::now() >= deadline) co_return Wake::timeout;
    error_code ignored;
    input_timer_.expires_at(deadline);
    co_await input_timer_.async_wait(redirect_error(use_awaitable, ignored));
  }
}

// False where none comes.
awaitable<bool> Connection::wait_for_request() {
  const Time deadline = Clock::now() + state_->options.idle_timeout;
  for (;;) {
    // Empty lines before a request are passed over (RFC 9112, section 2.2).
    input_.erase(0, std::min(input_.find_first_not_of("\r\n"), input_.size()));
    if (!input_.empty()) co_return true;
    const Wake wake = co_await wait_for_input(deadline);
    if (wake == Wake::input) continue;
    if (wake != Wake::draining || served_ > 0) co_return false;
    const Time last = Clock::now() + kFirstRequestDraining;
    while (input_.empty() && !input_ended_ && Clock::now() < last) {
      error_code ignored;
      input_timer_.expires_at(last);
      co_await input_timer_.async_wait(redirect_error(use_awaitable, ignored));
    }
    co_return !input_.empty();
  }
}

void Connection::feed(Exchange& exchange) {
  input_fresh_ = false;
  const size_t used = exchange.parser.put(input_);
  input_.erase(0, used);
  if (used > 0) room_timer_.cancel();
}

awaitable<void> Connection::read_header(Exchange& exchange) {
  const Time deadline = exchange.begin + state_->options.header_timeout;
  for (;;) {
    feed(exchange);
    if (exchange.parser.stage() != RequestParser::Stage::header) co_return;
    const Wake wake = co_await wait_for_input(deadline);
    if (wake == Wake::ended) throw HttpError(400, "the request ends within its header");
    if (wake == Wake::timeout) throw HttpError(408, "the header of the request took too long");
    if (wake == Wake::draining) fail(ErrorKind::unavailable, kShuttingDown);
  }
}

awaitable<void> Connection::read_body(Exchange& exchange) {
  const ServerOptions& options = state_->options;
  const Time begin = Clock::now();
  RequestParser& parser = exchange.parser;
  while (parser.stage() != RequestParser::Stage::done) {
    bulk_ = true;
    feed(exchange);
    const uint64_t fresh = parser.body_received() - exchange.counted;
    exchange.counted += fresh;
    if ((state_->upload_bytes += fresh) > options.max_uploads) {
      fail(ErrorKind::busy, "too many uploads at a time; try again later");
    }
    if (parser.stage() == RequestParser::Stage::done) break;
    const auto at_lowest_rate = milliseconds(parser.body_received() * 1000 / options.lowest_rate);
    const Wake wake = co_await wait_for_input(begin + options.body_timeout + at_lowest_rate);
    if (wake == Wake::ended) throw HttpError(400, "the request ends within its body");
    if (wake == Wake::timeout) throw HttpError(408, "the body of the request took too long");
    if (wake == Wake::draining) fail(ErrorKind::unavailable, kShuttingDown);
  }
  bulk_ = false;
}

// --- answering ---

// Gives the request what it does not have from its bytes; also one that could not be read to its end.
void Connection::introduce(Exchange& exchange) {
  HttpRequest& request = exchange.request();
  if (!request.id.empty()) return;
  request.id = request_id_for(request);
  request.client = client_;
  request.disconnect = exchange.watch;
  watch_ = exchange.watch;
  if (input_ended_) watch_->raise();
}

awaitable<HttpResponse> Connection::answer(Exchange& exchange) {
  co_await read_header(exchange);
  introduce(exchange);
  Router::Match match = admit(exchange);
  HttpRequest& request = exchange.request();
  if (match.route == nullptr) {
    exchange.parser.set_body_limit(kSmallBody);
  } else {
    exchange.parser.set_body_limit(static_cast<uint64_t>(match.route->max_body));
  }
  const bool is_waiting = exchange.parser.expects_continue() && exchange.parser.has_body() && input_.empty();
  if (is_waiting) {
    std::vector<asio::const_buffer> go_on{as_buffer("HTTP/1.1 100 Continue\r\n\r\n")};
    co_await write(std::move(go_on));
  }
  co_await read_body(exchange);
  if (match.route == nullptr) co_return answer_options(exchange);
  request.parameters = std::move(match.parameters);
  co_return co_await match.route->handler(request);
}

// The route of the request, or none for OPTIONS. Throws what refuses it, before its body is read.
Router::Match Connection::admit(Exchange& exchange) const {
  if (state_->draining) fail(ErrorKind::unavailable, kShuttingDown);
  const HttpRequest& request = exchange.request();
  const bool is_options = request.method == "OPTIONS";
  if (is_options && exchange.parser.encoded_path() == "*") return {};
  Router::Match match = state_->router.find(request.method, exchange.parser.encoded_path());
  if (match.allowed.empty()) throw HttpError(404, fmt::format("{}: no such path", request.path));
  if (match.route == nullptr && !is_options) {
    throw HttpError(405, fmt::format("{} is not allowed here; {} are", request.method, match.allowed),
                    {{"Allow", match.allowed}});
  }
  if (match.route != nullptr && match.route->needs_key) state_->key.check(request);
  return match;
}

HttpResponse Connection::answer_options(const Exchange& exchange) const {
  std::string allowed = state_->router.find("OPTIONS", exchange.parser.encoded_path()).allowed;
  if (allowed.empty()) allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS";  // of "*"
  HttpResponse response;
  response.status = 204;
  response.headers.emplace_back("Allow", allowed);
  state_->cors.apply_preflight(exchange.request(), allowed, response);
  return response;
}

// So that the connection can go on after a request that was refused by its header.
awaitable<void> Connection::skip_small_body(Exchange& exchange) {
  RequestParser& parser = exchange.parser;
  const bool is_small = parser.stage() == RequestParser::Stage::body && parser.keep_alive() &&
                        !parser.expects_continue() && parser.body_received() == 0 &&
                        parser.content_length().value_or(kSmallBody + 1) <= kSmallBody;
  if (!is_small) co_return;
  try {
    parser.set_body_limit(kSmallBody);
    co_await read_body(exchange);
  } catch (const std::exception&) {
    // Then the connection closes after the answer.
  }
}

awaitable<void> Connection::send(Exchange& exchange, HttpResponse& response) {
  const RequestParser& parser = exchange.parser;
  const bool streams = response.stream != nullptr;
  exchange.chunked = streams && parser.is_http_1_1();
  exchange.keep_alive = parser.stage() == RequestParser::Stage::done && parser.keep_alive() &&
                        !(input_ended_ && input_.empty()) && !state_->draining && (!streams || exchange.chunked);
  exchange.status = response.status;
  state_->cors.apply(exchange.request(), response);
  const std::string head = head_of(exchange, response);
  try {
    std::vector<asio::const_buffer> buffers{as_buffer(head)};
    const bool with_body = has_body(response.status) && !exchange.is_head();
    if (with_body && !streams) buffers.push_back(as_buffer(response.body));
    co_await write(std::move(buffers));
    if (with_body && !streams) exchange.bytes_sent = response.body.size();
    if (with_body && streams) {
      PieceWriter writer(*this, exchange);
      co_await response.stream(writer);
      std::vector<asio::const_buffer> end{as_buffer(exchange.chunked ? "0\r\n\r\n" : "")};
      co_await write(std::move(end));
    }
    co_return;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::cancelled) {
      exchange.status = status_of(ErrorKind::cancelled);
    } else {
      log::error("request {}: {}", exchange.request().id, error.what());
    }
  } catch (const std::exception& error) {
    log::error("request {}: {}", exchange.request().id, error.what());
  }
  // The answer is cut off: closing without the last chunk is how the client learns of it.
  exchange.keep_alive = false;
  transport_->close();
  end_input();
}

std::string Connection::head_of(const Exchange& exchange, const HttpResponse& response) const {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason_of(response.status));
  for (const auto& [name, value] : response.headers) head += header_line(name, value);
  if (has_body(response.status)) {
    if (exchange.chunked) {
      head += header_line("Transfer-Encoding", "chunked");
    } else if (response.stream == nullptr) {
      head += header_line("Content-Length", fmt::format("{}", response.body.size()));
    }
  }
  if (!names(response, "Cache-Control")) head += header_line("Cache-Control", "no-store");
  head += header_line("X-Content-Type-Options", "nosniff");
  head += header_line("X-Request-Id", exchange.request().id);
  head += header_line("Server", state_->options.name);
  head += header_line("Date", http_date());
  if (!exchange.keep_alive) {
    head += header_line("Connection", "close");
  } else if (!exchange.parser.is_http_1_1()) {
    head += header_line("Connection", "keep-alive");
  }
  return head += "\r\n";
}

awaitable<void> Connection::write(std::vector<asio::const_buffer> buffers) {
  const ServerOptions& options = state_->options;
  const Time begin = Clock::now();
  uint64_t sent = 0;
  consume(buffers, 0);
  while (!buffers.empty()) {
    error_code error;
    arm(begin + options.write_timeout + milliseconds(sent * 1000 / options.lowest_rate));
    const size_t count = co_await transport_->write_some(buffers, error);
    disarm();
    if (error) fail(ErrorKind::cancelled, "the client has left: {}", error.message());
    sent += count;
    consume(buffers, count);
  }
}

void Connection::log(const Exchange& exchange) const {
  const HttpRequest& request = exchange.request();
  RequestRecord record;
  record.id = request.id;
  record.client = client_;
  record.method = request.method;
  record.path = request.path;
  record.status = exchange.status;
  record.bytes = exchange.bytes_sent;
  record.ms = std::chrono::duration<double, std::milli>(Clock::now() - exchange.begin).count();
  log_request(record);
  if (state_->options.on_answer) state_->options.on_answer(record.status, record.ms / 1000, record.bytes);
}

void Connection::arm(Time deadline) {
  guarded_ = true;
  guard_deadline_ = deadline;
  guard_timer_.expires_at(deadline);
  guard_timer_.async_wait([self = shared_from_this()](error_code error) {
    const bool is_late = !error && self->guarded_ && Clock::now() >= self->guard_deadline_;
    if (is_late) self->transport_->close();
  });
}

void Connection::disarm() {
  guarded_ = false;
  guard_timer_.cancel();
}

}  // namespace dreamlab
