#pragma once

#include <memory>
#include <string>

#include "service/storage.h"

namespace dreamlab {

struct RedisAddress {
  std::string host;
  int port = 6379;
  std::string password;  // "": none
  int database = 0;
};

// Throws Error(invalid_argument), which does not repeat the password.
RedisAddress parse_redis_url(const std::string& url);

// Objects as values "dreamlab:KEY" that expire by themselves. Connects when it is used, and again after the server was
// away.
std::unique_ptr<Storage> open_redis_storage(const RedisAddress& address, const StorageOptions& options);

}  // namespace dreamlab
