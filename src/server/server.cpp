#include "server/server.h"

#include <linux/filter.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/server_state.h"
#include "server/transport.h"
#include "service/thread_name.h"

namespace dreamlab {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Connections over the limit that get their 503; further ones are just closed.
constexpr size_t kTurnedAwayMax = 64;
// File descriptors for everything that is not a connection.
constexpr size_t kOtherFiles = 128;
constexpr std::chrono::milliseconds kRetryAccept{100};
// When a crowd has gone, which is as many connections as that, its memory goes back to the system; more than once,
// since its last requests let go of theirs a little after the connections have closed.
constexpr std::chrono::seconds kLookForMemory{1};
constexpr size_t kCrowd = 32;
constexpr int kReturns = 3;
// For connections that are being made when the server stops accepting.
constexpr std::chrono::milliseconds kHandshakes{30};

// Each connection is a file descriptor, and the usual limit of 1,024 is below what a server keeps open. Returns how
// many there may be now.
size_t raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = raised.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

// From now on the kernel lets nobody begin a connection: its first packet (SYN) is dropped, so that no client believes
// itself connected when the listening socket closes. Handshakes under way go on.
void drop_new_connections(int listening_socket) {
  constexpr uint32_t kFlagsOffset = 13, kSyn = 0x02;  // of the TCP header
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsOffset),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  };
  const sock_fprog filter{std::size(program), program};
  // A kernel that cannot do it leaves a moment in which a connection may be lost.
  setsockopt(listening_socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

}  // namespace

void ConnectionSet::add(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  connections_[connection.get()] = connection;
  peak_ = std::max(peak_, connections_.size());
}

void ConnectionSet::remove(const Connection* connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  connections_.erase(connection);
  if (connections_.empty()) changed_.notify_all();
}

size_t ConnectionSet::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return connections_.size();
}

size_t ConnectionSet::take_peak() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(peak_, connections_.size());
}

std::vector<std::shared_ptr<Connection>> ConnectionSet::all() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<Connection>> open;
  for (const auto& [address, connection] : connections_) {
    if (auto held = connection.lock()) open.push_back(std::move(held));
  }
  return open;
}

bool ConnectionSet::wait_until_empty(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return connections_.empty(); });
}

void ConnectionSet::wait_until_empty() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return connections_.empty(); });
}

class Server::Impl {
 public:
  explicit Impl(ServerOptions options) : state_(std::make_shared<ServerState>(std::move(options))) {
    const ServerOptions& given = state_->options;
    if (given.tls_cert.empty() != given.tls_key.empty()) {
      fail(ErrorKind::invalid_argument, "TLS_CERT and TLS_KEY: both are needed, or none");
    }
    if (!given.tls_cert.empty()) tls_ = load_tls_identity(given.tls_cert, given.tls_key);
    listen(resolve());
  }

  ~Impl() {
    shut_down(std::chrono::milliseconds(0));
    state_->connections.wait_until_empty();
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
  }

  void start(Router router);
  int port() const { return port_; }
  std::string url() const;
  size_t connections() const { return state_->connections.size(); }
  void stop_accepting();
  bool shut_down(std::chrono::milliseconds grace);

 private:
  tcp::endpoint resolve();
  void listen(const tcp::endpoint& endpoint);
  asio::awaitable<void> accept_connections();
  asio::awaitable<void> return_memory();
  void welcome(tcp::socket socket);
  void close_acceptor();
  void run();

  const std::shared_ptr<ServerState> state_;
  std::shared_ptr<TlsIdentity> tls_;
  size_t max_connections_ = 0;
  int port_ = 0;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  asio::strand<asio::io_context::executor_type> accept_strand_{io_.get_executor()};
  tcp::acceptor acceptor_{accept_strand_};
  asio::steady_timer memory_timer_{accept_strand_};
  std::vector<std::thread> threads_;
};

tcp::endpoint Server::Impl::resolve() {
  const ServerOptions& options = state_->options;
  error_code error;
  const auto address = asio::ip::make_address(options.host, error);
  if (!error) return {address, static_cast<uint16_t>(options.port)};
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    fail(ErrorKind::invalid_argument, "HOST={}: {}; an address or the name of one is needed", options.host,
         error.message());
  }
  return found.begin()->endpoint();
}

void Server::Impl::listen(const tcp::endpoint& endpoint) {
  const ServerOptions& options = state_->options;
  error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    fail(ErrorKind::unavailable, "PORT={}: the port is in use on {}; name another one, or 0 for any free one",
         options.port, options.host);
  }
  if (error) {
    fail(ErrorKind::unavailable, "HOST={} PORT={}: cannot be listened on: {}", options.host, options.port,
         error.message());
  }
  port_ = acceptor_.local_endpoint().port();
}

