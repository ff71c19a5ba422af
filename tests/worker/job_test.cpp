#include "worker/job.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace dreamlab {
namespace {

TEST(Job, DeliversTheFirstOutcomeAndNoOther) {
  std::vector<JobOutcome> outcomes;
  Job job({}, [&](JobOutcome outcome) { outcomes.push_back(std::move(outcome)); });
  EXPECT_FALSE(job.ended());
  JobResult result;
  result.seed = 7;
  EXPECT_TRUE(job.succeed(result));
  EXPECT_TRUE(job.ended());
  EXPECT_FALSE(job.succeed({}));
  EXPECT_FALSE(job.fail(Error(ErrorKind::timeout, "late")));
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(std::get<JobResult>(outcomes[0]).seed, 7u);
}

TEST(Job, ThatIsDroppedDeliversAnError) {
  std::vector<JobOutcome> outcomes;
  {
    Job job({}, [&](JobOutcome outcome) { outcomes.push_back(std::move(outcome)); });
  }
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(std::get<Error>(outcomes[0]).kind(), ErrorKind::internal);
}

TEST(Job, EndsOnceHoweverManyThreadsEndIt) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> delivered{0}, first{0};
    Job job({}, [&](const JobOutcome&) { ++delivered; });
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back(
          [&, i] { first += i % 2 == 0 ? job.succeed({}) : job.fail(Error(ErrorKind::timeout, "late")); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(delivered.load(), 1);
    EXPECT_EQ(first.load(), 1);
  }
}

TEST(Job, MayBeLookedAtFromItsOwnDelivery) {
  bool ended = false;
  Job* self = nullptr;
  Job job({}, [&](const JobOutcome&) { ended = self->ended(); });
  self = &job;
  job.succeed({});
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace dreamlab
