// Jobs that are finished aside, while the next one begins: by workers that allow it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "scripted_worker.h"
#include "service/pipeline_service.h"
#include "submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

using Prompts = std::vector<std::string>;

class FinishAsideTest : public ::testing::Test {
 protected:
  FinishAsideTest() {
    script_.finish_aside();
    ServiceOptions options;
    options.name = "test";
    options.batch_max = 4;
    service_ = std::make_unique<PipelineService>(options, ModeRegistry::single({}), script_.factory());
    EXPECT_TRUE(wait_until_ready(*service_));
  }
  ~FinishAsideTest() override { script_.let_finishing_go(); }

  // A job that is held where it is finished.
  std::unique_ptr<SubmittedJob> start_finishing(const JobRequest& request) {
    script_.hold_finishing();
    auto job = std::make_unique<SubmittedJob>(*service_, request);
    EXPECT_TRUE(script_.wait_for_finishing(1));
    return job;
  }

  Script script_;
  std::unique_ptr<PipelineService> service_;
};

TEST_F(FinishAsideTest, TheNextJobMakesItsStepsMeanwhileAndOneMoreWaits) {
  const auto a = start_finishing(request_of("a", 1));
  const SubmittedJob b(*service_, request_of("b", 2)), c(*service_, request_of("c", 1));
  EXPECT_TRUE(script_.wait_for_passes(3));
  EXPECT_TRUE(b.wait_for([](const JobProgress& progress) { return progress.step == 2; }));
  EXPECT_FALSE(a->ended());
  EXPECT_FALSE(b.ended());
  EXPECT_EQ(c.ticket().progress().state, JobState::queued);
  EXPECT_EQ(service_->statistics().active, 2u);
  script_.let_finishing_go();
  EXPECT_EQ(a->text(), "scripted a.1");
  EXPECT_EQ(b.text(), "scripted b.1.2");
  EXPECT_EQ(c.text(), "scripted c.1");
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"a"}, Prompts{"b"}, Prompts{"b"}, Prompts{"c"}));
  EXPECT_EQ(script_.most_finishing(), 1);
}

TEST_F(FinishAsideTest, AResultComesThoughNothingElseIsToDo) {
  const auto a = start_finishing(request_of("a", 1));
  script_.let_finishing_go();
  EXPECT_EQ(a->text(), "scripted a.1");
  EXPECT_EQ(service_->statistics().succeeded, 1u);
}

TEST_F(FinishAsideTest, AJobEndsAtOnceWhenItIsCancelledThere) {
  const auto a = start_finishing(request_of("a", 1));
  a->ticket().cancel();
  EXPECT_EQ(a->error(), ErrorKind::cancelled);
  script_.let_finishing_go();
  EXPECT_EQ(SubmittedJob(*service_, request_of("b", 1)).text(), "scripted b.1");
  EXPECT_EQ(a->outcomes(), 1);
}

TEST_F(FinishAsideTest, AFailureThereIsThatJobsAlone) {
  const SubmittedJob a(*service_, request_of("finish fails", 1)), b(*service_, request_of("b", 1));
  EXPECT_EQ(a.error(), ErrorKind::out_of_memory);
  EXPECT_EQ(b.text(), "scripted b.1");
}

TEST_F(FinishAsideTest, ShuttingDownFailsTheJobAndWaitsForTheThread) {
  const auto a = start_finishing(request_of("a", 1));
  const auto down = std::async(std::launch::async, [this] { service_->shut_down(); });
  EXPECT_EQ(a->error(), ErrorKind::unavailable);
  EXPECT_EQ(down.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  script_.let_finishing_go();
  down.wait();
  service_.reset();
  EXPECT_EQ(script_.living_workers(), 0);
}

}  // namespace
}  // namespace dreamlab
