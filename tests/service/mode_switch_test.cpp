// Modes while jobs come and go: switched in order with the queue, and never at the cost of what serves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>

#include "scripted_worker.h"
#include "service/pipeline_service.h"
#include "submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModeSwitchTest : public ::testing::Test {
 protected:
  ModeSwitchTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / fmt::format("dreamlab-{}-{}", test->name(), ::getpid());
    std::filesystem::create_directories(folder_);
    write("{photo: {model: p.safetensors}, sketch: {model: s.safetensors}, third: {model: t.safetensors}}");
  }
  ~ModeSwitchTest() override {
    script_.let_finishing_go();
    script_.let_loads_go();
    script_.let_steps_go();
    service_.reset();
    std::filesystem::remove_all(folder_);
  }

  void write(const std::string& modes, const std::string& first = "photo") const {
    const std::filesystem::path part = folder_ / "modes.part";
    std::ofstream(part) << "default: " << first << "\nmodes: " << modes << "\n";
    std::filesystem::rename(part, folder_ / "modes.yaml");
  }
  ServiceOptions options() const {
    ServiceOptions options;
    options.name = "test";
    options.batch_max = 4;
    options.watch_modes_s = 0;
    return options;
  }
  PipelineService& start() { return start(options()); }
  PipelineService& start(const ServiceOptions& options) {
    modes_ = ModeRegistry::from_file(folder_ / "modes.yaml", folder_, folder_);
    service_ = std::make_unique<PipelineService>(options, modes_, script_.factory());
    EXPECT_TRUE(wait_until_ready(*service_)) << service_->load_error();
    return *service_;
  }
  // The error that a switch ended with; nullopt where it did not fail.
  std::future<std::optional<Error>> switch_to(const std::string& mode) {
    const auto told = std::make_shared<std::promise<std::optional<Error>>>();
    service_->switch_mode(mode, [told](std::exception_ptr failed) {
      try {
        if (failed) std::rethrow_exception(failed);
        told->set_value(std::nullopt);
      } catch (const Error& error) {
        told->set_value(error);
      }
    });
    return told->get_future();
  }
  JobRequest request_in(const std::string& mode, const std::string& prompt, int steps = 1) const {
    JobRequest request = request_of(prompt, steps);
    request.mode = mode;
    return request;
  }
  bool wait_for_mode(const std::string& mode) const {
    for (int i = 0; i < 60'000 && service_->current_mode() != mode; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return service_->current_mode() == mode;
  }

  Script script_;
  std::filesystem::path folder_;
  std::shared_ptr<ModeRegistry> modes_;
  std::unique_ptr<PipelineService> service_;
};

TEST_F(ModeSwitchTest, TheDefaultModeServesFirst) {
  PipelineService& service = start();
  EXPECT_EQ(service.current_mode(), "photo");
  const SubmittedJob job(service, request_of("a", 1));
  EXPECT_EQ(job.text(), "photo a.1");
  EXPECT_EQ(job.ticket().mode(), "photo");
  EXPECT_EQ(service.worker()->info().model, "photo");
}

TEST_F(ModeSwitchTest, ASwitchTakesItsPlaceInTheQueue) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob a(service, request_of("a", 2));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob b(service, request_of("b", 1));
  auto switched = switch_to("sketch");
  const SubmittedJob c(service, request_of("c", 1));
  EXPECT_EQ(service.current_mode(), "photo");
  EXPECT_EQ(c.ticket().mode(), "sketch");
  script_.let_steps_go();
  EXPECT_EQ(a.text(), "photo a.1.2");
  EXPECT_EQ(b.text(), "photo b.1");
  EXPECT_EQ(c.text(), "sketch c.1");
  EXPECT_EQ(switched.get(), std::nullopt);
  EXPECT_EQ(service.current_mode(), "sketch");
  EXPECT_EQ(script_.living_workers(), 1) << "the old model is still there";
}

TEST_F(ModeSwitchTest, AFailingSwitchLeavesTheOldModeServing) {
  PipelineService& service = start();
  script_.fail_loads_of("sketch");
  script_.hold_steps();
  const SubmittedJob a(service, request_of("a", 1));
  ASSERT_TRUE(script_.wait_for_held_step());
  auto switched = switch_to("sketch");
  const SubmittedJob b(service, request_of("b", 1));
  script_.let_steps_go();
  const std::optional<Error> error = switched.get();
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::invalid_file);
  EXPECT_EQ(b.text(), "photo b.1");
  EXPECT_EQ(b.ticket().mode(), "photo");
  EXPECT_EQ(service.current_mode(), "photo");
  EXPECT_TRUE(service.ready());
  EXPECT_THAT(script_.loads(), ElementsAre("photo", "sketch")) << "the old model was loaded again";
}

