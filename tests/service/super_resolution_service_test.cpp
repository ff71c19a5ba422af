#include "service/super_resolution_service.h"

#include <gmock/gmock.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "golden_dir.h"
#include "upscaler_files.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

// What a caller is told of one picture.
class Receiver {
 public:
  std::function<void(SuperResolutionOutcome)> on_done() {
    return [state = state_](SuperResolutionOutcome outcome) {
      const std::lock_guard lock(state->mutex);
      ++state->calls;
      state->outcome = std::move(outcome);
      state->changed.notify_all();
    };
  }
  SuperResolutionOutcome outcome() const {
    std::unique_lock lock(state_->mutex);
    if (!state_->changed.wait_for(lock, 60s, [&] { return state_->calls > 0; }))
      throw std::runtime_error("no outcome came");
    return *state_->outcome;
  }
  SuperResolutionResult result() const {
    const SuperResolutionOutcome all = outcome();
    if (const auto* error = std::get_if<Error>(&all)) throw Error(*error);
    return std::get<SuperResolutionResult>(all);
  }
  ErrorKind error() const {
    const SuperResolutionOutcome all = outcome();
    const auto* error = std::get_if<Error>(&all);
    if (error == nullptr) throw std::runtime_error("a result came instead of an error");
    return error->kind();
  }
  int calls() const {
    const std::lock_guard lock(state_->mutex);
    return state_->calls;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    int calls = 0;
    std::optional<SuperResolutionOutcome> outcome;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

SuperResolutionRequest request_for(Image picture, int magnitude = 1) {
  SuperResolutionRequest request;
  request.picture = std::make_shared<Image>(std::move(picture));
  request.magnitude = magnitude;
  return request;
}

// A picture that keeps a worker busy for longer than any of these tests takes to stop it.
SuperResolutionRequest endless_request() {
  return request_for(test_picture(1200, 1200), 1);
}

std::string golden_upscaler() {
  return (golden_dir() / "models" / "tiny-esrgan.safetensors").string();
}

SuperResolutionOptions slow_service() {
  SuperResolutionOptions options;
  options.model_path = golden_upscaler();
  options.max_pixels = 1'000'000'000;
  options.device.threads = 1;
  options.device.dtype = "fp32";
  return options;
}

template <typename Condition>
bool soon(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// A service whose only worker is at an endless picture.
class BusyService : public testing::Test {
 protected:
  void start(SuperResolutionOptions options) {
    service = std::make_unique<SuperResolutionService>(options);
    running_token = service->submit(endless_request(), running.on_done());
    ASSERT_TRUE(soon([&] { return service->statistics().active == 1; }));
  }

  std::unique_ptr<SuperResolutionService> service;
  Receiver running;
  std::shared_ptr<CancelToken> running_token;
};

TEST(SuperResolutionService, AnswersWithTheFile) {
  SuperResolutionService service({});
  EXPECT_EQ(service.model(), "lanczos");
  EXPECT_EQ(service.scale(), 2);
  const Image picture = test_picture(30, 20);
  SuperResolutionRequest request = request_for(picture, 2);
  request.texts = {{"parameters", "a fox"}};
  Receiver png;
  service.submit(request, png.on_done());
  const SuperResolutionResult result = png.result();
  EXPECT_EQ(result.width, 120);
  EXPECT_EQ(result.height, 80);
  EXPECT_EQ(result.model, "lanczos");
  EXPECT_EQ(result.passes, 2);
  EXPECT_EQ(result.scale_per_pass, 2);
  EXPECT_GT(result.run_ms, 0);
  const DecodedImage decoded = decode_image(result.bytes, "result");
  EXPECT_EQ(decoded.format, ImageFormat::png);
  EXPECT_EQ(decoded.image.width, 120);
  EXPECT_EQ(decoded.image.height, 80);
  EXPECT_EQ(decoded.texts, request.texts);

  request.format = ImageFormat::jpeg;
  std::vector<size_t> sizes;
  for (const int quality : {20, 95}) {
    request.quality = quality;
    Receiver jpeg;
    service.submit(request, jpeg.on_done());
    const SuperResolutionResult file = jpeg.result();
    EXPECT_EQ(decode_image(file.bytes, "result").format, ImageFormat::jpeg);
    sizes.push_back(file.bytes.size());
  }
  EXPECT_LT(sizes[0], sizes[1]) << "the quality counts";
  ASSERT_TRUE(soon([&] { return service.statistics().active == 0; }));
  EXPECT_EQ(service.statistics().succeeded, 3u);
  EXPECT_GT(service.statistics().run_s, 0);
}

TEST(SuperResolutionService, RunsTheNetworkOfAFile) {
  SuperResolutionService service(slow_service());
  EXPECT_EQ(service.model(), "tiny-esrgan.safetensors");
  EXPECT_EQ(service.scale(), 4);
  std::vector<std::vector<uint8_t>> files;
  for (int i = 0; i < 2; ++i) {
    Receiver receiver;
    service.submit(request_for(test_picture(20, 15, 4)), receiver.on_done());
    const SuperResolutionResult result = receiver.result();
    EXPECT_EQ(result.width, 80);
    EXPECT_EQ(decode_image(result.bytes, "result").image.channels, 4);
    files.push_back(result.bytes);
  }
  EXPECT_EQ(files[0], files[1]);
}

TEST(SuperResolutionService, RefusesWhatCannotBeBeforeAnyWork) {
  SuperResolutionOptions options;
  options.max_pixels = 10'000;
  SuperResolutionService service(options);
  Receiver receiver;
  const auto expect_refused = [&](SuperResolutionRequest request, const std::string& message) {
    try {
      service.submit(std::move(request), receiver.on_done());
      FAIL() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  expect_refused(request_for(test_picture(51, 50), 1), "over 10000 pixels");
  expect_refused(request_for(test_picture(20, 20), 3), "pass 3 of 3");
  expect_refused(request_for(test_picture(20, 20), 4), "1..3 is allowed");
  expect_refused({}, "no picture");
  SuperResolutionRequest quality = request_for(test_picture(4, 4));
  quality.quality = 101;
  expect_refused(quality, "quality 101");
  Image clear = test_picture(4, 4, 4);
  clear.pixels[3] = 0;
  SuperResolutionRequest jpeg = request_for(clear);
  jpeg.format = ImageFormat::jpeg;
  expect_refused(jpeg, "JPEG");
  service.shut_down();
  EXPECT_EQ(receiver.calls(), 0);
  EXPECT_EQ(service.statistics().failed, 0u);
}

TEST(SuperResolutionService, AFileThatIsNoUpscalerStopsTheStart) {
  SuperResolutionOptions options;
  options.model_path = (golden_dir() / "models" / "tiny-sd15-lora-peft.safetensors").string();
  try {
    SuperResolutionService service(options);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("is a LoRA; an upscaler (RRDBNet or ESPCN) is expected"));
  }
}

TEST_F(BusyService, TurnsAwayWhatDoesNotFitTheQueue) {
  SuperResolutionOptions options = slow_service();
  options.queue_max = 2;
  ASSERT_NO_FATAL_FAILURE(start(options));
  Receiver first, second, third;
  service->submit(request_for(test_picture(8, 8)), first.on_done());
  const auto token = service->submit(request_for(test_picture(8, 8)), second.on_done());
  EXPECT_EQ(service->statistics().queue_depth, 2u);
  EXPECT_EQ(service->statistics().queue_max, 2u);
  try {
    service->submit(request_for(test_picture(8, 8)), third.on_done());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::busy);
  }
  EXPECT_EQ(service->statistics().turned_away, 1u);
  // Whoever leaves the queue makes room at once.
  token->cancel();
  EXPECT_EQ(second.error(), ErrorKind::cancelled);
  service->submit(request_for(test_picture(8, 8)), third.on_done());
  running_token->cancel();
  EXPECT_EQ(running.error(), ErrorKind::cancelled);
  EXPECT_EQ(first.result().width, 32);
  EXPECT_EQ(third.result().width, 32);
  for (const Receiver& receiver : {running, first, second, third}) EXPECT_EQ(receiver.calls(), 1);
  EXPECT_EQ(service->statistics().cancelled, 2u);
}

TEST_F(BusyService, TheCallersOwnTokenCancels) {
  ASSERT_NO_FATAL_FAILURE(start(slow_service()));
  SuperResolutionRequest request = request_for(test_picture(8, 8));
  request.cancel = std::make_shared<CancelToken>();
  Receiver receiver;
  EXPECT_EQ(service->submit(request, receiver.on_done()), request.cancel);
  request.cancel->cancel();
  EXPECT_EQ(receiver.error(), ErrorKind::cancelled);
  EXPECT_EQ(running.calls(), 0) << "the other goes on";
}

TEST_F(BusyService, DeadlinesPassInTheQueueAndAtWork) {
  SuperResolutionOptions options = slow_service();
  options.timeout_s = 0.3;
  ASSERT_NO_FATAL_FAILURE(start(options));
  Receiver waiting;
  service->submit(request_for(test_picture(8, 8)), waiting.on_done());
  EXPECT_EQ(running.error(), ErrorKind::timeout);
  EXPECT_FALSE(running_token->cancelled()) << "that is the caller's";
  const SuperResolutionOutcome outcome = waiting.outcome();
  // It may have had its turn in the moment between.
  if (const auto* error = std::get_if<Error>(&outcome)) {
    EXPECT_EQ(error->kind(), ErrorKind::timeout);
    EXPECT_STREQ(error->what(), "timed out: not upscaled within 0.3 s");
  }
  ASSERT_TRUE(soon([&] { return service->statistics().active == 0; })) << "the worker is free again";
  EXPECT_GE(service->statistics().timed_out, 1u);
}

TEST_F(BusyService, ShuttingDownAnswersEveryone) {
  ASSERT_NO_FATAL_FAILURE(start(slow_service()));
  Receiver waiting;
  service->submit(request_for(test_picture(8, 8)), waiting.on_done());
  service->shut_down();
  for (const Receiver& receiver : {running, waiting}) {
    EXPECT_EQ(receiver.calls(), 1);
    EXPECT_EQ(receiver.error(), ErrorKind::unavailable);
  }
  Receiver late;
  try {
    service->submit(request_for(test_picture(8, 8)), late.on_done());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
  }
  service.reset();
  EXPECT_EQ(late.calls(), 0);
}

TEST(SuperResolutionService, EveryoneIsAnsweredOnceUnderLoad) {
  SuperResolutionOptions options;
  options.workers = 3;
  options.queue_max = 8;
  SuperResolutionService service(options);
  constexpr int kClients = 4, kEach = 40;
  std::vector<Receiver> receivers(kClients * kEach);
  std::vector<int> accepted(receivers.size());
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; i < kEach; ++i) {
        const auto index = static_cast<size_t>(client * kEach + i);
        try {
          const auto token = service.submit(request_for(test_picture(40 + i, 30)), receivers[index].on_done());
          accepted[index] = 1;
          if (i % 5 == 0) token->cancel();
          if (i % 3 == 0) receivers[index].outcome();
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::busy);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  uint64_t answered = 0;
  for (size_t i = 0; i < receivers.size(); ++i) {
    if (accepted[i] == 0) continue;
    const SuperResolutionOutcome outcome = receivers[i].outcome();
    const auto* error = std::get_if<Error>(&outcome);
    EXPECT_TRUE(error == nullptr || error->kind() == ErrorKind::cancelled);
    ++answered;
  }
  service.shut_down();
  for (size_t i = 0; i < receivers.size(); ++i) EXPECT_EQ(receivers[i].calls(), accepted[i]);
  const SuperResolutionStatistics statistics = service.statistics();
  EXPECT_EQ(statistics.succeeded + statistics.cancelled, answered);
  EXPECT_EQ(statistics.turned_away, receivers.size() - answered);
  EXPECT_EQ(statistics.queue_depth + statistics.active, 0u);
}

TEST(SuperResolutionService, AReceiverThatThrowsHarmsNobody) {
  SuperResolutionService service({});
  service.submit(request_for(test_picture(8, 8)), [](SuperResolutionOutcome) { throw std::runtime_error("no"); });
  Receiver next;
  service.submit(request_for(test_picture(8, 8)), next.on_done());
  EXPECT_EQ(next.result().width, 16);
}

}  // namespace
}  // namespace dreamlab
