#include "service/redis_storage.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "service/stored_object.h"

namespace dreamlab {

namespace {

constexpr timeval kConnectTimeout{2, 0};
constexpr timeval kCommandTimeout{3, 0};
constexpr std::string_view kPrefix = "dreamlab:";
constexpr size_t kMaxIdle = 8;  // connections kept for later
constexpr std::string_view kForm = "redis://[:PASSWORD@]HOST[:PORT][/DB]";

// hiredis writes to a socket that the server may have closed; the signal for that would end the process.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec at_once{};
    while (sigtimedwait(&pipe_, nullptr, &at_once) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_, before_;
};

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Connection = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;
using Command = std::vector<std::string_view>;

// Null where the connection has broken.
Reply send(redisContext& connection, const Command& command) {
  std::vector<const char*> words;
  std::vector<size_t> lengths;
  for (const std::string_view word : command) {
    words.push_back(word.data());
    lengths.push_back(word.size());
  }
  return Reply(static_cast<redisReply*>(
      redisCommandArgv(&connection, static_cast<int>(command.size()), words.data(), lengths.data())));
}

std::string_view text_of(const redisReply& reply) {
  return {reply.str, reply.str == nullptr ? 0 : static_cast<size_t>(reply.len)};
}

std::string joined(std::string_view first, std::span<const uint8_t> second, std::span<const uint8_t> third) {
  std::string all(first);
  all.append(reinterpret_cast<const char*>(second.data()), second.size());
  all.append(reinterpret_cast<const char*>(third.data()), third.size());
  return all;
}

class RedisStorage : public Storage {
 public:
  RedisStorage(RedisAddress address, const StorageOptions& options)
      : address_(std::move(address)),
        ttl_ms_(std::to_string(std::max<int64_t>(1, std::llround(options.ttl_s * 1000)))),
        where_(fmt::format("redis://{}:{}/{}", address_.host, address_.port, address_.database)) {}

  std::string_view kind() const override { return "redis"; }

  void put(const std::string& key, std::span<const uint8_t> bytes, std::string_view content_type) override {
    check_storage_key(key);
    const std::vector<uint8_t> ending = object_ending(content_type);
    if (bytes.size() > kMaxObjectBytes) {
      fail(ErrorKind::too_large, "{} bytes: more than the {} that the storage takes", bytes.size(), kMaxObjectBytes);
    }
    const std::string name = name_of(key);
    const std::string value = joined("", bytes, ending);
    ask({"PSETEX", name, ttl_ms_, value}, REDIS_REPLY_STATUS);
  }

  std::optional<StoredObject> get(const std::string& key) override {
    check_storage_key(key);
    // A range, so that a huge value that somebody else has put there is not read in whole. A missing one is empty.
    static const std::string kLast = std::to_string(kMaxObjectBytes + kMaxObjectEnding - 1);
    const std::string name = name_of(key);
    const Reply reply = ask({"GETRANGE", name, "0", kLast}, REDIS_REPLY_STRING);
    const std::string_view value = text_of(*reply);
    return parse_object({value.begin(), value.end()});
  }

  std::string health() override {
    ask({"PING"}, REDIS_REPLY_STATUS);
    return where_;
  }

 private:
  static std::string name_of(const std::string& key) { return std::string(kPrefix) + key; }

  [[noreturn]] void fail_with(std::string_view reason) const {
    fail(ErrorKind::unavailable, "storage {}: {}", where_, reason);
  }

  Connection connect() const {
    Connection connection(redisConnectWithTimeout(address_.host.c_str(), address_.port, kConnectTimeout));
    if (!connection) fail(ErrorKind::out_of_memory, "out of memory");
    if (connection->err != 0) fail_with(fmt::format("cannot be reached ({})", connection->errstr));
    redisSetTimeout(connection.get(), kCommandTimeout);
    if (!address_.password.empty()) greet(*connection, {"AUTH", address_.password});
    if (address_.database != 0) greet(*connection, {"SELECT", std::to_string(address_.database)});
    return connection;
  }