TEST_F(ModeSwitchTest, AnUnknownModeIsRefused) {
  PipelineService& service = start();
  try {
    service.switch_mode("oil", nullptr);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
    EXPECT_THAT(error.what(), HasSubstr("photo, sketch, third"));
  }
  try {
    SubmittedJob(service, request_in("oil", "a"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("photo, sketch, third"));
  }
}

TEST_F(ModeSwitchTest, AJobMayNameItsModeAndTheCurrentOneStays) {
  PipelineService& service = start();
  const SubmittedJob a(service, request_in("sketch", "a")), b(service, request_of("b", 1)),
      c(service, request_in("sketch", "c")), d(service, request_in("photo", "d"));
  EXPECT_EQ(a.text(), "sketch a.1");
  EXPECT_EQ(b.text(), "photo b.1");
  EXPECT_EQ(c.text(), "sketch c.1");
  EXPECT_EQ(d.text(), "photo d.1");
  EXPECT_EQ(a.ticket().mode(), "sketch");
  EXPECT_EQ(service.current_mode(), "photo");
  EXPECT_THAT(script_.loads(), ElementsAre("photo", "sketch")) << "a model that was there was loaded again";
  // A third one takes the place of the guest.
  EXPECT_EQ(SubmittedJob(service, request_in("third", "e")).text(), "third e.1");
  EXPECT_THAT(script_.loads(), ElementsAre("photo", "sketch", "third"));
  EXPECT_EQ(script_.living_workers(), 2);
}

TEST_F(ModeSwitchTest, AJobWhoseModeDoesNotLoadFailsWithItsError) {
  PipelineService& service = start();
  script_.fail_loads_of("sketch");
  const SubmittedJob a(service, request_in("sketch", "a")), b(service, request_of("b", 1));
  EXPECT_EQ(a.error(), ErrorKind::invalid_file);
  EXPECT_EQ(b.text(), "photo b.1");
  EXPECT_TRUE(service.ready());
}

TEST_F(ModeSwitchTest, AnotherModesWorkerChecksItsJobs) {
  PipelineService& service = start();
  EXPECT_EQ(SubmittedJob(service, request_in("sketch", "refused by sketch")).error(), ErrorKind::invalid_argument);
  EXPECT_EQ(SubmittedJob(service, request_in("sketch", "refused by photo")).text(), "sketch refused by photo.1");
}

TEST_F(ModeSwitchTest, JobsOfTwoModesThatAreLoadedAdvanceInTurn) {
  PipelineService& service = start();
  SubmittedJob(service, request_in("sketch", "first")).result();
  script_.hold_steps();
  const SubmittedJob a(service, request_of("a", 2));
  ASSERT_TRUE(script_.wait_for_held_step());
  const SubmittedJob b(service, request_in("sketch", "b", 1));
  script_.let_steps_go();
  EXPECT_EQ(a.text(), "photo a.1.2");
  EXPECT_EQ(b.text(), "sketch b.1");
  using Prompts = std::vector<std::string>;
  EXPECT_THAT(script_.passes(), ElementsAre(Prompts{"first"}, Prompts{"a"}, Prompts{"a"}, Prompts{"b"}));
}

TEST_F(ModeSwitchTest, WhereMemoryIsShortTheOldModelMakesRoomFirst) {
  for (const char* name : {"p.safetensors", "s.safetensors"}) {
    std::ofstream(folder_ / name) << std::string(1000, 'x');
  }
  ServiceOptions tight = options();
  std::atomic<uint64_t> available = 1999;
  tight.available_bytes = [&] { return available.load(); };
  PipelineService& service = start(tight);
  // For a job of another mode, and back when it is through.
  EXPECT_EQ(SubmittedJob(service, request_in("sketch", "a")).text(), "sketch a.1");
  EXPECT_TRUE(service.ready());
  EXPECT_EQ(SubmittedJob(service, request_of("b", 1)).text(), "photo b.1");
  EXPECT_EQ(script_.living_workers(), 1) << "there is no room for two";
  // A switch that fails brings the old one back.
  script_.fail_loads_of("third");
  EXPECT_TRUE(switch_to("third").get().has_value());
  EXPECT_EQ(SubmittedJob(service, request_of("c", 1)).text(), "photo c.1");
  script_.fail_loads_of("sketch");
  EXPECT_TRUE(switch_to("sketch").get().has_value());
  EXPECT_EQ(SubmittedJob(service, request_of("d", 1)).text(), "photo d.1");
  EXPECT_EQ(service.current_mode(), "photo");
  EXPECT_TRUE(service.ready());
}

TEST_F(ModeSwitchTest, ReadingTheFileAgainChangesTheCurrentModeInOrder) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob a(service, request_of("a", 1));
  ASSERT_TRUE(script_.wait_for_held_step());
  write("{photo: {model: other.safetensors, steps: 2}, sketch: {model: s.safetensors}}");
  service.reload_modes();
  JobRequest plain;
  plain.prompt = "b";
  const SubmittedJob b(service, plain);
  script_.let_steps_go();
  EXPECT_EQ(a.text(), "photo a.1");
  EXPECT_EQ(b.text(), "photo b.1.2") << "the new number of steps does not count";
  EXPECT_THAT(script_.loads(), ElementsAre("photo", "photo"));
  // Nothing is loaded where nothing has changed, or only another mode.
  service.reload_modes();
  write("{photo: {model: other.safetensors, steps: 2}, sketch: {model: changed.safetensors}}");
  service.reload_modes();
  EXPECT_EQ(SubmittedJob(service, plain).text(), "photo b.1.2");
  EXPECT_THAT(script_.loads(), ElementsAre("photo", "photo"));
}

