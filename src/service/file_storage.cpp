#include "service/file_storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "service/stored_object.h"

namespace dreamlab {

namespace {

// Only files with these endings are the store's own, so that a directory with other things in it loses none of them.
constexpr std::string_view kObjectEnding = ".dlobj";
constexpr std::string_view kTemporaryEnding = ".dltmp";  // with a leading dot, as no key has one
// How old the knowledge of files that other processes put may become.
constexpr std::chrono::seconds kRescanInterval{60};

using Seconds = double;  // since the epoch

Seconds seconds_of(const timespec& time) {
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Seconds now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return seconds_of(time);
}

class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  int get() const { return value_; }

 private:
  int value_;
};

// What is in the directory, oldest first.
class Index {
 public:
  struct Entry {
    Seconds time = 0;
    uint64_t size = 0;
  };

  void set(const std::string& name, Entry entry) {
    erase(name);
    entries_[name] = entry;
    by_age_.emplace(entry.time, name);
    total_ += entry.size;
  }
  void erase(const std::string& name) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return;
    total_ -= found->second.size;
    by_age_.erase({found->second.time, name});
    entries_.erase(found);
  }
  uint64_t total() const { return total_; }
  size_t count() const { return entries_.size(); }
  // Null for an empty index.
  const std::pair<Seconds, std::string>* oldest() const { return by_age_.empty() ? nullptr : &*by_age_.begin(); }

 private:
  std::map<std::string, Entry> entries_;
  std::set<std::pair<Seconds, std::string>> by_age_;
  uint64_t total_ = 0;
};

Index::Entry entry_of(const struct stat& status) {
  return {seconds_of(status.st_mtim), static_cast<uint64_t>(status.st_size)};
}

