// What submitters may rely on: every job ends exactly once, whatever happens, and its listeners hear in order.
#include "service/pipeline_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "scripted_worker.h"
#include "submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::shared_ptr<ModeRegistry> no_modes() {
  return ModeRegistry::single({});
}

class PipelineServiceTest : public ::testing::Test {
 protected:
  ~PipelineServiceTest() override { script_.let_steps_go(); }

  PipelineService& start(size_t queue_max = 64, int batch_max = 1, int workers = 1) {
    ServiceOptions options;
    options.name = "test";
    options.queue_max = queue_max;
    options.batch_max = batch_max;
    options.workers = workers;
    service_ = std::make_unique<PipelineService>(options, no_modes(), script_.factory());
    EXPECT_TRUE(wait_until_ready(*service_)) << service_->load_error();
    return *service_;
  }

  Script script_;
  std::unique_ptr<PipelineService> service_;
};

TEST_F(PipelineServiceTest, AJobGivesItsResult) {
  PipelineService& service = start();
  const SubmittedJob job(service, request_of("a"));
  EXPECT_EQ(job.text(), "scripted a.1.2.3");
  EXPECT_FALSE(job.result().latents.has_value());
  SubmitOptions options;
  options.with_latents = true;
  EXPECT_TRUE(SubmittedJob(service, request_of("b"), options).result().latents.has_value());
}

TEST_F(PipelineServiceTest, ProgressComesInOrderAndNeverAfterTheOutcome) {
  PipelineService& service = start();
  SubmitOptions options;
  options.previews = true;
  const SubmittedJob job(service, request_of("a", 2), options);
  job.result();
  service.shut_down();
  std::vector<std::string> told;
  for (const JobProgress& progress : job.progress()) {
    told.push_back(fmt::format("{} {} {}/{} {}", name_of(progress.state), progress.position, progress.step,
                               progress.steps, progress.preview ? progress.preview->height : 0));
  }
  EXPECT_THAT(told,
              ElementsAre("queued 1 0/0 0", "running 0 0/0 0", "running 0 1/2 9", "running 0 2/2 10", "done 0 2/2 10"));
  EXPECT_FALSE(job.late());
  EXPECT_EQ(job.ticket().progress().state, JobState::done);
}

TEST_F(PipelineServiceTest, JobsLearnHowTheyMoveUpTheQueue) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a", 1));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob second(service, request_of("b", 1)), third(service, request_of("c", 1)),
      fourth(service, request_of("d", 1));
  EXPECT_EQ(fourth.ticket().progress().position, 3);
  third.ticket().cancel();
  EXPECT_TRUE(fourth.wait_for([](const JobProgress& progress) { return progress.position == 2; }));
  script_.let_steps_go();
  fourth.result();
  std::vector<int> positions;
  for (const JobProgress& progress : fourth.progress()) {
    if (progress.state == JobState::queued) positions.push_back(progress.position);
  }
  EXPECT_THAT(positions, ElementsAre(3, 2, 1));
}

TEST_F(PipelineServiceTest, AFullQueueTurnsAwayAndTakesAgainWhenItMovesOn) {
  PipelineService& service = start(2);
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a"));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob second(service, request_of("b")), third(service, request_of("c"));
  try {
    SubmittedJob(service, request_of("d"));
    ADD_FAILURE() << "a third waiting job was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::busy) << error.what();
  }
  third.ticket().cancel();
  const SubmittedJob fits(service, request_of("e"));
  script_.let_steps_go();
  EXPECT_EQ(fits.text(), "scripted e.1.2.3");
  EXPECT_EQ(service.statistics().turned_away, 1u);
}

TEST_F(PipelineServiceTest, WhatTheWorkerRefusesIsRefusedAtOnce) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a"));
  for (const JobRequest& bad : {request_of("refused by scripted"), request_of("a", 51), request_of("a", 1, "65x64")}) {
    try {
      SubmittedJob(service, bad);
      ADD_FAILURE() << bad.prompt << " " << bad.size << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << error.what();
    }
  }
  JobRequest other_mode = request_of("a");
  other_mode.mode = "photo";
  EXPECT_THROW(SubmittedJob(service, other_mode), Error);
}

TEST_F(PipelineServiceTest, ACancelledJobInTheQueueEndsAtOnce) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a"));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob waiting(service, request_of("b"));
  waiting.ticket().cancel();
  EXPECT_EQ(waiting.error(), ErrorKind::cancelled);
  EXPECT_FALSE(running.ended());
  EXPECT_EQ(service.statistics().queue_depth, 0u);
  script_.let_steps_go();
  running.result();
  EXPECT_EQ(waiting.outcomes(), 1);
}

TEST_F(PipelineServiceTest, ACancelledRunningJobEndsWithinTheStepAndTheNextStartsAtOnce) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a"));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob next(service, request_of("b"));
  running.ticket().cancel();
  running.ticket().cancel();
  EXPECT_EQ(running.error(), ErrorKind::cancelled);
  // The step of the cancelled job is never let through; only by being ended does it make way.
  EXPECT_TRUE(next.wait_for([](const JobProgress& progress) { return progress.state == JobState::running; }));
  script_.let_steps_go();
  EXPECT_EQ(next.text(), "scripted b.1.2.3");
  EXPECT_EQ(running.outcomes(), 1);
  EXPECT_EQ(running.progress().back().state, JobState::cancelled);
  running.ticket().cancel();
  EXPECT_EQ(running.outcomes(), 1);
}

