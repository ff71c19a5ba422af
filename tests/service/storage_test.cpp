#include "service/storage.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "redis_server.h"
#include "service/redis_storage.h"
#include "temporary_directory.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Bytes = std::vector<uint8_t>;

constexpr const char* kHostileKeys[] = {"",          ".",       "..",   "../x", "/etc/passwd", "a/b",
                                        "a/../../b", ".hidden", "a\\b", "a b",  "a\nb",        "%2e%2e%2fx",
                                        "\xc3\xa9",  "a:b",     "a*",   "~root"};

ErrorKind kind_of(const std::function<void()>& action, const std::string& what = "") {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.kind();
  }
  ADD_FAILURE() << "no error " << what;
  return ErrorKind::internal;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

Bytes bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

// What every store has to do.
void expect_objects_come_back(Storage& storage) {
  EXPECT_EQ(storage.get("never-put"), std::nullopt);
  storage.put("a", bytes_of("first"), "image/png");
  storage.put("A", bytes_of("capital"), "image/webp");
  storage.put("b.B_9-", Bytes{0, 255, 10, 13, 0}, "application/octet-stream; x=\"y\"");
  storage.put("empty", {}, "text/plain");
  storage.put(std::string(128, 'k'), bytes_of("longest key"), std::string(128, 't'));
  EXPECT_EQ(storage.get("a"), (StoredObject{bytes_of("first"), "image/png"}));
  EXPECT_EQ(storage.get("A"), (StoredObject{bytes_of("capital"), "image/webp"}));
  EXPECT_EQ(storage.get("b.B_9-"), (StoredObject{Bytes{0, 255, 10, 13, 0}, "application/octet-stream; x=\"y\""}));
  EXPECT_EQ(storage.get("empty"), (StoredObject{{}, "text/plain"}));
  EXPECT_EQ(storage.get(std::string(128, 'k')), (StoredObject{bytes_of("longest key"), std::string(128, 't')}));
  storage.put("a", bytes_of("second, longer"), "image/jpeg");
  EXPECT_EQ(storage.get("a"), (StoredObject{bytes_of("second, longer"), "image/jpeg"}));
}

void expect_hostile_input_is_refused(Storage& storage) {
  std::vector<std::string> keys(std::begin(kHostileKeys), std::end(kHostileKeys));
  keys.push_back(std::string("a\0b", 3));
  keys.push_back(std::string(129, 'k'));
  for (const std::string& key : keys) {
    EXPECT_EQ(kind_of([&] { storage.put(key, Bytes{1}, "image/png"); }, key), ErrorKind::invalid_argument) << key;
    EXPECT_EQ(kind_of([&] { storage.get(key); }, key), ErrorKind::invalid_argument) << key;
  }
  for (const std::string& type : {std::string(), std::string("image/png\r\nSet-Cookie: a=b"), std::string(129, 't')}) {
    EXPECT_EQ(kind_of([&] { storage.put("type", Bytes{1}, type); }, type), ErrorKind::invalid_argument) << type;
  }
  const Bytes huge(kMaxObjectBytes + 1);
  EXPECT_EQ(kind_of([&] { storage.put("huge", huge, "image/png"); }), ErrorKind::too_large);
  EXPECT_EQ(storage.get("type"), std::nullopt);
  EXPECT_EQ(storage.get("huge"), std::nullopt);
}

// A picture of one byte over and over, so that a mixture of two shows.
Bytes plain_object(uint8_t value) {
  return Bytes(1000 + size_t{100} * value, value);
}
bool is_plain_object(const StoredObject& object) {
  return !object.bytes.empty() && object.bytes == plain_object(object.bytes.front()) &&
         object.content_type == "image/" + std::to_string(object.bytes.front());
}

void expect_threads_never_see_a_mixture(Storage& storage) {
  std::atomic<bool> stop{false};
  std::atomic<int> seen{0}, mixed{0};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 2; ++writer) {
    threads.emplace_back([&, writer] {
      for (int i = 0; i < 60; ++i) {
        const auto value = static_cast<uint8_t>(100 * writer + i);
        storage.put("shared", plain_object(value), "image/" + std::to_string(value));
      }
    });
  }
  std::thread reader([&] {
    while (!stop) {
      const std::optional<StoredObject> object = storage.get("shared");
      if (!object) continue;
      ++seen;
      if (!is_plain_object(*object)) ++mixed;
    }
  });
  for (std::thread& thread : threads) thread.join();
  while (seen == 0) std::this_thread::yield();
  stop = true;
  reader.join();
  EXPECT_EQ(mixed, 0);
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

class FileStorageTest : public ::testing::Test {
 protected:
  std::unique_ptr<Storage> open(const StorageOptions& options = {}) const {
    return open_storage("file:" + scratch_ / "store", options);
  }
  std::set<std::string> files() const { return names_in(scratch_ / "store"); }

