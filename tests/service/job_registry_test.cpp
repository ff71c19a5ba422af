// Jobs for those who come back for them: states, results for a while, events for any number of listeners.
#include "service/job_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "scripted_worker.h"
#include "submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

std::string text_of(const JobRecord& record) {
  return record.file ? std::string(record.file->bytes.begin(), record.file->bytes.end()) : "";
}

// Writes down what it hears.
class Hearer {
 public:
  JobRegistry::Listener listener() {
    return [this](const JobRecord& record) {
      const std::lock_guard lock(mutex_);
      heard_.push_back(record);
      changed_.notify_all();
    };
  }
  bool wait_for_end() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60),
                             [this] { return !heard_.empty() && heard_.back().has_ended(); });
  }
  std::vector<std::string> heard() {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const JobRecord& record : heard_) {
      lines.push_back(fmt::format("{} {}", name_of(record.progress.state), record.progress.step));
    }
    return lines;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<JobRecord> heard_;
};

class JobRegistryTest : public ::testing::Test {
 protected:
  JobRegistryTest() {
    ServiceOptions options;
    options.name = "test";
    options.batch_max = 1;
    service_ = std::make_unique<PipelineService>(options, ModeRegistry::single({}), script_.factory());
    EXPECT_TRUE(wait_until_ready(*service_));
  }
  ~JobRegistryTest() override { script_.let_steps_go(); }

  static bool wait_for_end(JobRegistry& registry, const std::string& id) {
    Hearer hearer;
    const auto subscription = registry.follow(id, hearer.listener());
    return subscription && hearer.wait_for_end();
  }

  Script script_;
  std::unique_ptr<PipelineService> service_;
};

TEST_F(JobRegistryTest, AJobIsFoundByItsIdWhileItWaitsRunsAndAfterwards) {
  JobRegistry registry;
  script_.hold_steps();
  const JobRecord first = registry.submit(*service_, request_of("a", 1));
  const JobRecord submitted = registry.submit(*service_, request_of("b", 1));
  EXPECT_EQ(submitted.progress.state, JobState::queued);
  EXPECT_GE(submitted.progress.position, 1);
  EXPECT_FALSE(submitted.has_ended());
  ASSERT_TRUE(script_.wait_for_held_step());
  script_.let_steps_go();
  ASSERT_TRUE(wait_for_end(registry, submitted.id));
  const JobRecord record = registry.find(submitted.id).value();
  EXPECT_EQ(record.progress.state, JobState::done);
  EXPECT_EQ(text_of(record), "scripted b.1");
  EXPECT_EQ(record.file->content_type, "image/png");
  EXPECT_EQ(record.submitted, submitted.submitted);
  EXPECT_GE(*record.ended, record.submitted);
  EXPECT_EQ(registry.find("0123"), std::nullopt);
  EXPECT_EQ(registry.size(), 2u);
}

TEST_F(JobRegistryTest, EveryListenerHearsEachEventOnceAndInOrder) {
  JobRegistry registry;
  script_.hold_steps();
  const std::string id = registry.submit(*service_, request_of("a", 3)).id;
  ASSERT_TRUE(script_.wait_for_held_step());
  while (registry.find(id)->progress.state != JobState::running) std::this_thread::yield();
  Hearer early, late, later;
  const auto a = registry.follow(id, early.listener());
  script_.let_one_step_go();
  ASSERT_TRUE(script_.wait_for_held_step());
  while (registry.find(id)->progress.step < 1) std::this_thread::yield();
  const auto b = registry.follow(id, late.listener());
  script_.let_steps_go();
  ASSERT_TRUE(early.wait_for_end());
  ASSERT_TRUE(late.wait_for_end());
  const auto c = registry.follow(id, later.listener());
  EXPECT_THAT(early.heard(), ElementsAre("running 0", "running 1", "running 2", "running 3", "done 3"));
  EXPECT_THAT(late.heard(), ElementsAre("running 1", "running 2", "running 3", "done 3"));
  EXPECT_THAT(later.heard(), ElementsAre("done 3"));
  EXPECT_EQ(registry.follow("0123", early.listener()), nullptr);
}

TEST_F(JobRegistryTest, AListenerThatLeftHearsNothingMore) {
  JobRegistry registry;
  script_.hold_steps();
  const std::string id = registry.submit(*service_, request_of("a", 2)).id;
  ASSERT_TRUE(script_.wait_for_held_step());
  std::atomic<int> heard = 0;
  auto subscription = registry.follow(id, [&](const JobRecord&) { ++heard; });
  subscription.reset();
  const int until_then = heard;
  script_.let_steps_go();
  ASSERT_TRUE(wait_for_end(registry, id));
  EXPECT_EQ(heard, until_then);
}

TEST_F(JobRegistryTest, AListenerMayLeaveFromItsOwnCall) {
  JobRegistry registry;
  script_.hold_steps();
  const std::string id = registry.submit(*service_, request_of("a", 2)).id;
  ASSERT_TRUE(script_.wait_for_held_step());
  std::unique_ptr<JobRegistry::Subscription> subscription;
  std::atomic<int> steps_heard = 0;
  std::atomic<bool> following = false;
  subscription = registry.follow(id, [&](const JobRecord& record) {
    if (record.progress.step == 0) return;
    while (!following) std::this_thread::yield();
    ++steps_heard;
    subscription.reset();
  });
  following = true;
  script_.let_steps_go();
  ASSERT_TRUE(wait_for_end(registry, id));
  EXPECT_EQ(steps_heard, 1);
}

