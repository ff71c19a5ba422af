// Jobs that share network calls: who joins, who leaves, who waits, and who is harmed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "scripted_worker.h"
#include "service/pipeline_service.h"
#include "submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

using Prompts = std::vector<std::string>;

class BatchingTest : public ::testing::Test {
 protected:
  ~BatchingTest() override { script_.let_steps_go(); }

  PipelineService& start(int batch_max, double tuning_s = 0, int workers = 1) {
    ServiceOptions options;
    options.name = "test";
    options.batch_max = batch_max;
    options.tuning_s = tuning_s;
    options.workers = workers;
    service_ = std::make_unique<PipelineService>(options, ModeRegistry::single({}), script_.factory());
    EXPECT_TRUE(wait_until_ready(*service_));
    return *service_;
  }
  // Submits a job, and waits until its first step is being held.
  std::unique_ptr<SubmittedJob> start_held(const JobRequest& request) {
    script_.hold_steps();
    auto job = std::make_unique<SubmittedJob>(*service_, request);
    EXPECT_TRUE(script_.wait_for_held_step());
    return job;
  }

  Script script_;
  std::unique_ptr<PipelineService> service_;
};

TEST_F(BatchingTest, AJobJoinsAtTheNextStepAndLeavesWhenItIsDone) {
  PipelineService& service = start(4);
  const auto a = start_held(request_of("a", 3));
  const SubmittedJob b(service, request_of("b", 1)), c(service, request_of("c", 3));
  script_.let_steps_go();
  EXPECT_EQ(a->text(), "scripted a.1.2.3");
  EXPECT_EQ(b.text(), "scripted b.1");
  EXPECT_EQ(c.text(), "scripted c.1.2.3");
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"a", "b", "c"}, Prompts{"a", "c"}, Prompts{"c"}));
  service.shut_down();
  EXPECT_EQ(service.statistics().steps, 4u);
  EXPECT_EQ(service.statistics().images_in_steps, 7u);
}

TEST_F(BatchingTest, NoMoreThanBatchMaxShareACall) {
  PipelineService& service = start(2);
  const auto a = start_held(request_of("a", 1));
  const SubmittedJob b(service, request_of("b", 2)), c(service, request_of("c", 1)), d(service, request_of("d", 1));
  script_.let_steps_go();
  d.result();
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"b", "c"}, Prompts{"b", "d"}));
}

TEST_F(BatchingTest, JobsShareACallOnlyWhereMemoryAllows) {
  ServiceOptions options;
  options.batch_max = 4;
  // Enough for the activations of one more row of 64x64, not for two.
  options.available_bytes = [] { return uint64_t{1} << 22; };
  service_ = std::make_unique<PipelineService>(options, ModeRegistry::single({}), script_.factory());
  ASSERT_TRUE(wait_until_ready(*service_));
  const auto a = start_held(request_of("a", 1, "64x64"));
  JobRequest guided = request_of("b", 2, "64x64");
  guided.guidance_scale = 5;
  const SubmittedJob b(*service_, request_of("c", 2, "64x64")), c(*service_, guided);
  script_.let_steps_go();
  c.result();
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"c"}, Prompts{"b"}, Prompts{"c"}, Prompts{"b"}));
  script_.hold_steps();
  const SubmittedJob d(*service_, request_of("d", 1, "64x64"));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob e(*service_, request_of("e", 1, "64x64")), f(*service_, request_of("f", 1, "64x64"));
  script_.let_steps_go();
  f.result();
  EXPECT_EQ(script_.passes().back(), (Prompts{"e", "f"}));
}

TEST_F(BatchingTest, SizesDoNotShareACallButAdvanceInTurn) {
  PipelineService& service = start(4);
  const auto a = start_held(request_of("a", 3, "64x64"));
  const SubmittedJob b(service, request_of("b", 2, "72x64")), c(service, request_of("c", 1, "64x64"));
  script_.let_steps_go();
  a->result();
  b.result();
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"a", "c"}, Prompts{"b"}, Prompts{"a"}, Prompts{"b"}));
}