  TemporaryDirectory scratch_;
};

TEST_F(FileStorageTest, ObjectsComeBackWithTheirContentType) {
  const auto storage = open();
  EXPECT_EQ(storage->kind(), "file");
  expect_objects_come_back(*storage);
  EXPECT_EQ(open()->get("a"), (StoredObject{bytes_of("second, longer"), "image/jpeg"})) << "after a restart";
  EXPECT_EQ(files().size(), 5u) << "one file an object and nothing else";
  EXPECT_THAT(storage->health(), HasSubstr("5 objects"));
}

TEST_F(FileStorageTest, HostileKeysAndTypesAreRefusedAndLeaveNoTrace) {
  const auto storage = open();
  expect_hostile_input_is_refused(*storage);
  EXPECT_THAT(files(), IsEmpty());
  EXPECT_EQ(names_in(scratch_.path()), std::set<std::string>{"store"});
}

TEST_F(FileStorageTest, ALinkInTheDirectoryLeadsNowhere) {
  const auto storage = open();
  storage->put("real", bytes_of("x"), "image/png");
  fs::rename(scratch_ / "store/real.dlobj", scratch_ / "outside.dlobj");
  fs::create_symlink(scratch_ / "outside.dlobj", scratch_ / "store/real.dlobj");
  EXPECT_EQ(storage->get("real"), std::nullopt);
  storage->put("real", bytes_of("new"), "image/png");
  EXPECT_EQ(storage->get("real"), (StoredObject{bytes_of("new"), "image/png"}));
  EXPECT_FALSE(fs::is_symlink(scratch_ / "store/real.dlobj"));
}

TEST_F(FileStorageTest, ThreadsNeverSeeAMixture) {
  expect_threads_never_see_a_mixture(*open());
}

TEST_F(FileStorageTest, AnObjectGoesWhenItsTimeIsOver) {
  const StorageOptions brief = {.ttl_s = 0.05};
  const auto patient = open();
  const auto hasty = open(brief);
  patient->put("a", Bytes{1}, "image/png");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_TRUE(patient->get("a"));
  EXPECT_EQ(hasty->get("a"), std::nullopt);
  open(brief);
  EXPECT_THAT(files(), IsEmpty()) << "old ones go at the start";
  hasty->put("b", Bytes{1}, "image/png");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  hasty->put("c", Bytes{1}, "image/png");
  EXPECT_EQ(files(), std::set<std::string>{"c.dlobj"}) << "and when others come";
}