TEST_F(JobRegistryTest, CancellingEndsTheJobAndIsWithoutEffectLater) {
  JobRegistry registry;
  script_.hold_steps();
  const std::string id = registry.submit(*service_, request_of("a")).id;
  ASSERT_TRUE(script_.wait_for_held_step());
  EXPECT_TRUE(registry.cancel(id));
  ASSERT_TRUE(wait_for_end(registry, id));
  EXPECT_EQ(registry.find(id)->progress.state, JobState::cancelled);
  EXPECT_EQ(registry.find(id)->error->kind(), ErrorKind::cancelled);
  EXPECT_TRUE(registry.cancel(id));
  EXPECT_FALSE(registry.cancel("0123"));
}

TEST_F(JobRegistryTest, AFailedJobKeepsItsError) {
  JobRegistry registry;
  const std::string id = registry.submit(*service_, request_of("oom")).id;
  ASSERT_TRUE(wait_for_end(registry, id));
  EXPECT_EQ(registry.find(id)->progress.state, JobState::failed);
  EXPECT_EQ(registry.find(id)->error->kind(), ErrorKind::out_of_memory);
  EXPECT_EQ(registry.find(id)->file, nullptr);
}

TEST_F(JobRegistryTest, WhatIsDoneToThePictureBelongsToTheJob) {
  JobRegistry registry;
  std::function<void(std::variant<JobFile, Error>)> done;
  std::shared_ptr<CancelToken> token;
  std::atomic<bool> called = false;
  const FinishJob finish = [&](JobResult, const std::shared_ptr<CancelToken>& cancel, auto end) {
    token = cancel;
    done = std::move(end);
    called = true;
  };
  const std::string id = registry.submit(*service_, request_of("a", 1), 0, false, finish).id;
  while (!called) std::this_thread::yield();
  EXPECT_EQ(registry.find(id)->progress.state, JobState::running);
  JobFile file;
  file.bytes = {1, 2, 3};
  file.details = {{"passes", "2"}};
  done(file);
  done(Error(ErrorKind::internal, "too late"));
  ASSERT_TRUE(wait_for_end(registry, id));
  EXPECT_EQ(registry.find(id)->file->bytes.size(), 3u);
  EXPECT_EQ(registry.find(id)->file->details.at("passes"), "2");

  called = false;
  const std::string second = registry.submit(*service_, request_of("a", 1), 0, false, finish).id;
  while (!called) std::this_thread::yield();
  EXPECT_FALSE(token->cancelled());
  registry.cancel(second);
  EXPECT_TRUE(token->cancelled());
  done(Error(ErrorKind::cancelled, "cancelled"));
  EXPECT_EQ(registry.find(second)->progress.state, JobState::cancelled);

  const FinishJob failing = [](JobResult, const auto&, auto) { fail(ErrorKind::too_large, "too large"); };
  const std::string third = registry.submit(*service_, request_of("a", 1), 0, false, failing).id;
  ASSERT_TRUE(wait_for_end(registry, third));
  EXPECT_EQ(registry.find(third)->error->kind(), ErrorKind::too_large);
}

TEST_F(JobRegistryTest, EndedJobsAreKeptForATimeANumberAndABoundOfBytes) {
  auto now = std::make_shared<std::atomic<int64_t>>(1'000'000);
  JobRegistryOptions options;
  options.keep_s = 10;
  options.max_ended = 3;
  options.max_bytes = 40;
  options.now = [now] { return JobRecord::Clock::time_point(std::chrono::seconds(*now)); };
  JobRegistry registry(options);
  const auto make = [&](const std::string& prompt) {
    const std::string id = registry.submit(*service_, request_of(prompt, 1)).id;
    EXPECT_TRUE(wait_for_end(registry, id));
    // The listener may hear of the end before the job is put among those that ended.
    SubmittedJob(*service_, request_of("x", 1)).result();
    return id;
  };
  const std::string a = make("a"), b = make("b"), c = make("c");  // 12 bytes each
  EXPECT_EQ(registry.size(), 3u);
  const std::string d = make("d");
  EXPECT_EQ(registry.find(a), std::nullopt) << "one more than max_ended is kept";
  EXPECT_TRUE(registry.find(b).has_value());
  const std::string e = make("eeeeeeeeeee");  // 22 bytes
  EXPECT_EQ(registry.find(c), std::nullopt) << "more than max_bytes are kept";
  EXPECT_TRUE(registry.find(d).has_value());
  *now += 5;
  const std::string f = make(std::string(100, 'f'));
  EXPECT_EQ(registry.size(), 1u);
  EXPECT_TRUE(registry.find(f).has_value()) << "the last one stays, however large";
  *now += 9;
  EXPECT_TRUE(registry.find(f).has_value());
  *now += 1;
  EXPECT_EQ(registry.find(f), std::nullopt) << "kept for too long";
  EXPECT_EQ(registry.size(), 0u);
}

TEST_F(JobRegistryTest, AJobThatIsNotTakenIsNotKept) {
  JobRegistry registry;
  EXPECT_THROW(registry.submit(*service_, request_of("a", 99)), Error);
  EXPECT_EQ(registry.size(), 0u);
}

TEST_F(JobRegistryTest, ListenersMayComeAndGoFromManyThreads) {
  JobRegistry registry;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string id = registry.submit(*service_, request_of("a", 5)).id;
        Hearer hearer, leaver;
        const auto subscription = registry.follow(id, hearer.listener());
        registry.follow(id, leaver.listener()).reset();
        if ((t + i) % 3 == 0) registry.cancel(id);
        if (!subscription || !hearer.wait_for_end()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(registry.size(), 40u);
}

}  // namespace
}  // namespace dreamlab