  void greet(redisContext& connection, const std::vector<std::string>& command) const {
    const Reply reply = send(connection, {command.begin(), command.end()});
    if (!reply) fail_with(is_timeout(connection) ? "gives no answer" : connection.errstr);
    if (reply->type == REDIS_REPLY_ERROR) fail_with(text_of(*reply));
  }

  Connection take_idle() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return nullptr;
    Connection connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
  }

  void give_back(Connection connection) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(connection));
  }

  // A connection that was idle may belong to a server that has gone away since; then the next one is tried, and in the
  // end a new one: every command here may be given twice. But not again to a server that leaves one waiting.
  Reply ask(const Command& command, int expected) {
    const NoPipeSignal quiet;
    for (Connection connection = take_idle(); connection; connection = take_idle()) {
      if (Reply reply = send(*connection, command)) return checked(std::move(reply), expected, std::move(connection));
      if (is_timeout(*connection)) fail_with("gives no answer");
    }
    Connection connection = connect();
    Reply reply = send(*connection, command);
    if (!reply) fail_with(is_timeout(*connection) ? "gives no answer" : connection->errstr);
    return checked(std::move(reply), expected, std::move(connection));
  }

  static bool is_timeout(const redisContext& connection) {
    return connection.err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  }

  Reply checked(Reply reply, int expected, Connection connection) {
    give_back(std::move(connection));
    if (reply->type == REDIS_REPLY_ERROR) fail_with(text_of(*reply));
    if (reply->type != expected) fail_with("gives an answer of the wrong kind");
    return reply;
  }

  const RedisAddress address_;
  const std::string ttl_ms_, where_;
  std::mutex mutex_;
  std::vector<Connection> idle_;
};

[[noreturn]] void fail_for_form() {
  fail(ErrorKind::invalid_argument, "STORAGE=redis://...: not allowed; {} is", kForm);
}

// Takes what stands before one of `ends` off the front of `rest`; all of it where none is there.
std::string_view take_until(std::string_view& rest, std::string_view ends) {
  const std::string_view taken = rest.substr(0, rest.find_first_of(ends));
  rest.remove_prefix(taken.size());
  return taken;
}

int parse_number(std::string_view text, int largest) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > largest) fail_for_form();
  return value;
}

// %40 is @: a password may hold what separates the parts of a URL.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  while (!text.empty()) {
    unsigned byte = static_cast<unsigned char>(text.front());
    size_t used = 1;
    if (byte == '%') {
      const auto [end, error] =
          std::from_chars(text.data() + 1, text.data() + std::min<size_t>(3, text.size()), byte, 16);
      used = static_cast<size_t>(end - text.data());
      if (error != std::errc() || used != 3) fail_for_form();
    }
    decoded += static_cast<char>(byte);
    text.remove_prefix(used);
  }
  return decoded;
}

}  // namespace

RedisAddress parse_redis_url(const std::string& url) {
  constexpr std::string_view kScheme = "redis://";
  std::string_view rest = url;
  if (!rest.starts_with(kScheme)) fail_for_form();
  rest.remove_prefix(kScheme.size());
  RedisAddress address;
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    if (rest.front() != ':') fail_for_form();
    address.password = percent_decoded(rest.substr(1, at - 1));
    rest.remove_prefix(at + 1);
  }
  if (rest.starts_with('[')) {
    rest.remove_prefix(1);
    address.host = take_until(rest, "]");
    if (rest.empty()) fail_for_form();
    rest.remove_prefix(1);
  } else {
    address.host = take_until(rest, ":/");
  }
  if (rest.starts_with(':')) {
    rest.remove_prefix(1);
    address.port = parse_number(take_until(rest, "/"), 65535);
  }
  if (rest.starts_with('/') && rest.size() > 1) {
    address.database = parse_number(rest.substr(1), 1'000'000);
    rest = "";
  }
  if (address.host.empty() || (!rest.empty() && rest != "/")) fail_for_form();
  return address;
}

std::unique_ptr<Storage> open_redis_storage(const RedisAddress& address, const StorageOptions& options) {
  return std::make_unique<RedisStorage>(address, options);
}

}  // namespace dreamlab
