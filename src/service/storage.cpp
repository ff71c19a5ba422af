#include "service/storage.h"

#include <fmt/ranges.h>
#include <sys/random.h>

#include <array>

#include "base/error.h"
#include "service/file_storage.h"
#include "service/redis_storage.h"

namespace dreamlab {

namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kRedis = "redis://";

}  // namespace

std::unique_ptr<Storage> open_storage(const std::string& where, const StorageOptions& options) {
  if (where == "none") return nullptr;
  if (where.starts_with(kFile) && where.size() > kFile.size()) {
    return open_file_storage(where.substr(kFile.size()), options);
  }
  if (where.starts_with(kRedis)) return open_redis_storage(parse_redis_url(where), options);
  fail(ErrorKind::invalid_argument,
       "STORAGE={}: not allowed; none, file:DIR or redis://[:PASSWORD@]HOST[:PORT][/DB] is", where);
}

std::string make_storage_key() {
  std::array<uint8_t, 16> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    fail(ErrorKind::internal, "the system gives no random bytes");
  }
  return fmt::format("{:02x}", fmt::join(random, ""));
}

}  // namespace dreamlab