TEST_F(FileStorageTest, TheOldestLeaveWhenItIsFull) {
  const auto storage = open({.max_bytes = 10'000});
  for (int i = 0; i < 12; ++i) {
    storage->put(fmt::format("k{}", i), Bytes(2'900), "image/png");
    std::this_thread::sleep_for(std::chrono::milliseconds(12));  // above a file system's clock tick
    if (i == 9) storage->put("k8", Bytes(2'950), "image/png");   // young again
  }
  EXPECT_EQ(files(), (std::set<std::string>{"k8.dlobj", "k10.dlobj", "k11.dlobj"}));
  EXPECT_EQ(kind_of([&] { storage->put("big", Bytes(10'001), "image/png"); }), ErrorKind::too_large);
  EXPECT_EQ(files().size(), 3u) << "what cannot fit drives nobody out";
  open({.max_bytes = 3'000});
  EXPECT_EQ(files(), std::set<std::string>{"k11.dlobj"}) << "a smaller limit counts from the start";
}

TEST_F(FileStorageTest, FilesOfOthersAreLeftAlone) {
  fs::create_directories(scratch_ / "store/folder.dlobj");
  std::ofstream(scratch_ / "store/holiday.png") << std::string(5'000, 'x');
  std::ofstream(scratch_ / "store/.profile") << "x";
  const auto storage = open({.ttl_s = 0.001, .max_bytes = 100});
  storage->put("a", Bytes(50), "image/png");
  EXPECT_EQ(storage->get("folder"), std::nullopt);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(storage->get("a"), std::nullopt);
  EXPECT_EQ(files(), (std::set<std::string>{"folder.dlobj", "holiday.png", ".profile"}));
}

TEST_F(FileStorageTest, AFileThatWasCutOffIsNobodysObject) {
  const auto storage = open();
  storage->put("a", Bytes(1'000, 7), "image/png");
  const auto whole = fs::file_size(scratch_ / "store/a.dlobj");
  for (const auto size : {whole - 1, whole - 6, whole - 10, uintmax_t{1000}, uintmax_t{3}, uintmax_t{0}}) {
    fs::resize_file(scratch_ / "store/a.dlobj", size);
    EXPECT_EQ(storage->get("a"), std::nullopt) << size;
  }
}

TEST_F(FileStorageTest, KillingAWriterLeavesWholeObjectsOnly) {
  std::mt19937 random(7);
  int found = 0;
  for (int round = 0; round < 25; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      const auto storage = open();
      for (int i = 0;; ++i) {
        const auto value = static_cast<uint8_t>(i + 10 * round);
        storage->put("key" + std::to_string(i % 3), plain_object(value), "image/" + std::to_string(value));
        if (i == 2 && ::write(ends[1], "", 1) != 1) ::_exit(1);
      }
    }
    ::close(ends[1]);
    char all_are_there = 0;
    ASSERT_EQ(::read(ends[0], &all_are_there, 1), 1);
    ::close(ends[0]);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);

    const auto storage = open();
    for (const std::string& name : files()) {
      ASSERT_THAT(name, ::testing::MatchesRegex("key[012]\\.dlobj")) << "a leftover after the start";
      const std::optional<StoredObject> object = storage->get(name.substr(0, 4));
      ASSERT_TRUE(object) << name;
      EXPECT_TRUE(is_plain_object(*object)) << name;
      ++found;
    }
  }
  EXPECT_EQ(found, 25 * 3);
}

TEST_F(FileStorageTest, AnotherProcessMayStartWhileOneWrites) {
  const pid_t writer = ::fork();
  ASSERT_GE(writer, 0);
  if (writer == 0) {
    int status = 0;
    try {
      const auto storage = open();
      for (int i = 0; i < 200; ++i) storage->put("key", plain_object(3), "image/3");
    } catch (const std::exception&) {
      status = 1;
    }
    ::_exit(status);
  }
  int status = 0;
  while (::waitpid(writer, &status, WNOHANG) == 0) open();  // which removes leftovers
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the writer's files were not taken for leftovers";
  EXPECT_EQ(files(), std::set<std::string>{"key.dlobj"});
}

TEST_F(FileStorageTest, ADirectoryThatIsNoneIsRefusedAtTheStart) {
  std::ofstream(scratch_ / "store") << "a file";
  EXPECT_THAT(message_of([&] { open(); }), HasSubstr(scratch_ / "store"));
  EXPECT_EQ(kind_of([&] { open(); }), ErrorKind::unavailable);
}

TEST_F(FileStorageTest, ADirectoryThatWentAwayIsUnavailable) {
  const auto storage = open();
  fs::remove_all(scratch_ / "store");
  EXPECT_EQ(kind_of([&] { storage->put("a", Bytes{1}, "image/png"); }), ErrorKind::unavailable);
  EXPECT_EQ(kind_of([&] { storage->health(); }), ErrorKind::unavailable);
}

TEST(RedisStorage, ObjectsComeBackWithTheirContentType) {
  const RedisServer server;
  const auto storage = open_storage(server.url(), {});
  EXPECT_EQ(storage->kind(), "redis");
  expect_objects_come_back(*storage);
  EXPECT_THAT(storage->health(), HasSubstr(std::to_string(server.port())));
}

TEST(RedisStorage, HostileKeysAndTypesAreRefused) {
  const RedisServer server;
  expect_hostile_input_is_refused(*open_storage(server.url(), {}));
}

TEST(RedisStorage, ThreadsNeverSeeAMixture) {
  const RedisServer server;
  expect_threads_never_see_a_mixture(*open_storage(server.url(), {}));
}

TEST(RedisStorage, AnObjectGoesWhenItsTimeIsOver) {
  const RedisServer server;
  open_storage(server.url(), {.ttl_s = 500})->put("long", Bytes{1}, "image/png");
  const auto storage = open_storage(server.url(), {.ttl_s = 0.05});
  storage->put("short", Bytes{1}, "image/png");
  EXPECT_TRUE(storage->get("long"));
  const std::unique_ptr<redisContext, void (*)(redisContext*)> client(redisConnect("127.0.0.1", server.port()),
                                                                      redisFree);
  const std::unique_ptr<redisReply, void (*)(void*)> left(
      static_cast<redisReply*>(redisCommand(client.get(), "PTTL dreamlab:long")), freeReplyObject);
  EXPECT_GT(left->integer, 0);
  EXPECT_LE(left->integer, 500'000);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (storage->get("short") && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_EQ(storage->get("short"), std::nullopt);
}

TEST(RedisStorage, WhatOthersPutUnderAKeyIsNoObject) {
  const RedisServer server;
  const std::unique_ptr<redisContext, void (*)(redisContext*)> client(redisConnect("127.0.0.1", server.port()),
                                                                      redisFree);
  const auto run = [&](const char* command) { freeReplyObject(redisCommand(client.get(), command)); };
  run("SET dreamlab:text hello");
  run("LPUSH dreamlab:list hello");
  const auto storage = open_storage(server.url(), {});
  EXPECT_EQ(storage->get("text"), std::nullopt);
  EXPECT_EQ(kind_of([&] { storage->get("list"); }), ErrorKind::unavailable);
  EXPECT_EQ(storage->get("text"), std::nullopt) << "the connection is as good as before";
}

TEST(RedisStorage, ServesAgainAfterTheServerWasAway) {
  RedisServer server;
  const auto storage = open_storage(server.url(), {});
  storage->put("a", Bytes{1}, "image/png");
  server.stop();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(kind_of([&] { storage->get("a"); }), ErrorKind::unavailable);
    EXPECT_EQ(kind_of([&] { storage->put("a", Bytes(1'000'000), "image/png"); }), ErrorKind::unavailable);
    EXPECT_EQ(kind_of([&] { storage->health(); }), ErrorKind::unavailable);
  }
  server.start();
  EXPECT_EQ(storage->get("a"), std::nullopt);
  storage->put("a", Bytes{2}, "image/png");
  server.stop();
  server.start();  // between two requests
  storage->put("a", Bytes{3}, "image/png");
  EXPECT_EQ(storage->get("a"), (StoredObject{{3}, "image/png"}));
}

TEST(RedisStorage, AServerThatHangsHoldsNobodyUp) {
  const RedisServer server;
  const auto storage = open_storage(server.url(), {});
  storage->put("a", Bytes{1}, "image/png");
  server.freeze();
  EXPECT_EQ(kind_of([&] { storage->get("a"); }), ErrorKind::unavailable);
  server.thaw();
  EXPECT_TRUE(storage->get("a"));
}

TEST(RedisStorage, LogsInAndSelectsADatabase) {
  const RedisServer server("s3cret/@:");
  const std::string host = "@127.0.0.1:" + std::to_string(server.port());
  const auto storage = open_storage("redis://:s3cret%2F%40%3a" + host + "/3", {});
  storage->put("a", Bytes{1}, "image/png");
  EXPECT_TRUE(storage->get("a"));
  EXPECT_EQ(open_storage("redis://:s3cret/@:" + host, {})->get("a"), std::nullopt) << "in another database";
  for (const std::string& url :
       {"redis://:wrong" + host, "redis://" + host.substr(1), "redis://:s3cret/@:" + host + "/99"}) {
    const auto locked_out = open_storage(url, {});
    const std::string message = message_of([&] { locked_out->health(); });
    EXPECT_THAT(message, HasSubstr("storage redis://127.0.0.1")) << url;
    EXPECT_THAT(message, Not(HasSubstr("s3cret")));
    EXPECT_THAT(message, Not(HasSubstr("wrong")));
  }
}

TEST(RedisUrl, HasAHostAndPerhapsTheRest) {
  const auto parts = [](const std::string& url) {
    const RedisAddress address = parse_redis_url(url);
    return fmt::format("{}|{}|{}|{}", address.host, address.port, address.password, address.database);
  };
  EXPECT_EQ(parts("redis://cache"), "cache|6379||0");
  EXPECT_EQ(parts("redis://cache/"), "cache|6379||0");
  EXPECT_EQ(parts("redis://cache:7000"), "cache|7000||0");
  EXPECT_EQ(parts("redis://cache/4"), "cache|6379||4");
  EXPECT_EQ(parts("redis://:p%40ss@cache:7000/4"), "cache|7000|p@ss|4");
  EXPECT_EQ(parts("redis://[::1]:7000/1"), "::1|7000||1");
  for (const std::string url : {"redis://", "redis://:x", "redis://:@", "redis://h:x", "redis://h:70000",
                                "redis://h:1x", "redis://h/x", "redis://h/1/2", "redis://h/-1", "redis://user:x@h",
                                "redis://[::1", "redis://[::1]x", "redis://:%4@h", "redis://:%zz@h", "redis://h:"}) {
    EXPECT_THAT(message_of([&] { open_storage(url, {}); }), HasSubstr("redis://[:PASSWORD@]HOST[:PORT][/DB] is"))
        << url;
  }
}

TEST(OpenStorage, NoneIsNullAndNonsenseIsRefused) {
  EXPECT_EQ(open_storage("none", {}), nullptr);
  for (const char* where : {"", "file:", "files:/tmp/x", "s3://bucket", "/tmp/x", "None"}) {
    const auto open = [&] { open_storage(where, {}); };
    EXPECT_THAT(message_of(open), StartsWith("STORAGE=" + std::string(where) + ": not allowed; none, file:DIR or "));
    EXPECT_EQ(kind_of(open), ErrorKind::invalid_argument);
  }
}

TEST(StorageKey, NewOnesDifferAndAreAllowed) {
  std::set<std::string> keys;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = make_storage_key();
    EXPECT_THAT(key, ::testing::MatchesRegex("[0-9a-f]{32}"));
    keys.insert(key);
  }
  EXPECT_EQ(keys.size(), 1000u);
}

}  // namespace
}  // namespace dreamlab
