// The service over real workers on the golden models: bytes, cancelling and modes as clients see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "service/pipeline_service.h"
#include "submitted_job.h"
#include "worker/test_workers.h"

namespace dreamlab {
namespace {

WorkerFactory golden_factory() {
  return [](const Mode& mode, int) {
    WorkerOptions options = options_for(mode.model);
    options.size = mode.size;
    options.styles = mode.styles;
    return make_worker(options);
  };
}

Mode mode_of(const std::string& model) {
  Mode mode;
  mode.model = golden_model(model);
  mode.size = PictureSize{64, 64};
  return mode;
}

ServiceOptions service_options(int batch_max) {
  ServiceOptions options;
  options.name = "test";
  options.batch_max = batch_max;
  return options;
}

// Requests that differ in all that may differ inside a batch.
std::vector<JobRequest> mixed_requests() {
  std::vector<JobRequest> requests;
  for (uint64_t seed = 1; seed <= 8; ++seed) requests.push_back(small_request(seed));
  requests[1].prompt = "a lighthouse in a storm";
  requests[1].steps = 3;
  requests[2].guidance_scale = 5;
  requests[2].negative_prompt = "blurry";
  requests[3].scheduler = "euler_a";
  requests[4].size = "72x64";
  requests[5].size = "72x64";
  requests[5].scheduler = "dpmpp_2m_karras";
  requests[5].steps = 3;
  requests[6].steps = 1;
  requests[7].guidance_scale = 7.5;
  return requests;
}

class RealWorkerTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RealWorkerTest, BytesDoNotDependOnTheCompany) {
  PipelineService service(service_options(8), ModeRegistry::single(mode_of(GetParam())), golden_factory());
  ASSERT_TRUE(wait_until_ready(service)) << service.load_error();
  const std::vector<JobRequest> requests = mixed_requests();
  SubmitOptions options;
  options.with_latents = true;
  options.previews = true;
  // Some join while others are under way.
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (size_t i = 0; i < requests.size(); ++i) {
    jobs.push_back(std::make_unique<SubmittedJob>(service, requests[i], options));
    if (i % 3 == 2) jobs.back()->wait_for([](const JobProgress& progress) { return progress.step > 0; });
  }
  PipelineWorker& alone = worker_on(golden_model(GetParam()));
  for (size_t i = 0; i < requests.size(); ++i) {
    const JobResult together = jobs[i]->result(), solo = run(alone, requests[i]);
    EXPECT_EQ(together.png, solo.png) << "request " << i;
    EXPECT_EQ(together.latents, solo.latents) << "request " << i;
    EXPECT_EQ(together.seed, requests[i].seed) << "request " << i;
    EXPECT_EQ(jobs[i]->progress().back().state, JobState::done);
  }
  const ServiceStatistics counts = service.statistics();
  EXPECT_EQ(counts.succeeded, requests.size());
  EXPECT_GT(counts.images_in_steps, counts.steps) << "no two jobs shared a call";
  EXPECT_GT(counts.text_s, 0);
  EXPECT_GT(counts.denoise_s, 0);
  EXPECT_GT(counts.decode_s, 0);
  EXPECT_GT(counts.encode_png_s, 0);
}

TEST_P(RealWorkerTest, ACancelledJobLeavesNoTraceInTheNext) {
  PipelineService service(service_options(4), ModeRegistry::single(mode_of(GetParam())), golden_factory());
  ASSERT_TRUE(wait_until_ready(service)) << service.load_error();
  JobRequest endless = small_request(1);
  endless.size = "256x256";
  endless.steps = 50;
  const SubmittedJob cancelled(service, endless);
  ASSERT_TRUE(cancelled.wait_for([](const JobProgress& progress) { return progress.step > 0; }));
  const SubmittedJob next(service, small_request(2));
  cancelled.ticket().cancel();
  EXPECT_EQ(cancelled.error(), ErrorKind::cancelled);
  EXPECT_LT(cancelled.ticket().progress().step, 50);
  EXPECT_EQ(next.result().png, run(worker_on(golden_model(GetParam())), small_request(2)).png);
}

INSTANTIATE_TEST_SUITE_P(Models, RealWorkerTest, ::testing::Values("tiny-sd15", "tiny-sdxl"),
                         [](const auto& info) { return std::string(info.param + 5); });

TEST(RealWorkerMeasuring, MeasuringInIdleTimeLeavesBytesAsTheyAre) {
  ServiceOptions options = service_options(0);
  options.tuning_s = 1;
  PipelineService service(options, ModeRegistry::single(mode_of("tiny-sd15")), golden_factory());
  ASSERT_TRUE(wait_until_ready(service)) << service.load_error();
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (uint64_t seed : {0, 1, 2}) jobs.push_back(std::make_unique<SubmittedJob>(service, small_request(seed)));
  for (uint64_t seed : {0, 1, 2}) {
    EXPECT_EQ(jobs[seed]->result().png, run(worker_on(golden_model("tiny-sd15")), small_request(seed)).png);
  }
}

TEST(RealWorkerModes, ASwitchGoesFromOneFamilyToAnotherAndADamagedModelKeepsTheOld) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("dreamlab-real-modes-{}", ::getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "damaged.safetensors") << "no model";
  std::ofstream(folder / "modes.yaml") << fmt::format(
      "modes:\n  sd: {{model: {}, size: 64x64}}\n  xl: {{model: {}, size: 64x64}}\n  bad: {{model: {}}}\n",
      golden_model("tiny-sd15").string(), golden_model("tiny-sdxl").string(),
      (folder / "damaged.safetensors").string());
  {
    PipelineService service(service_options(2), ModeRegistry::from_file(folder / "modes.yaml", "", ""),
                            golden_factory());
    ASSERT_TRUE(wait_until_ready(service)) << service.load_error();
    const SubmittedJob before(service, small_request());
    std::atomic<int> failed = 0, switched = 0;
    service.switch_mode("bad", [&](std::exception_ptr error) { failed += error ? 1 : 10; });
    const SubmittedJob still(service, small_request());
    service.switch_mode("xl", [&](std::exception_ptr error) { switched += error ? 10 : 1; });
    const SubmittedJob after(service, small_request());
    JobRequest named = small_request();
    named.mode = "sd";
    const SubmittedJob back(service, named);
    const JobResult sd = run(worker_on(golden_model("tiny-sd15")), small_request());
    const JobResult xl = run(worker_on(golden_model("tiny-sdxl")), small_request());
    EXPECT_EQ(before.result().png, sd.png);
    EXPECT_EQ(still.result().png, sd.png);
    EXPECT_EQ(after.result().png, xl.png);
    EXPECT_EQ(back.result().png, sd.png);
    EXPECT_EQ(failed, 1);
    EXPECT_EQ(switched, 1);
    EXPECT_EQ(service.worker()->info().worker, "SDXL");
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace dreamlab
