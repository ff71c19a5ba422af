// Workers whose memory does not suffice: the job says so, and the next one works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/test_workers.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMiB = size_t{1} << 20;

std::shared_ptr<PipelineWorker> worker_with(size_t bytes) {
  WorkerOptions options = options_for(golden_model("tiny-sd15"));
  options.memory_limit = bytes;
  return make_worker(options);
}

JobRequest request_of(PictureSize size) {
  JobRequest request;
  request.prompt = "a lighthouse";
  request.size = to_string(size);
  request.seed = 7;
  request.steps = 1;
  return request;
}

JobResult run(PipelineWorker& worker, PictureSize size) {
  return worker.run_job(Job(request_of(size), {}));
}

TEST(WorkerMemory, ThatDoesNotSufficeFailsTheJobAlone) {
  const auto worker = worker_with(12 * kMiB);
  const JobResult before = run(*worker, {64, 64});
  try {
    run(*worker, {1024, 1024});
    FAIL() << "1024x1024 in 12 MiB";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    EXPECT_THAT(error.what(), HasSubstr("a smaller picture needs less"));
    EXPECT_THAT(error.what(), testing::Not(HasSubstr("\n")));
  }
  EXPECT_EQ(run(*worker, {64, 64}).png, before.png) << "the next job";
}

TEST(WorkerMemory, ThatSufficesForTilesAloneGivesAPictureMadeOfTiles) {
  WorkerOptions options = options_for(golden_model("tiny-sd15"));
  options.vae_tiling = TilingMode::on;
  const JobResult tiled = run(*make_worker(options), {768, 768});
  EXPECT_EQ(run(*worker_with(140 * kMiB), {768, 768}).png, tiled.png);
  EXPECT_NE(run(*worker_with(0), {768, 768}).png, tiled.png) << "tiles do not matter here";
}

}  // namespace
}  // namespace dreamlab
