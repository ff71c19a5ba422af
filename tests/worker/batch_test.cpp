// Jobs that share steps: every image is what it would be alone.
#include <algorithm>
#include <string>
#include <vector>

#include "test_workers.h"

namespace dreamlab {
namespace {

class BatchTest : public ::testing::TestWithParam<const char*> {
 protected:
  PipelineWorker& worker() const {
    const std::filesystem::path model = golden_model(GetParam());
    static std::map<std::filesystem::path, std::shared_ptr<PipelineWorker>> workers;
    std::shared_ptr<PipelineWorker>& worker = workers[model];
    if (!worker) {
      WorkerOptions options = options_for(model);
      options.styles = {golden_style("paper", std::string(GetParam()) + "-lora-kohya", {0.5, 1.0}),
                        golden_style("ink", std::string(GetParam()) + "-lora-peft")};
      worker = make_worker(options);
    }
    return *worker;
  }

  // Requests that differ in everything.
  static std::vector<JobRequest> mixed_requests() {
    std::vector<JobRequest> requests;
    for (uint64_t seed = 1; seed <= 6; ++seed) requests.push_back(small_request(seed));
    requests[1].guidance_scale = 5;
    requests[1].negative_prompt = "blurry";
    requests[2].scheduler = "euler_a";
    requests[2].steps = 4;
    requests[3].size = "72x64";
    requests[3].style = StyleChoice{"paper", 2};
    requests[4].style = StyleChoice{"ink", 1};
    requests[4].prompt = "a (lighthouse:1.3)";
    requests[5].size = "72x64";
    requests[5].steps = 3;
    return requests;
  }
};

INSTANTIATE_TEST_SUITE_P(Models, BatchTest, ::testing::Values("tiny-sd15", "tiny-sdxl"),
                         [](const auto& info) { return info.param == std::string("tiny-sd15") ? "SD" : "SDXL"; });

// A job of the batch, from its start to its bytes.
struct Running {
  explicit Running(const JobRequest& request) : job(request, {}) {}
  Job job;
  std::unique_ptr<ActiveJob> active;
  std::vector<uint8_t> png;
};

TEST_P(BatchTest, JobsJoinAndLeaveAndEachGetsTheBytesItHasAlone) {
  const std::vector<JobRequest> requests = mixed_requests();
  std::vector<std::unique_ptr<Running>> jobs;
  for (const JobRequest& request : requests) jobs.push_back(std::make_unique<Running>(request));
  size_t started = 0, finished = 0;
  int passes = 0;
  while (finished < jobs.size()) {
    // One more joins at each step, whatever the others are at.
    if (started < jobs.size()) {
      jobs[started]->active = worker().start(jobs[started]->job);
      ++started;
    }
    std::vector<ActiveJob*> running;
    for (const auto& job : jobs)
      if (job->active && !job->active->done()) running.push_back(job->active.get());
    std::reverse(running.begin(), running.end());
    worker().advance(running, nullptr);
    ++passes;
    for (const auto& job : jobs) {
      if (!job->active || !job->active->done()) continue;
      job->png = worker().finish(*job->active).png;
      job->active.reset();
      ++finished;
    }
  }
  EXPECT_LT(passes, 15) << "nothing was shared";
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(jobs[i]->png, run(worker(), requests[i]).png) << "request " << i;
}

TEST_P(BatchTest, ACancelledStepLeavesTheOthersWhereTheyCanGoOn) {
  std::vector<JobRequest> requests = mixed_requests();
  std::vector<std::unique_ptr<Running>> jobs;
  std::vector<ActiveJob*> all;
  for (const JobRequest& request : requests) {
    jobs.push_back(std::make_unique<Running>(request));
    jobs.back()->active = worker().start(jobs.back()->job);
    all.push_back(jobs.back()->active.get());
  }
  worker().advance(all, nullptr);
  CancelToken raised;
  raised.cancel();
  expect_refused([&] { worker().advance(all, &raised); }, ErrorKind::cancelled, "cancelled");
  all.erase(all.begin());  // the one for whose sake it was
  for (const ActiveJob* job : all) EXPECT_GE(job->step(), 1);
  for (;;) {
    std::vector<ActiveJob*> running;
    for (ActiveJob* job : all)
      if (!job->done()) running.push_back(job);
    if (running.empty()) break;
    worker().advance(running, nullptr);
  }
  for (size_t i = 1; i < requests.size(); ++i)
    EXPECT_EQ(worker().finish(*jobs[i]->active).png, run(worker(), requests[i]).png) << "request " << i;
}

TEST_P(BatchTest, EveryJobCountsItsOwnStepsInFull) {
  Running two(small_request(1));
  JobRequest longer = small_request(3);
  longer.steps = 3;
  Running third(longer);
  two.active = worker().start(two.job);
  third.active = worker().start(third.job);
  EXPECT_EQ(two.active->steps(), 2);
  EXPECT_EQ(third.active->steps(), 3);
  ActiveJob* const both[] = {two.active.get(), third.active.get()};
  worker().advance(both, nullptr);
  worker().advance(both, nullptr);
  EXPECT_TRUE(two.active->done());
  ActiveJob* const rest[] = {third.active.get()};
  worker().advance(rest, nullptr);
  EXPECT_EQ(worker().finish(*two.active).timings.step_ms.size(), 2u);
  EXPECT_EQ(worker().finish(*third.active).timings.step_ms.size(), 3u);
}

}  // namespace
}  // namespace dreamlab
