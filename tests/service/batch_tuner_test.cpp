// The rule for the size of batches, by made-up timings.
#include "service/batch_tuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace dreamlab {
namespace {

using ::testing::ElementsAre;

constexpr PictureSize kSize{512, 512}, kOther{768, 512};

// What a call with n rows takes.
using Cost = std::function<double(int rows)>;

double equal(int rows) {
  return rows;
}

// One turn of so many jobs that all wait for a call: as many of them at a time as may share one. Returns the sizes of
// the calls.
std::vector<int> turn(BatchTuner& tuner, int jobs, const Cost& cost, int rows_of_job = 1, PictureSize size = kSize) {
  std::vector<int> calls;
  while (jobs > 0) {
    int together = 1;
    while (together < jobs && tuner.has_room(size, together, together * rows_of_job, rows_of_job)) ++together;
    const int rows = together * rows_of_job;
    tuner.record(size, together, rows, cost(rows));
    calls.push_back(rows);
    jobs -= together;
  }
  return calls;
}

// Turns enough for several decisions, but for none to be forgotten.
void turns(BatchTuner& tuner, int jobs, const Cost& cost, int rows_of_job = 1, PictureSize size = kSize) {
  for (int calls = 0; calls < BatchTuner::kForget - 20;) {
    calls += static_cast<int>(turn(tuner, jobs, cost, rows_of_job, size).size());
  }
}

// What stays after so many turns: the largest call of the last ones.
int settled(BatchTuner& tuner, int jobs, const Cost& cost, int rows_of_job = 1) {
  turns(tuner, jobs, cost, rows_of_job);
  int largest = 0;
  for (int i = 0; i < 3; ++i) {
    for (int rows : turn(tuner, jobs, cost, rows_of_job)) largest = std::max(largest, rows);
  }
  return largest;
}

TEST(BatchTuner, AJobRunsAloneUntilItsCostIsKnown) {
  BatchTuner tuner(0);
  EXPECT_EQ(tuner.limit(kSize), 1);
  EXPECT_EQ(tuner.on_trial(kSize), 2);
  EXPECT_TRUE(tuner.has_room(kSize, 0, 0, 2)) << "alone, a job may have any number of rows";
  EXPECT_FALSE(tuner.has_room(kSize, 1, 1, 1));
  tuner.record(kSize, 1, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 1) << "the first call is left out";
  tuner.record(kSize, 1, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 2);
  EXPECT_TRUE(tuner.has_room(kSize, 1, 1, 1));
  EXPECT_FALSE(tuner.has_room(kSize, 2, 2, 1));
}

TEST(BatchTuner, FewAndManyTakeTurns) {
  BatchTuner tuner(0);
  turn(tuner, 2, equal);
  std::vector<std::vector<int>> seen;
  for (int i = 0; i < 6; ++i) seen.push_back(turn(tuner, 2, equal));
  // The first call of two is left out, so that a second one follows.
  const std::vector<int> apart{1, 1}, together{2};
  EXPECT_THAT(seen, ElementsAre(together, together, apart, together, apart, together));
}

TEST(BatchTuner, ItGrowsAsLongAsARowCostsNoMore) {
  for (const Cost& cost : {Cost(equal), Cost([](int rows) { return 1 + 0.5 * rows; })}) {
    BatchTuner tuner(0);
    EXPECT_EQ(settled(tuner, 16, cost), BatchTuner::kMaxRows);
    EXPECT_EQ(tuner.on_trial(kSize), 0);
  }
}

TEST(BatchTuner, EqualCostIsInFavorOfTheLargerBatch) {
  BatchTuner tuner(0);
  EXPECT_EQ(settled(tuner, 2, [](int rows) { return rows == 1 ? 1 : rows * (1 + 0.9 * BatchTuner::kTolerance); }), 2);
}

TEST(BatchTuner, ACostlierBatchIsNotUsed) {
  BatchTuner tuner(0);
  EXPECT_EQ(settled(tuner, 8, [](int rows) { return rows == 1 ? 1 : 1.05 * rows; }), 1);
  BatchTuner later(0);
  // Four cost more a row than two, though no more than one.
  EXPECT_EQ(settled(later, 8, [](int rows) { return rows == 1 ? 1 : rows == 2 ? 1.2 : rows; }), 2);
  EXPECT_EQ(later.on_trial(kSize), 0);
}

TEST(BatchTuner, SmallDeclinesDoNotAddUp) {
  BatchTuner tuner(0);
  EXPECT_EQ(
      settled(tuner, 16, [](int rows) { return rows * std::pow(1 + 0.8 * BatchTuner::kTolerance, std::log2(rows)); }),
      2)
      << "each step is within the tolerance, but not two together";
}

TEST(BatchTuner, AMachineThatChangesItsSpeedDoesNotMislead) {
  // Half as fast for a while, again and again: no call is compared with one of another time.
  for (const int period : {7, 10, 23}) {
    int call = 0;
    const auto speed = [&call, period] { return call++ / period % 2 == 0 ? 1.0 : 2.0; };
    BatchTuner saves(0), loses(0);
    EXPECT_GE(settled(saves, 8, [&](int rows) { return speed() * (1 + 0.5 * rows); }), 4) << period;
    EXPECT_EQ(settled(loses, 8, [&](int rows) { return speed() * (rows == 1 ? 1 : 1.2 * rows); }), 1) << period;
  }
}

TEST(BatchTuner, AnOutlierIsNotBelieved) {
  BatchTuner tuner(0);
  int call = 0;
  EXPECT_EQ(settled(tuner, 2, [&call](int rows) { return call++ == 6 ? 50.0 : 0.95 * rows; }), 2);
}

TEST(BatchTuner, WhatWasWorseIsTriedAgainMuchLater) {
  BatchTuner tuner(0);
  turns(tuner, 2, [](int rows) { return rows == 1 ? 1 : 3 * rows; });
  EXPECT_EQ(tuner.on_trial(kSize), 0);
  for (int i = 0; i < BatchTuner::kForget; ++i) turn(tuner, 1, equal);
  EXPECT_EQ(tuner.on_trial(kSize), 2);
  EXPECT_EQ(settled(tuner, 2, equal), 2);
}

TEST(BatchTuner, WhatWasBetterIsProvedAgainMuchLater) {
  BatchTuner tuner(0);
  EXPECT_EQ(settled(tuner, 2, equal), 2);
  const Cost worse = [](int rows) { return rows == 1 ? 1 : 2 * rows; };
  for (int i = 0; i < 3; ++i) turns(tuner, 2, worse);
  EXPECT_EQ(tuner.limit(kSize), 1);
}

TEST(BatchTuner, SizesDoNotKnowOfEachOther) {
  BatchTuner tuner(0);
  turns(tuner, 4, equal);
  EXPECT_GE(tuner.limit(kSize), 4);
  EXPECT_EQ(tuner.limit(kOther), 1);
  EXPECT_EQ(tuner.limit({512, 768}), 1);
}

TEST(BatchTuner, GuidedJobsCountTwice) {
  BatchTuner tuner(0);
  const Cost best_with_8 = [](int rows) { return rows <= 8 ? rows : 2 * rows; };
  EXPECT_EQ(settled(tuner, 8, best_with_8, 2), 8);
  EXPECT_TRUE(tuner.has_room(kSize, 2, 6, 2));
  EXPECT_FALSE(tuner.has_room(kSize, 4, 8, 1));
  EXPECT_TRUE(tuner.has_room(kSize, 4, 7, 1));
  BatchTuner costly(0);
  EXPECT_EQ(settled(
                costly, 4, [](int rows) { return rows <= 2 ? rows : 2 * rows; }, 2),
            2)
      << "each by itself";
}

TEST(BatchTuner, AJobAloneTeachesNothing) {
  BatchTuner tuner(0);
  for (int i = 0; i < 3 * BatchTuner::kForget; ++i) turn(tuner, 1, equal);
  EXPECT_EQ(tuner.on_trial(kSize), 2);
  EXPECT_EQ(tuner.limit(kSize), 2);
}

TEST(BatchTuner, WhatFoundNoMemoryIsNeverTriedAgain) {
  BatchTuner tuner(0);
  turns(tuner, 8, equal);
  EXPECT_GE(tuner.limit(kSize), 8);
  tuner.record_out_of_memory(kSize, 7);
  EXPECT_EQ(tuner.limit(kSize), 6);
  EXPECT_EQ(tuner.on_trial(kSize), 0);
  tuner.record_out_of_memory(kSize, 2);
  EXPECT_EQ(tuner.limit(kSize), 1);
  turns(tuner, 2, equal);
  turns(tuner, 2, equal);
  EXPECT_EQ(tuner.limit(kSize), 1);
  tuner.record_out_of_memory(kSize, 1);
  EXPECT_EQ(tuner.limit(kSize), 1);
}

TEST(BatchTuner, TheOperatorsWordCountsWhateverIsMeasured) {
  BatchTuner tuner(3);
  EXPECT_FALSE(tuner.measures());
  turns(tuner, 2, [](int rows) { return rows * rows; });
  EXPECT_TRUE(tuner.has_room(kSize, 2, 4, 2));
  EXPECT_FALSE(tuner.has_room(kSize, 3, 3, 1));
}

TEST(BatchTuner, OnlySoManySizesAreRemembered) {
  const auto calls = [](BatchTuner& tuner, PictureSize size) {
    for (int i = 0; i < 2; ++i) tuner.record(size, 1, 1, 1.0);
  };
  BatchTuner tuner(0);
  calls(tuner, kSize);
  EXPECT_EQ(tuner.limit(kSize), 2);
  for (size_t i = 0; i < BatchTuner::kMaxSizes; ++i) {
    calls(tuner, {8 + 8 * static_cast<int64_t>(i), 8});
    if (i > 0) calls(tuner, {8, 8});  // in use
  }
  EXPECT_EQ(tuner.limit(kSize), 1) << "the one that was used longest ago is forgotten";
  EXPECT_EQ(tuner.limit({8, 8}), 2);
}

}  // namespace
}  // namespace dreamlab
