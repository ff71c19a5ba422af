// The rule for the size of batches, by made-up timings.
#include "service/batch_tuner.h"

#include <gtest/gtest.h>

namespace dreamlab {
namespace {

constexpr PictureSize kSize{512, 512}, kOther{768, 512};

// As many calls as make a cost known.
void measure(BatchTuner& tuner, int rows, double seconds, PictureSize size = kSize) {
  tuner.record(size, rows, 100 * seconds);  // the first does not count
  for (int i = 0; i < BatchTuner::kEnough; ++i) tuner.record(size, rows, seconds);
}

TEST(BatchTuner, AJobRunsAloneUntilItsCostIsKnown) {
  BatchTuner tuner(0);
  EXPECT_EQ(tuner.limit(kSize), 1);
  EXPECT_TRUE(tuner.has_room(kSize, 0, 0, 2)) << "alone, a job may have any number of rows";
  EXPECT_FALSE(tuner.has_room(kSize, 1, 1, 1));
  tuner.record(kSize, 1, 1.0);
  tuner.record(kSize, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 1);
  tuner.record(kSize, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 2);
  EXPECT_TRUE(tuner.has_room(kSize, 1, 1, 1));
  EXPECT_FALSE(tuner.has_room(kSize, 2, 2, 1));
}

TEST(BatchTuner, ItGrowsAsLongAsARowCostsNoMore) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 1.5);
  EXPECT_EQ(tuner.limit(kSize), 4);
  measure(tuner, 4, 2.5);
  measure(tuner, 8, 4.9);
  EXPECT_EQ(tuner.limit(kSize), 16);
  measure(tuner, 16, 9.8);
  EXPECT_EQ(tuner.limit(kSize), BatchTuner::kMaxRows);
}

TEST(BatchTuner, EqualCostIsInFavorOfTheLargerBatch) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 2.0 * (1 + 0.9 * BatchTuner::kTolerance));
  EXPECT_EQ(tuner.limit(kSize), 4);
}

TEST(BatchTuner, ACostlierBatchIsNotUsed) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 2.1);
  EXPECT_EQ(tuner.limit(kSize), 1);
  BatchTuner later(0);
  measure(later, 1, 1.0);
  measure(later, 2, 1.2);
  measure(later, 4, 4.0);  // costlier than 2 rows, though no costlier than 1
  EXPECT_EQ(later.limit(kSize), 3);
  measure(later, 3, 1.8);
  EXPECT_EQ(later.limit(kSize), 3);
}

TEST(BatchTuner, SmallDeclinesDoNotAddUp) {
  BatchTuner tuner(0);
  double cost = 1;
  for (int rows : {1, 2, 3, 4}) {
    measure(tuner, rows, cost * rows);
    cost *= 1 + 0.8 * BatchTuner::kTolerance;
  }
  EXPECT_EQ(tuner.limit(kSize), 2) << "each step is within the tolerance, but not three together";
}

TEST(BatchTuner, AnOutlierIsNotBelieved) {
  BatchTuner tuner(0);
  for (int i = 0; i < 6; ++i) tuner.record(kSize, 1, 1.0);
  for (int i = 0; i < 6; ++i) tuner.record(kSize, 2, i == 3 ? 50.0 : 1.9);
  EXPECT_EQ(tuner.limit(kSize), 4);
}

TEST(BatchTuner, NewTimesReplaceOldOnes) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 1.5);
  for (int i = 0; i < BatchTuner::kSamples; ++i) tuner.record(kSize, 2, 3.0);
  EXPECT_EQ(tuner.limit(kSize), 1);
}

TEST(BatchTuner, WhatWasWorseIsTriedAgainMuchLater) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 3.0);
  for (int i = 0; i + 2 < BatchTuner::kForget; ++i) tuner.record(kSize, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 1);
  tuner.record(kSize, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 2);
}

TEST(BatchTuner, SizesDoNotKnowOfEachOther) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  measure(tuner, 2, 1.5);
  EXPECT_EQ(tuner.limit(kSize), 4);
  EXPECT_EQ(tuner.limit(kOther), 1);
  EXPECT_EQ(tuner.limit({512, 768}), 1);
}

TEST(BatchTuner, GuidedJobsCountTwice) {
  BatchTuner tuner(0);
  measure(tuner, 2, 2.0);
  EXPECT_EQ(tuner.limit(kSize), 4);
  EXPECT_TRUE(tuner.has_room(kSize, 1, 2, 2));
  EXPECT_FALSE(tuner.has_room(kSize, 2, 4, 1));
  EXPECT_TRUE(tuner.has_room(kSize, 2, 3, 1));
}

TEST(BatchTuner, WhatFoundNoMemoryIsNeverTriedAgain) {
  BatchTuner tuner(0);
  for (int rows : {1, 2, 4}) measure(tuner, rows, 0.5 * rows);
  tuner.record_out_of_memory(kSize, 7);
  EXPECT_EQ(tuner.limit(kSize), 6);
  tuner.record_out_of_memory(kSize, 2);
  EXPECT_EQ(tuner.limit(kSize), 1);
  for (int i = 0; i < 2 * BatchTuner::kForget; ++i) tuner.record(kSize, 1, 1.0);
  EXPECT_EQ(tuner.limit(kSize), 1);
  tuner.record_out_of_memory(kSize, 1);
  EXPECT_EQ(tuner.limit(kSize), 1);
}

TEST(BatchTuner, TheOperatorsWordCountsWhateverIsMeasured) {
  BatchTuner tuner(3);
  EXPECT_FALSE(tuner.measures());
  measure(tuner, 2, 100.0);
  EXPECT_TRUE(tuner.has_room(kSize, 2, 4, 2));
  EXPECT_FALSE(tuner.has_room(kSize, 3, 3, 1));
}

TEST(BatchTuner, OnlySoManySizesAreRemembered) {
  BatchTuner tuner(0);
  measure(tuner, 1, 1.0);
  for (size_t i = 0; i < BatchTuner::kMaxSizes; ++i) {
    const PictureSize size{8 + 8 * static_cast<int64_t>(i), 8};
    measure(tuner, 1, 1.0, size);
    if (i == 0) continue;
    measure(tuner, 1, 1.0, {8, 8});  // in use
  }
  EXPECT_EQ(tuner.limit(kSize), 1) << "the one that was used longest ago is forgotten";
  EXPECT_EQ(tuner.limit({8, 8}), 2);
}

}  // namespace
}  // namespace dreamlab