void Server::Impl::start(Router router) {
  state_->router = std::move(router);
  const size_t files = raise_file_limit();
  max_connections_ = state_->options.max_connections;
  if (files < max_connections_ + kTurnedAwayMax + kOtherFiles) {
    max_connections_ = files > 2 * kOtherFiles ? files - kTurnedAwayMax - kOtherFiles : kOtherFiles;
    log::warn("at most {} connections at a time: the limit on open files is {}", max_connections_, files);
  }
  asio::co_spawn(
      accept_strand_, [this] { return accept_connections(); }, asio::detached);
  asio::co_spawn(
      accept_strand_, [this] { return return_memory(); }, asio::detached);
  for (int i = 0; i < std::max(1, state_->options.threads); ++i) {
    threads_.emplace_back([this, i] {
      name_this_thread(fmt::format("http-{}", i));
      run();
    });
  }
}

// One bad moment ends neither the thread nor the process.
void Server::Impl::run() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::exception& error) {
      log::error("in the server: {}", error.what());
    }
  }
}

asio::awaitable<void> Server::Impl::accept_connections() {
  asio::steady_timer pause(accept_strand_);
  bool is_failing = false;
  while (acceptor_.is_open()) {
    error_code error;
    tcp::socket socket(asio::make_strand(io_));
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      is_failing = false;
      welcome(std::move(socket));
      continue;
    }
    if (error == asio::error::operation_aborted || error == asio::error::connection_aborted) continue;
    // Out of file descriptors or memory: they come back when connections end.
    if (!is_failing) log::warn("a connection cannot be accepted: {}", error.message());
    is_failing = true;
    pause.expires_after(kRetryAccept);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

// The C library keeps what it once had, in holes between what is still in use.
asio::awaitable<void> Server::Impl::return_memory() {
  size_t most = 0;
  int returns = 0;
  while (!state_->draining) {
    error_code ignored;
    memory_timer_.expires_after(kLookForMemory);
    co_await memory_timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    most = std::max(most, state_->connections.take_peak());
    const size_t open = state_->connections.size();
    if (most >= kCrowd && open <= most / 2) {
      returns = kReturns;
      most = open;
    }
    if (returns == 0) continue;
    --returns;
    malloc_trim(0);
  }
}

void Server::Impl::welcome(tcp::socket socket) {
  const size_t open = state_->connections.size();
  if (open >= max_connections_ + kTurnedAwayMax) return;  // closes it
  try {
    Connection::start(state_, tls_.get(), std::move(socket), open < max_connections_);
  } catch (const std::exception& error) {
    log::error("a connection cannot be served: {}", error.what());
  }
}

std::string Server::Impl::url() const {
  const std::string& host = state_->options.host;
  const bool is_v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", tls_ ? "https" : "http", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port_);
}

// Connections that the kernel has taken on already are owed an answer.
void Server::Impl::close_acceptor() {
  error_code error;
  acceptor_.non_blocking(true, error);
  while (!error) {
    tcp::socket socket(asio::make_strand(io_));
    acceptor_.accept(socket, error);
    if (!error) welcome(std::move(socket));
  }
  acceptor_.close(error);
}

void Server::Impl::stop_accepting() {
  if (state_->draining.exchange(true)) return;
  if (!threads_.empty()) {
    drop_new_connections(acceptor_.native_handle());
    std::this_thread::sleep_for(kHandshakes);
    std::promise<void> closed;
    asio::post(accept_strand_, [&] {
      memory_timer_.cancel();
      close_acceptor();
      closed.set_value();
    });
    closed.get_future().wait();
  }
  for (const auto& connection : state_->connections.all()) connection->look_up();
}

bool Server::Impl::shut_down(std::chrono::milliseconds grace) {
  stop_accepting();
  if (state_->connections.wait_until_empty(std::chrono::steady_clock::now() + grace)) return true;
  const auto left = state_->connections.all();
  for (const auto& connection : left) connection->abort();
  return left.empty();
}

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;

void Server::start(Router router) {
  impl_->start(std::move(router));
}
int Server::port() const {
  return impl_->port();
}
std::string Server::url() const {
  return impl_->url();
}
size_t Server::connections() const {
  return impl_->connections();
}
void Server::stop_accepting() {
  impl_->stop_accepting();
}
bool Server::shut_down(ServerOptions::Duration grace) {
  return impl_->shut_down(grace);
}

}  // namespace dreamlab