class FileStorage : public Storage {
 public:
  FileStorage(std::string directory, const StorageOptions& options)
      : directory_(std::move(directory)), options_(options) {
    std::error_code error;
    std::filesystem::create_directories(directory_, error);
    root_ = Descriptor(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (root_.get() < 0) fail_to("opened", errno);
    const std::lock_guard lock(mutex_);
    scan();
    check_writable();
  }

  std::string_view kind() const override { return "file"; }

  void put(const std::string& key, std::span<const uint8_t> bytes, std::string_view content_type) override {
    check_storage_key(key);
    const std::vector<uint8_t> ending = object_ending(content_type);
    const uint64_t size = bytes.size() + ending.size();
    if (bytes.size() > kMaxObjectBytes || size > options_.max_bytes) {
      fail(ErrorKind::too_large, "{} bytes: more than the {} that the storage takes", bytes.size(),
           std::min(kMaxObjectBytes, options_.max_bytes));
    }
    const std::string name = key + std::string(kObjectEnding);
    TemporaryFile file(*this);
    file.write(bytes);
    file.write(ending);
    const Index::Entry entry = file.flush();
    const std::lock_guard lock(mutex_);
    rescan_if_due();
    index_.erase(name);  // what it replaces makes room, too
    make_room(size);
    file.move_to(name);
    index_.set(name, entry);
  }

  std::optional<StoredObject> get(const std::string& key) override {
    check_storage_key(key);
    const std::string name = key + std::string(kObjectEnding);
    const Descriptor file(::openat(root_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.get() < 0) {
      if (errno == ENOENT || errno == ELOOP) return std::nullopt;
      fail_to("read", errno);
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) fail_to("read", errno);
    const auto size = static_cast<uint64_t>(status.st_size);
    if (!S_ISREG(status.st_mode) || size > kMaxObjectBytes + kMaxObjectEnding) return std::nullopt;
    if (is_over(seconds_of(status.st_mtim))) {
      const std::lock_guard lock(mutex_);
      remove_expired();
      return std::nullopt;
    }
    return parse_object(read_all(file.get(), size));
  }

  std::string health() override {
    check_writable();
    const std::lock_guard lock(mutex_);
    rescan_if_due();
    remove_expired();
    return fmt::format("{}: {} objects, {} of {} bytes", directory_, index_.count(), index_.total(),
                       options_.max_bytes);
  }

 private:
  // A file that nobody sees until it is moved to its name. Its writer holds a lock on it, by which another process
  // tells it from one that a killed process has left behind.
  class TemporaryFile {
   public:
    explicit TemporaryFile(const FileStorage& store) : store_(store) {
      while (true) {
        name_ = fmt::format(".{}{}", make_storage_key(), kTemporaryEnding);
        file_ = Descriptor(
            ::openat(store.root_.get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
        if (file_.get() < 0) store.fail_to("written", errno);
        struct stat status {};
        if (::flock(file_.get(), LOCK_EX) != 0 || ::fstat(file_.get(), &status) != 0) store.fail_to("written", errno);
        // Taken for a leftover between the two calls: once more.
        if (status.st_nlink > 0) return;
      }
    }
    ~TemporaryFile() {
      if (!moved_) ::unlinkat(store_.root_.get(), name_.c_str(), 0);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    void write(std::span<const uint8_t> bytes) {
      while (!bytes.empty()) {
        const ssize_t count = ::write(file_.get(), bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) store_.fail_to("written", errno);
        bytes = bytes.subspan(static_cast<size_t>(count));
      }
    }
    Index::Entry flush() {
      struct stat status {};
      if (::fsync(file_.get()) != 0 || ::fstat(file_.get(), &status) != 0) store_.fail_to("written", errno);
      return entry_of(status);
    }
    void move_to(const std::string& name) {
      if (::renameat(store_.root_.get(), name_.c_str(), store_.root_.get(), name.c_str()) != 0) {
        store_.fail_to("written", errno);
      }
      moved_ = true;
    }

   private:
    const FileStorage& store_;
    std::string name_;
    Descriptor file_;
    bool moved_ = false;
  };

  [[noreturn]] void fail_to(const char* action, int error) const {
    fail(ErrorKind::unavailable, "storage {}: cannot be {} ({})", directory_, action, std::strerror(error));
  }

  bool is_over(Seconds time) const { return now() - time >= options_.ttl_s; }

  std::vector<uint8_t> read_all(int file, size_t size) const {
    std::vector<uint8_t> bytes(size);
    size_t used = 0;
    while (used < size) {
      const ssize_t count = ::read(file, bytes.data() + used, size - used);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_to("read", errno);
      if (count == 0) break;
      used += static_cast<size_t>(count);
    }
    bytes.resize(used);
    return bytes;
  }

  void check_writable() const { TemporaryFile file(*this); }

  void rescan_if_due() {
    if (std::chrono::steady_clock::now() - scanned_ >= kRescanInterval) scan();
  }

  // Reads the directory; leftovers of killed processes and objects whose time is over go away.
  void scan() {
    scanned_ = std::chrono::steady_clock::now();
    const int copy = ::openat(root_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
    if (!listing) fail_to("listed", errno);
    Index index;
    while (const dirent* entry = ::readdir(listing.get())) {
      const std::string name = entry->d_name;
      if (name.starts_with(".") && name.ends_with(kTemporaryEnding)) {
        remove_leftover(name);
        continue;
      }
      struct stat status {};
      if (name.starts_with(".") || !name.ends_with(kObjectEnding) ||
          ::fstatat(root_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) {
        continue;
      }
      index.set(name, entry_of(status));
    }
    index_ = std::move(index);
    remove_expired();
    make_room(0);
  }

  void remove_leftover(const std::string& name) {
    const Descriptor file(::openat(root_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) ::unlinkat(root_.get(), name.c_str(), 0);
  }

  // Unless another process has replaced it by a new one, which is known as such from then on.
  void remove_oldest() {
    const auto [time, name] = *index_.oldest();
    struct stat status {};
    const bool is_there = ::fstatat(root_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    index_.erase(name);
    if (is_there && seconds_of(status.st_mtim) > time) {
      index_.set(name, entry_of(status));
    } else if (is_there && ::unlinkat(root_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      log::warn("storage {}: {} cannot be removed ({})", directory_, name, std::strerror(errno));
    }
  }

  void remove_expired() {
    while (index_.oldest() != nullptr && is_over(index_.oldest()->first)) remove_oldest();
  }

  // For so many bytes more.
  void make_room(uint64_t size) {
    remove_expired();
    while (index_.oldest() != nullptr && index_.total() + size > options_.max_bytes) remove_oldest();
  }

  const std::string directory_;
  const StorageOptions options_;
  Descriptor root_;
  std::mutex mutex_;  // over all that follows, and over moving and removing files
  Index index_;
  std::chrono::steady_clock::time_point scanned_{};
};

}  // namespace

std::unique_ptr<Storage> open_file_storage(const std::string& directory, const StorageOptions& options) {
  return std::make_unique<FileStorage>(directory, options);
}

}  // namespace dreamlab