TEST_F(BatchingTest, AJobOfAnotherSizeDoesNotStarve) {
  PipelineService& service = start(2);
  const auto first = start_held(request_of("small", 2, "64x64"));
  std::vector<std::unique_ptr<SubmittedJob>> before, after;
  before.push_back(std::make_unique<SubmittedJob>(service, request_of("small", 2, "64x64")));
  const SubmittedJob large(service, request_of("large", 1, "128x128"));
  for (int i = 0; i < 10; ++i) {
    after.push_back(std::make_unique<SubmittedJob>(service, request_of("later", 2, "64x64")));
  }
  script_.let_steps_go();
  large.result();
  for (const auto& job : after) job->result();
  const std::vector<Prompts> passes = script_.passes();
  const auto of_large = std::find(passes.begin(), passes.end(), Prompts{"large"});
  ASSERT_NE(of_large, passes.end());
  const auto with_later = std::find_if(passes.begin(), passes.end(), [](const Prompts& prompts) {
    return std::find(prompts.begin(), prompts.end(), "later") != prompts.end();
  });
  EXPECT_LE(of_large - passes.begin(), (with_later - passes.begin()) + 1) << "jobs that came later went before";
}

TEST_F(BatchingTest, OnlyTheGuiltyJobFails) {
  PipelineService& service = start(8);
  const auto a = start_held(request_of("a", 2));
  const SubmittedJob b(service, request_of("oom", 2)), c(service, request_of("c", 2)), d(service, request_of("int", 2));
  script_.let_steps_go();
  EXPECT_EQ(a->text(), "scripted a.1.2");
  EXPECT_EQ(b.error(), ErrorKind::out_of_memory);
  EXPECT_EQ(c.text(), "scripted c.1.2");
  EXPECT_EQ(d.error(), ErrorKind::internal);
  EXPECT_EQ(SubmittedJob(service, request_of("e", 1)).text(), "scripted e.1");
}

TEST_F(BatchingTest, ACancelledJobDoesNotEndTheCallOfOthers) {
  PipelineService& service = start(4);
  const auto a = start_held(request_of("a", 2));
  const SubmittedJob b(service, request_of("b", 3));
  script_.let_one_step_go();
  ASSERT_TRUE(b.wait_for([](const JobProgress& progress) { return progress.state == JobState::running; }));
  ASSERT_TRUE(script_.wait_for_held_step());
  a->ticket().cancel();
  EXPECT_EQ(a->error(), ErrorKind::cancelled);
  script_.let_steps_go();
  EXPECT_EQ(b.text(), "scripted b.1.2.3");
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"a", "b"}, Prompts{"b"}, Prompts{"b"}));
}

TEST_F(BatchingTest, ACallEndsEarlyWhenAllItsJobsAreCancelled) {
  PipelineService& service = start(4);
  const auto a = start_held(request_of("a", 9));
  const SubmittedJob b(service, request_of("b", 9));
  script_.let_one_step_go();
  ASSERT_TRUE(a->wait_for([](const JobProgress& progress) { return progress.step == 1; }));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob next(service, request_of("next", 1));
  a->ticket().cancel();
  b.ticket().cancel();
  EXPECT_TRUE(next.wait_for([](const JobProgress& progress) { return progress.state == JobState::running; }))
      << "the call of nobody was not ended";
  script_.let_steps_go();
  EXPECT_EQ(next.text(), "scripted next.1");
}

TEST_F(BatchingTest, BatchesGrowWithWhatIsMeasuredFromLiveCalls) {
  PipelineService& service = start(0);
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  jobs.push_back(start_held(request_of("a", 10)));
  for (int i = 0; i < 60; ++i) jobs.push_back(std::make_unique<SubmittedJob>(service, request_of("a", 10)));
  script_.let_steps_go();
  for (const auto& job : jobs) EXPECT_EQ(job->text(), "scripted a.1.2.3.4.5.6.7.8.9.10");
  const std::vector<Prompts> passes = script_.passes();
  EXPECT_THAT(passes, Contains(::testing::SizeIs(2)));
  EXPECT_EQ(passes[0].size(), 1u);
  EXPECT_EQ(passes[1].size(), 1u) << "two share a call before it is known what one costs";
}