TEST_F(ModeSwitchTest, WhenTheCurrentModeIsGoneTheDefaultFollows) {
  PipelineService& service = start();
  write("{sketch: {model: s.safetensors}}", "sketch");
  service.reload_modes();
  EXPECT_TRUE(wait_for_mode("sketch"));
  EXPECT_EQ(SubmittedJob(service, request_of("a", 1)).text(), "sketch a.1");
}

TEST_F(ModeSwitchTest, AFileThatCannotBeReadChangesNothing) {
  PipelineService& service = start();
  write("{photo: {steps: 2}}");
  EXPECT_THROW(service.reload_modes(), Error);
  EXPECT_EQ(modes_->modes().size(), 3u);
  EXPECT_EQ(SubmittedJob(service, request_of("a", 1)).text(), "photo a.1");
}

TEST_F(ModeSwitchTest, AChangeOfTheFileIsNoticed) {
  ServiceOptions watching = options();
  watching.watch_modes_s = 0.005;
  PipelineService& service = start(watching);
  write("{photo: {steps: 2}}");  // no model: it is not read, and nothing changes
  write("{sketch: {model: s.safetensors}}", "sketch");
  EXPECT_TRUE(wait_for_mode("sketch"));
  EXPECT_EQ(SubmittedJob(service, request_of("a", 1)).text(), "sketch a.1");
}

TEST_F(ModeSwitchTest, ASwitchToTheCurrentModeLoadsNothing) {
  start();
  EXPECT_EQ(switch_to("photo").get(), std::nullopt);
  EXPECT_THAT(script_.loads(), ElementsAre("photo"));
}

TEST_F(ModeSwitchTest, SwitchesEndWhenTheServiceShutsDown) {
  PipelineService& service = start();
  script_.hold_steps();
  const SubmittedJob a(service, request_of("a", 1));
  ASSERT_TRUE(script_.wait_for_held_step());
  auto switched = switch_to("sketch");
  service.shut_down();
  const std::optional<Error> error = switched.get();
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::unavailable);
  EXPECT_THROW(service.switch_mode("sketch", nullptr), Error);
}

TEST_F(ModeSwitchTest, SeveralWorkersFollowASwitch) {
  ServiceOptions two = options();
  two.workers = 2;
  two.batch_max = 1;
  PipelineService& service = start(two);
  EXPECT_EQ(switch_to("sketch").get(), std::nullopt);
  std::vector<std::unique_ptr<SubmittedJob>> jobs;
  for (int i = 0; i < 20; ++i) jobs.push_back(std::make_unique<SubmittedJob>(service, request_of("a", 1)));
  for (const auto& job : jobs) EXPECT_EQ(job->text(), "sketch a.1");
  EXPECT_EQ(switch_to("photo").get(), std::nullopt);
  for (auto& job : jobs) job = std::make_unique<SubmittedJob>(service, request_of("b", 1));
  for (const auto& job : jobs) EXPECT_EQ(job->text(), "photo b.1");
}

TEST_F(ModeSwitchTest, WaitsForTheJobThatIsFinishedAside) {
  script_.finish_aside();
  PipelineService& service = start();
  script_.hold_finishing();
  const SubmittedJob job(service, request_of("a", 1));
  ASSERT_TRUE(script_.wait_for_finishing(1));
  auto switched = switch_to("sketch");
  EXPECT_EQ(switched.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  EXPECT_THAT(script_.loads(), ElementsAre("photo"));
  script_.let_finishing_go();
  EXPECT_EQ(job.text(), "photo a.1");
  EXPECT_EQ(switched.get(), std::nullopt);
  EXPECT_EQ(script_.living_workers(), 1);
}

}  // namespace
}  // namespace dreamlab
