#pragma once

// What the connections of a server share.
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "server/access.h"
#include "server/router.h"
#include "server/server.h"

namespace dreamlab {

class Connection;

// The open connections; each leaves when it is destroyed.
class ConnectionSet {
 public:
  void add(const std::shared_ptr<Connection>& connection);
  void remove(const Connection* connection);
  size_t size() const;
  // The most at a time since the last call.
  size_t take_peak();
  std::vector<std::shared_ptr<Connection>> all() const;
  // Whether there is none left by that time.
  bool wait_until_empty(std::chrono::steady_clock::time_point deadline);
  void wait_until_empty();

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<const Connection*, std::weak_ptr<Connection>> connections_;
  size_t peak_ = 0;
};

struct ServerState {
  explicit ServerState(ServerOptions server_options)
      : options(std::move(server_options)), key(options.api_key), cors(options.cors_origins) {}

  const ServerOptions options;
  Router router;  // does not change once there are connections
  const ApiKey key;
  const CorsPolicy cors;
  std::atomic<bool> draining{false};
  std::atomic<uint64_t> upload_bytes{0};  // of request bodies in memory
  ConnectionSet connections;
};

}  // namespace dreamlab
