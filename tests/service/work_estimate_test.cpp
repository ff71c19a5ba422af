// What jobs are going to take, and whether one more leaves the others time, by made-up figures.
#include "service/work_estimate.h"

#include <gtest/gtest.h>

#include <vector>

namespace dreamlab {
namespace {

using Clock = std::chrono::steady_clock;

constexpr PictureSize kSmall{256, 256}, kLarge{512, 512};
const Clock::time_point kNow{};

WorkLeft work(int steps, double step_s, double end_s, double until_deadline_s) {
  return {step_s, end_s, steps,
          kNow + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(until_deadline_s))};
}

TEST(WorkEstimate, KnowsWhatItWasTold) {
  WorkEstimate estimate;
  EXPECT_FALSE(estimate.known());
  EXPECT_EQ(estimate.step_of(kSmall, 2), 0);
  estimate.record_step(kSmall, 4, 2.0);
  EXPECT_TRUE(estimate.known());
  EXPECT_DOUBLE_EQ(estimate.step_of(kSmall, 1), 0.5);
  EXPECT_DOUBLE_EQ(estimate.step_of(kSmall, 2), 1.0);
  EXPECT_DOUBLE_EQ(estimate.end_of(kSmall), 0.5) << "as long as a step, while none is known";
  estimate.record_end(kSmall, 3.0);
  EXPECT_DOUBLE_EQ(estimate.end_of(kSmall), 3.0);
}

TEST(WorkEstimate, GuessesOtherSizesByPixels) {
  WorkEstimate estimate;
  estimate.record_step(kSmall, 1, 1.0);
  EXPECT_DOUBLE_EQ(estimate.step_of(kLarge, 1), 4.0);
  estimate.record_step(kLarge, 1, 6.0);
  EXPECT_DOUBLE_EQ(estimate.step_of(kLarge, 1), 6.0);
  EXPECT_DOUBLE_EQ(estimate.step_of({512, 1024}, 1), 12.0);
  EXPECT_DOUBLE_EQ(estimate.step_of({128, 256}, 1), 0.5);
  EXPECT_DOUBLE_EQ(estimate.step_of({264, 256}, 1), 264.0 / 256.0) << "by the nearest";
  EXPECT_DOUBLE_EQ(estimate.step_of({504, 512}, 1), 6.0 * 504.0 / 512.0);
}

TEST(WorkEstimate, FollowsAMachineThatChangesItsSpeed) {
  WorkEstimate estimate;
  for (int i = 0; i < 20; ++i) estimate.record_step(kSmall, 1, 1.0);
  for (int i = 0; i < 5; ++i) estimate.record_step(kSmall, 1, 3.0);
  EXPECT_NEAR(estimate.step_of(kSmall, 1), 3.0, 0.1);
}

TEST(WorkEstimate, RemembersOnlySoManySizes) {
  WorkEstimate estimate;
  for (int64_t i = 1; i <= 500; ++i) estimate.record_step({8 * i, 8}, 1, static_cast<double>(i));
  for (int64_t i : {1, 100, 500}) EXPECT_NEAR(estimate.step_of({8 * i, 8}, 1), static_cast<double>(i), 1e-9);
}

TEST(LeavesTime, AsLongAsNobodyIsLate) {
  // Alone 4 s of steps and an end of 1 s each; n of them together are done after 5 n s.
  const std::vector<WorkLeft> one{work(4, 1, 1, 10)};
  EXPECT_TRUE(leaves_time(one, work(4, 1, 1, 10), kNow));
  const std::vector<WorkLeft> two(2, work(4, 1, 1, 10));
  EXPECT_FALSE(leaves_time(two, work(4, 1, 1, 100), kNow));
  EXPECT_TRUE(leaves_time(std::vector<WorkLeft>(2, work(4, 1, 1, 15)), work(4, 1, 1, 15), kNow));
}

TEST(LeavesTime, OnlyWhatComesBeforeTheEndCounts) {
  // It needs 2 s for itself and 1 for a step of the other one, whose end comes later.
  const std::vector<WorkLeft> nearly_done{work(1, 1, 1, 3.5)};
  EXPECT_TRUE(leaves_time(nearly_done, work(50, 1, 60, 1000), kNow));
  EXPECT_FALSE(leaves_time(nearly_done, work(1, 1, 1, 1000), kNow)) << "whose end may come first";
}

TEST(LeavesTime, WhoIsLateAnywayHoldsNobodyBack) {
  EXPECT_TRUE(leaves_time(std::vector<WorkLeft>{work(50, 1, 1, 10)}, work(4, 1, 1, 10), kNow));
  EXPECT_TRUE(leaves_time({}, work(50, 1, 1, 1), kNow)) << "there is nobody else";
}

}  // namespace
}  // namespace dreamlab