TEST_F(BatchingTest, JobsMakeTheirFirstStepSoonEvenWhereCallsAreNotShared) {
  PipelineService& service = start(0);
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  jobs.push_back(start_held(request_of("a", 4)));
  for (const char* prompt : {"b", "c", "d", "e", "f", "g", "h"}) {
    jobs.push_back(std::make_unique<SubmittedJob>(service, request_of(prompt, 4)));
  }
  script_.let_steps_go();
  for (const auto& job : jobs) job->result();
  std::vector<Prompts> passes = script_.passes();
  ASSERT_GE(passes.size(), 9u);
  passes.resize(9);
  EXPECT_THAT(passes, ElementsAre(Prompts{"a"}, Prompts{"a"}, Prompts{"b"}, Prompts{"c"}, Prompts{"d"}, Prompts{"e"},
                                  Prompts{"f"}, Prompts{"g"}, Prompts{"h"}));
}

// Steps of 100 ms, four to a job, and a deadline that three jobs meet together, but not eight: those that were taken up
// first are done in time, and the others wait meanwhile.
TEST_F(BatchingTest, JobsThatWouldMakeOthersLateWait) {
  PipelineService& service = start(8);
  script_.take_per_row(std::chrono::milliseconds(100));
  SubmittedJob(service, request_of("first", 1)).result();  // what a step takes is known now
  SubmitOptions in_time;
  in_time.timeout_s = 1.4;
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(std::make_unique<SubmittedJob>(service, request_of("a", 4), in_time));
  }
  int done = 0;
  for (const auto& job : jobs) {
    const auto error = job->error();
    done += !error;
    EXPECT_TRUE(!error || error == ErrorKind::timeout);
  }
  EXPECT_GE(done, 1) << "all of them together would be late";
  size_t largest = 0;
  for (const Prompts& pass : script_.passes()) largest = std::max(largest, pass.size());
  EXPECT_LT(largest, 8u);
}

TEST_F(BatchingTest, IdleTimeAfterLoadingIsUsedToMeasure) {
  PipelineService& service = start(0, 60);
  for (int i = 0; i < 60'000 && script_.passes().size() < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const std::vector<Prompts> passes = script_.passes();
  ASSERT_GE(passes.size(), 3u);
  EXPECT_THAT(passes[0], ElementsAre(""));
  // None of that is counted as work.
  EXPECT_EQ(service.statistics().steps, 0u);
  EXPECT_EQ(SubmittedJob(service, request_of("a", 2)).text(), "scripted a.1.2");
}

TEST_F(BatchingTest, WorkInterruptsMeasuring) {
  script_.hold_steps();
  PipelineService& service = start(0, 60);
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob job(service, request_of("a", 2));
  // The held call is one of the measurement's; it is never let through.
  EXPECT_TRUE(job.wait_for([](const JobProgress& progress) { return progress.state == JobState::running; }));
  script_.let_steps_go();
  EXPECT_EQ(job.text(), "scripted a.1.2");
}

TEST_F(BatchingTest, AnIdleWorkerGoesBeforeOneWithRoomForMore) {
  PipelineService& service = start(4, 0, 2);
  // Both have their model.
  ASSERT_TRUE([&] {
    for (int i = 0; i < 60'000 && script_.living_workers() < 2; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return script_.living_workers() == 2;
  }());
  const auto a = start_held(request_of("a", 2));
  const SubmittedJob b(service, request_of("b", 2));
  ASSERT_TRUE(b.wait_for([](const JobProgress& progress) { return progress.state == JobState::running; }));
  script_.let_steps_go();
  a->result();
  b.result();
  EXPECT_THAT(script_.passes(), UnorderedElementsAre(Prompts{"a"}, Prompts{"a"}, Prompts{"b"}, Prompts{"b"}));
}

}  // namespace
}  // namespace dreamlab
