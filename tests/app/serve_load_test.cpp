// `dreamlab serve` with more clients than its queue holds, and ended in the middle of it.
#include <gmock/gmock.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/image.h"
#include "golden_dir.h"
#include "process.h"
#include "serve_process.h"
#include "service/storage.h"

namespace dreamlab {
namespace {

using ::testing::AnyOf;

constexpr const char* kPicture = R"({"prompt": "a fox", "size": "64x64", "num_inference_steps": 2, "seed": 1})";

std::map<std::string, std::string> environment(std::map<std::string, std::string> more) {
  more.emplace("MODEL", (golden_dir() / "models" / "tiny-sd15.safetensors").string());
  more.emplace("BATCH_MAX", "2");
  return more;
}

// Clients that ask for one picture after the other until they are stopped or the server is gone.
class Crowd {
 public:
  Crowd(int port, int clients) {
    for (int i = 0; i < clients; ++i) {
      threads_.emplace_back([this, port] {
        while (!stop_) {
          const PlainConnection connection(port);
          if (!connection.connected() || !connection.send(request_text("POST", "/generate", kPicture))) return;
          const PlainAnswer answer = connection.receive();
          const std::lock_guard lock(mutex_);
          answers_.push_back(answer);
        }
      });
    }
  }
  ~Crowd() { end(); }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  size_t count(int status) const {
    const std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count_if(answers_.begin(), answers_.end(),
                                             [&](const PlainAnswer& answer) { return answer.status == status; }));
  }
  bool wait_for(int status, size_t many) const {
    for (int i = 0; i < 12'000 && count(status) < many; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return count(status) >= many;
  }
  std::vector<PlainAnswer> end() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    return answers_;
  }

 private:
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<PlainAnswer> answers_;
  std::vector<std::thread> threads_;
};

TEST(ServeLoad, EveryRequestGetsAPictureOrIsTurnedAway) {
  ServeProcess server(DREAMLAB_BINARY, environment({{"QUEUE_MAX", "4"}}));
  ASSERT_TRUE(server.wait_until_ready());
  Crowd crowd(server.port(), 32);
  EXPECT_TRUE(crowd.wait_for(200, 20));
  EXPECT_TRUE(crowd.wait_for(429, 1)) << "32 clients, a queue of 4";
  EXPECT_EQ(ask_server(server.port(), "GET", "/health").status, 200) << "in the middle of it";
  std::set<std::string> pictures;
  for (const PlainAnswer& answer : crowd.end()) {
    EXPECT_THAT(answer.status, AnyOf(200, 429)) << answer.header << answer.body;
    EXPECT_TRUE(answer.whole) << answer.header;
    if (answer.status == 200) pictures.insert(answer.body);
    if (answer.status == 429) {
      EXPECT_NE(answer.header.find("Retry-After"), std::string::npos);
    }
  }
  EXPECT_EQ(pictures.size(), 1u) << "the same request, the same bytes, whoever was in the batch";
}

TEST(ServeLoad, WhoWaitsTooLongIsToldSo) {
  ServeProcess server(DREAMLAB_BINARY, environment({{"DEFAULT_TIMEOUT", "0.001"}}));
  ASSERT_TRUE(server.wait_until_ready());
  EXPECT_EQ(ask_server(server.port(), "POST", "/generate", kPicture).status, 504);
}

TEST(ServeLoad, EveryOpenRequestIsAnsweredWhenTheServerIsToEnd) {
  ServeProcess server(DREAMLAB_BINARY, environment({{"QUEUE_MAX", "16"}}));
  ASSERT_TRUE(server.wait_until_ready());
  constexpr int kClients = 12;
  std::vector<PlainAnswer> answers(kClients);
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (PlainAnswer& answer : answers) {
    clients.emplace_back([&server, &answer, &answered] {
      answer = ask_server(server.port(), "POST", "/generate",
                          R"({"prompt": "a fox", "size": "512x512", "num_inference_steps": 50})");
      ++answered;
    });
  }
  const auto in_the_server = [&] {
    const auto status = nlohmann::json::parse(ask_server(server.port(), "GET", "/api/models/status").body);
    const auto& queue = status.at("sd").at("queue");
    return queue.at("waiting").get<int>() + queue.at("running").get<int>() + answered;
  };
  for (int i = 0; i < 6'000 && in_the_server() < kClients; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(server.end(SIGTERM), 0);
  for (std::thread& client : clients) client.join();
  size_t refused = 0;
  for (const PlainAnswer& answer : answers) {
    EXPECT_THAT(answer.status, AnyOf(200, 503)) << answer.header << answer.body;
    EXPECT_TRUE(answer.whole) << answer.header;
    if (answer.status == 503) ++refused;
  }
  EXPECT_GT(refused, 0u) << "those that were in the queue";
}

TEST(ServeLoad, KillingTheServerLeavesWholePicturesOnly) {
  const TemporaryDirectory scratch;
  size_t found = 0;
  for (int round = 0; round < 3; ++round) {
    ServeProcess server(DREAMLAB_BINARY, environment({{"STORAGE", "file:" + scratch / "store"}}));
    ASSERT_TRUE(server.wait_until_ready());
    Crowd crowd(server.port(), 6);
    ASSERT_TRUE(crowd.wait_for(200, static_cast<size_t>(2 + 3 * round)));
    server.end(SIGKILL);
    crowd.end();

    const auto storage = open_storage("file:" + scratch / "store", {});
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path() / "store")) {
      ASSERT_EQ(entry.path().extension(), ".dlobj") << entry.path();
      const auto object = storage->get(entry.path().stem().string());
      ASSERT_TRUE(object) << entry.path();
      EXPECT_EQ(object->content_type, "image/png");
      EXPECT_EQ(decode_image(object->bytes, entry.path().string()).image.width, 64) << entry.path();
      ++found;
    }
  }
  EXPECT_GE(found, 9u);
}

}  // namespace
}  // namespace dreamlab
