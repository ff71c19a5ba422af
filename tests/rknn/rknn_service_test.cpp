// The RKNN worker behind the service: three workers on three cores, one queue.
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "service/pipeline_service.h"
#include "service/submitted_job.h"
#include "standin.h"

namespace dreamlab {
namespace {

// Five models with a context each, and their 14 ports' memory.
constexpr int kOpenOfWorker = 5 + 14;

std::unique_ptr<PipelineService> start_service(const std::filesystem::path& model, int workers) {
  ServiceOptions options;
  options.name = "test";
  options.workers = workers;
  Mode mode;
  mode.model = model;
  auto service = std::make_unique<PipelineService>(
      options, ModeRegistry::single(mode),
      [workers](const Mode& wanted, int index) { return make_worker(rknn_options(wanted.model, index, workers)); });
  EXPECT_TRUE(wait_until_ready(*service)) << service->load_error();
  return service;
}

JobRequest four_steps() {
  JobRequest request;
  request.prompt = "a lighthouse";
  request.size = "64x64";
  request.steps = 4;
  request.seed = 9;
  return request;
}

TEST_F(RknnTest, ServesThreeJobsAtOnceOnThreeCores) {
  const auto model = root();
  std::vector<uint8_t> alone;
  {
    const auto service = start_service(model, 1);
    alone = SubmittedJob(*service, four_steps()).result().png;
  }
  const auto service = start_service(model, 3);
  // All three have to be loaded, or the first takes every job.
  for (int i = 0; i < 500 && standin_function<int()>("rknn_standin_open")() < 3 * kOpenOfWorker; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  standin_function<void(int)>("rknn_standin_slow_down")(30);
  SubmitOptions options;
  options.with_latents = true;
  options.previews = true;
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (int i = 0; i < 6; ++i) jobs.push_back(std::make_unique<SubmittedJob>(*service, four_steps(), options));
  for (const auto& job : jobs) {
    EXPECT_EQ(job->result().png, alone);
    EXPECT_EQ(job->result().latents->size(), 512u);
  }
  EXPECT_EQ(standin_function<int()>("rknn_standin_most_at_once")(), 3);
  EXPECT_EQ(standin_function<uint32_t()>("rknn_standin_cores")(), 7u);
}

// With a core to spare: the next picture's text and first step, while this one is decoded.
TEST_F(RknnTest, BeginsTheNextJobWhileItDecodesOne) {
  const auto service = start_service(root(), 1);
  const std::vector<uint8_t> alone = SubmittedJob(*service, four_steps()).result().png;
  EXPECT_EQ(standin_function<int()>("rknn_standin_most_at_once")(), 1);
  EXPECT_EQ(standin_function<uint32_t()>("rknn_standin_cores")(), 3u) << "decoded on the second core";
  standin_function<void(int)>("rknn_standin_slow_down")(30);
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(std::make_unique<SubmittedJob>(*service, four_steps()));
  for (const auto& job : jobs) EXPECT_EQ(job->result().png, alone);
  EXPECT_EQ(standin_function<int()>("rknn_standin_most_at_once")(), 2);
  EXPECT_EQ(standin_function<uint32_t()>("rknn_standin_cores")(), 3u);
}

TEST_F(RknnTest, AFailingJobOfTheServiceLeavesTheNextOneWell) {
  const auto service = start_service(root(), 1);
  const std::vector<uint8_t> expected = SubmittedJob(*service, four_steps()).result().png;
  standin_function<void(int)>("rknn_standin_fail_after")(10);
  EXPECT_EQ(SubmittedJob(*service, four_steps()).error(), ErrorKind::unavailable);
  EXPECT_EQ(SubmittedJob(*service, four_steps()).result().png, expected);
}

}  // namespace
}  // namespace dreamlab