TEST_F(PipelineServiceTest, DeadlinesEndJobsInTheQueueAndInAStep) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob patient(service, request_of("a"));
  ASSERT_TRUE(script_.wait_for_held_step());
  SubmitOptions hurried;
  hurried.timeout_s = 0.02;
  // Neither is at the head of the queue, and nothing moves.
  const SubmittedJob also_patient(service, request_of("b"));
  const SubmittedJob queued(service, request_of("c"), hurried);
  EXPECT_EQ(queued.error(), ErrorKind::timeout);
  EXPECT_FALSE(patient.ended());
  EXPECT_FALSE(also_patient.ended());
  patient.ticket().cancel();
  also_patient.ticket().cancel();
  hurried.timeout_s = 0.2;
  const SubmittedJob running(service, request_of("d"), hurried);
  EXPECT_EQ(running.error(), ErrorKind::timeout);
  EXPECT_EQ(running.progress().back().state, JobState::failed);
  script_.let_steps_go();
  EXPECT_EQ(SubmittedJob(service, request_of("e")).text(), "scripted e.1.2.3");
  EXPECT_EQ(service.statistics().timed_out, 2u);
}

TEST_F(PipelineServiceTest, TheServicesOwnTimeoutCountsWhereTheJobHasNone) {
  ServiceOptions options;
  options.batch_max = 1;
  options.timeout_s = 0.02;
  PipelineService service(options, no_modes(), script_.factory());
  ASSERT_TRUE(wait_until_ready(service));
  script_.hold_steps();
  EXPECT_EQ(SubmittedJob(service, request_of("a")).error(), ErrorKind::timeout);
}

TEST_F(PipelineServiceTest, WhateverAJobThrowsEndsItAlone) {
  PipelineService& service = start();
  const std::pair<const char*, ErrorKind> cases[] = {
      {"oom", ErrorKind::out_of_memory},       {"throw", ErrorKind::internal},
      {"bad_alloc", ErrorKind::out_of_memory}, {"int", ErrorKind::internal},
      {"start fails", ErrorKind::internal},    {"finish fails", ErrorKind::out_of_memory},
  };
  for (const auto& [prompt, kind] : cases) {
    EXPECT_EQ(SubmittedJob(service, request_of(prompt)).error(), kind) << prompt;
    EXPECT_EQ(SubmittedJob(service, request_of("a")).text(), "scripted a.1.2.3") << "after " << prompt;
  }
  EXPECT_EQ(service.statistics().failed, std::size(cases));
}

TEST_F(PipelineServiceTest, AListenerThatThrowsHarmsNobody) {
  PipelineService& service = start();
  std::atomic<int> called = 0;
  SubmitOptions options;
  options.on_progress = [](const JobProgress&) { throw std::runtime_error("from a listener"); };
  options.on_done = [&](JobOutcome) {
    ++called;
    throw std::runtime_error("from a listener");
  };
  service.submit(request_of("a"), options);
  EXPECT_EQ(SubmittedJob(service, request_of("b")).text(), "scripted b.1.2.3");
  service.shut_down();
  EXPECT_EQ(called, 1);
}

TEST_F(PipelineServiceTest, AListenerMayCallTheService) {
  PipelineService& service = start();
  std::unique_ptr<SubmittedJob> from_listener;
  std::atomic<bool> done = false;
  SubmitOptions options;
  options.on_done = [&](JobOutcome) {
    service.statistics();
    from_listener = std::make_unique<SubmittedJob>(service, request_of("b"));
    done = true;
  };
  service.submit(request_of("a"), options);
  while (!done) std::this_thread::yield();
  EXPECT_EQ(from_listener->text(), "scripted b.1.2.3");
}

TEST_F(PipelineServiceTest, ShuttingDownEndsQueuedAndRunningJobsWithOneOutcomeEach) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob running(service, request_of("a"));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob second(service, request_of("b")), third(service, request_of("c"));
  service.shut_down();
  for (const SubmittedJob* job : {&running, &second, &third}) {
    EXPECT_EQ(job->outcomes(), 1);
    EXPECT_EQ(job->error(), ErrorKind::unavailable);
  }
  EXPECT_FALSE(service.ready());
  try {
    SubmittedJob(service, request_of("d"));
    ADD_FAILURE() << "taken after the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable) << error.what();
  }
  service.shut_down();
  // A ticket outlives the service.
  service_.reset();
  running.ticket().cancel();
  EXPECT_EQ(running.ticket().progress().state, JobState::failed);
  EXPECT_EQ(script_.living_workers(), 0);
}

TEST_F(PipelineServiceTest, AModelThatDoesNotLoadIsSaid) {
  script_.fail_loads_of("");
  ServiceOptions options;
  PipelineService service(options, no_modes(), script_.factory());
  EXPECT_FALSE(wait_until_ready(service));
  EXPECT_THAT(service.load_error(), HasSubstr("damaged"));
  EXPECT_EQ(service.worker(), nullptr);
  try {
    SubmittedJob(service, request_of("a"));
    ADD_FAILURE() << "taken without a model";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("damaged"));
  }
  // The cause is removed, and the operator says so.
  script_.fail_loads_of("", false);
  service.reload_modes();
  for (int i = 0; i < 60'000 && !service.ready(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(service.ready());
  EXPECT_EQ(service.load_error(), "");
}

TEST_F(PipelineServiceTest, JobsAreRefusedWhileTheFirstModelLoads) {
  script_.hold_loads();
  ServiceOptions options;
  options.batch_max = 1;
  PipelineService service(options, no_modes(), script_.factory());
  EXPECT_FALSE(service.ready());
  EXPECT_THROW(SubmittedJob(service, request_of("a")), Error);
  script_.let_loads_go();
  ASSERT_TRUE(wait_until_ready(service));
  EXPECT_EQ(SubmittedJob(service, request_of("a")).text(), "scripted a.1.2.3");
}

TEST_F(PipelineServiceTest, UnderLoadFromManyThreadsEveryJobEndsExactlyOnce) {
  for (const auto& [workers, batch] : {std::pair(1, 1), std::pair(1, 4), std::pair(3, 2)}) {
    PipelineService& service = start(16, batch, workers);
    constexpr int kThreads = 8, kJobs = 60;
    std::atomic<int> taken = 0, turned_away = 0, ended = 0, twice = 0, wrong = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kJobs; ++i) {
          const std::string prompt = i % 7 == 3 ? "oom" : fmt::format("{} {}", t, i);
          SubmitOptions options;
          if (i % 5 == 4) options.timeout_s = 0.0005;
          const auto told = std::make_shared<std::atomic<int>>(0);
          options.on_progress = [&, told](const JobProgress&) {
            if (*told != 0) ++wrong;
          };
          options.on_done = [&, told, prompt](const JobOutcome& outcome) {
            if (told->fetch_add(1) != 0) ++twice;
            const auto* result = std::get_if<JobResult>(&outcome);
            const std::string expected = "scripted " + prompt + ".1.2";
            if (result && std::string(result->png.begin(), result->png.end()) != expected) ++wrong;
            ++ended;
          };
          try {
            const auto ticket = service.submit(request_of(prompt, 2, i % 3 == 0 ? "64x64" : "72x64"), options);
            ++taken;
            if (i % 4 == 1) ticket->cancel();
          } catch (const Error& error) {
            if (error.kind() != ErrorKind::busy) ++wrong;
            ++turned_away;
            std::this_thread::yield();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    service.shut_down();
    EXPECT_EQ(ended, taken);
    EXPECT_EQ(taken + turned_away, kThreads * kJobs);
    EXPECT_EQ(twice, 0);
    EXPECT_EQ(wrong, 0);
    const ServiceStatistics counts = service.statistics();
    EXPECT_EQ(counts.submitted, static_cast<uint64_t>(taken));
    EXPECT_EQ(counts.succeeded + counts.failed + counts.cancelled + counts.timed_out, counts.submitted);
    EXPECT_EQ(counts.turned_away, static_cast<uint64_t>(turned_away));
    EXPECT_EQ(counts.queue_depth, 0u);
    EXPECT_EQ(counts.active, 0u);
  }
}

TEST_F(PipelineServiceTest, StatisticsCountWhatHappened) {
  PipelineService& service = start();
  EXPECT_TRUE(service.statistics().ready);
  SubmittedJob(service, request_of("a", 2)).result();
  SubmittedJob(service, request_of("b", 3)).result();
  SubmittedJob(service, request_of("throw")).error();
  const ServiceStatistics counts = service.statistics();
  EXPECT_EQ(counts.submitted, 3u);
  EXPECT_EQ(counts.succeeded, 2u);
  EXPECT_EQ(counts.failed, 1u);
  EXPECT_EQ(counts.steps, 5u);
  EXPECT_EQ(counts.images_in_steps, 5u);
  EXPECT_DOUBLE_EQ(counts.text_s, 4);
  EXPECT_DOUBLE_EQ(counts.decode_s, 6);
  EXPECT_DOUBLE_EQ(counts.encode_png_s, 8);
  EXPECT_GE(counts.wait_s, 0);
  EXPECT_GT(counts.run_s, 0);
  EXPECT_GT(counts.denoise_s, 0);
  EXPECT_EQ(counts.queue_max, 64u);
  EXPECT_GT(counts.resident_bytes, 1u << 20);
}

TEST_F(PipelineServiceTest, IdsAreLongAndDiffer) {
  PipelineService& service = start();
  const SubmittedJob a(service, request_of("a")), b(service, request_of("b"));
  EXPECT_EQ(a.ticket().id().size(), 32u);
  EXPECT_NE(a.ticket().id(), b.ticket().id());
  a.result();
  b.result();
}

}  // namespace
}  // namespace dreamlab
