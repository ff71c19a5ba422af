#include "worker/worker_factory.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/thread_pool.h"
#include "test_workers.h"
#include "weights/file_writers.h"

namespace dreamlab {
namespace {

Config config_of(std::map<std::string, std::string, std::less<>> values) {
  return Config([values = std::move(values)](std::string_view name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
}

std::shared_ptr<PipelineWorker> worker_for(const std::filesystem::path& model, std::optional<bool> sdxl = {}) {
  WorkerOptions options = options_for(model);
  options.sdxl = sdxl;
  return make_worker(options);
}

TEST(WorkerFactory, TakesTheWorkerThatFitsTheCheckpoint) {
  struct Case {
    const char *model, *worker, *family;
  };
  for (const Case& c : {Case{"tiny-sd15.safetensors", "SD", "SD 1.x"}, Case{"tiny-sd15.ckpt", "SD", "SD 1.x"},
                        Case{"tiny-sd15", "SD", "SD 1.x"}, Case{"tiny-sd2.safetensors", "SD", "SD 2.x"},
                        Case{"tiny-sdxl.safetensors", "SDXL", "SDXL"}, Case{"tiny-sdxl", "SDXL", "SDXL"},
                        Case{"tiny-refiner.safetensors", "SDXL", "SDXL refiner"}}) {
    const std::shared_ptr<PipelineWorker> worker = worker_for(golden_dir() / "models" / c.model);
    EXPECT_EQ(worker->info().worker, c.worker) << c.model;
    EXPECT_EQ(worker->info().family, c.family) << c.model;
  }
}

TEST(WorkerFactory, TakesTheWorkerThatTheToggleWants) {
  EXPECT_EQ(worker_for(golden_model("tiny-sdxl"), true)->info().worker, "SDXL");
  EXPECT_EQ(worker_for(golden_model("tiny-sd15"), false)->info().worker, "SD");
}

TEST(WorkerFactory, RefusesAWrongPairingInOneLine) {
  const std::string sd = golden_model("tiny-sd15").string(), sdxl = golden_model("tiny-sdxl").string();
  expect_refused([&] { worker_for(sd, true); }, ErrorKind::invalid_file, sd + ": this is SD 1.x, but USE_SDXL=1",
                 "expects SDXL");
  expect_refused([&] { worker_for(sdxl, false); }, ErrorKind::invalid_file, sdxl + ": this is SDXL, but USE_SDXL=0",
                 "expects SD 1.x or 2.x");
}

TEST(WorkerFactory, RefusesWhatIsNoModelInOneLine) {
  const TemporaryDirectory directory;
  const std::filesystem::path truncated = directory.path() / "truncated.safetensors";
  std::filesystem::copy_file(golden_model("tiny-sd15"), truncated);
  std::filesystem::resize_file(truncated, std::filesystem::file_size(truncated) / 2);
  struct Case {
    std::filesystem::path model;
    ErrorKind kind;
    std::string part;
  };
  for (const Case& c : {Case{golden_model("tiny-sdxl-lora-kohya"), ErrorKind::invalid_file, "LoRA"},
                        Case{golden_model("tiny-esrgan"), ErrorKind::invalid_file, "upscaler"},
                        Case{truncated, ErrorKind::invalid_file, ""},
                        Case{directory.write("text.safetensors", "hello"), ErrorKind::invalid_file, ""},
                        Case{directory.path() / "absent.safetensors", ErrorKind::unavailable, ""}})
    expect_refused([&] { worker_for(c.model); }, c.kind, c.model.string(), c.part);
  expect_refused([] { worker_for(""); }, ErrorKind::unavailable, "no model: ", "MODEL");
}

TEST(WorkerFactory, TellsWhichBackendsAreThere) {
  WorkerOptions options = options_for(golden_model("tiny-sd15"));
  for (const char* absent : {"cuda", "rknn"}) {
    options.backend = absent;
    expect_refused([&] { make_worker(options); }, ErrorKind::unavailable, std::string("BACKEND=") + absent,
                   "cpu and auto work");
  }
  options.backend = "abacus";
  expect_refused([&] { make_worker(options); }, ErrorKind::invalid_argument, "BACKEND=abacus", "auto, cuda, cpu, rknn");
  options.backend = "auto";
  EXPECT_THAT(make_worker(options)->info().device, ::testing::HasSubstr("cpu"));
}

TEST(WorkerFactory, ChecksTheDefaultsOfRequests) {
  WorkerOptions options = options_for(golden_model("tiny-sd15"));
  options.size = PictureSize{65, 64};
  expect_refused([&] { make_worker(options); }, ErrorKind::invalid_argument, "Invalid size");
  options.size = PictureSize{72, 64};
  options.steps = 51;
  expect_refused([&] { make_worker(options); }, ErrorKind::invalid_argument, "steps 51");
  options.steps = 3;
  options.guidance = 21;
  expect_refused([&] { make_worker(options); }, ErrorKind::invalid_argument, "guidance scale 21");
  options.guidance = 2;
  options.scheduler = "magic";
  expect_refused([&] { make_worker(options); }, ErrorKind::invalid_argument, "there is no sampler");
  options.scheduler = "Euler a";
  const std::shared_ptr<PipelineWorker> worker = make_worker(options);
  EXPECT_EQ(worker->info().default_scheduler, "euler_a");
  JobRequest request;
  request.prompt = "a lighthouse";
  const JobResult result = run(*worker, request);
  EXPECT_THAT(result.parameters, ::testing::HasSubstr("Steps: 3, Sampler: Euler a, CFG scale: 2, Seed: "));
  EXPECT_THAT(result.parameters, ::testing::HasSubstr("Size: 72x64"));
}

TEST(WorkerFactory, ACancelledLoadEnds) {
  CancelToken cancel;
  cancel.cancel();
  WorkerOptions options = options_for(golden_model("tiny-sd15"));
  options.cancel = &cancel;
  expect_refused([&] { make_worker(options); }, ErrorKind::cancelled, "cancelled");
}

TEST(WorkerOptions, ComeFromTheEnvironment) {
  const TemporaryDirectory directory;
  const auto styles = directory.write("s.yaml", "styles: {paper: {path: paper.safetensors}}\n");
  const WorkerOptions options = worker_options(config_of({{"MODEL_ROOT", "/models"},
                                                          {"MODEL", "m.safetensors"},
                                                          {"BACKEND", "CPU"},
                                                          {"CPU_DTYPE", "fp32"},
                                                          {"THREADS", "7"},
                                                          {"NUM_WORKERS", "3"},
                                                          {"DEFAULT_SIZE", "640x384"},
                                                          {"DEFAULT_STEPS", "9"},
                                                          {"DEFAULT_GUIDANCE", "2.5"},
                                                          {"SCHEDULER", "DPM++ 2M Karras"},
                                                          {"RNG", "cpu"},
                                                          {"VAE_TILING", "off"},
                                                          {"STYLES", styles.string()}}));
  EXPECT_EQ(options.model, "/models/m.safetensors");
  EXPECT_EQ(options.sdxl, std::nullopt);
  EXPECT_EQ(options.backend, "cpu");
  EXPECT_EQ(options.dtype, "fp32");
  EXPECT_EQ(options.threads, 2) << "7 among 3";
  EXPECT_EQ(options.size, (PictureSize{640, 384}));
  EXPECT_EQ(options.steps, 9);
  EXPECT_EQ(options.guidance, 2.5);
  EXPECT_EQ(options.scheduler, "dpmpp_2m_karras");
  EXPECT_EQ(options.noise, NoiseKind::cpu);
  EXPECT_EQ(options.vae_tiling, TilingMode::off);
  ASSERT_EQ(options.styles.size(), 1u);
  EXPECT_EQ(options.styles[0].path, "/models/paper.safetensors");
}

TEST(WorkerOptions, HaveTheContractsDefaults) {
  const WorkerOptions options = worker_options(config_of({}));
  EXPECT_EQ(options.model, "");
  EXPECT_EQ(options.backend, "auto");
  EXPECT_EQ(options.dtype, "auto");
  EXPECT_EQ(options.threads, available_processors());
  EXPECT_EQ(options.size, std::nullopt);
  EXPECT_EQ(options.steps, 4);
  EXPECT_EQ(options.guidance, 1.0);
  EXPECT_EQ(options.scheduler, "lcm");
  EXPECT_EQ(options.noise, NoiseKind::cuda);
  EXPECT_EQ(options.vae_tiling, TilingMode::automatic);
  EXPECT_TRUE(options.styles.empty());
  EXPECT_EQ(worker_options(config_of({{"NUM_WORKERS", "64"}, {"THREADS", "2"}})).threads, 1);
}

TEST(WorkerOptions, NameTheVariableThatIsWrong) {
  expect_refused(
      [] {
        worker_options(config_of({{"SCHEDULER", "magic"}}));
      },
      ErrorKind::invalid_argument, "SCHEDULER=magic: ", "euler");
  expect_refused(
      [] {
        worker_options(config_of({{"STYLES", "/no/styles.yaml"}}));
      },
      ErrorKind::unavailable, "/no/styles.yaml");
}

TEST(ModelLocation, FallsBackFromTheSdxlVariablesToTheOthers) {
  using Values = std::map<std::string, std::string, std::less<>>;
  struct Case {
    Values values;
    const char *main, *sdxl;  // "": none
  };
  const Case cases[] = {
      {{}, "", ""},
      {{{"MODEL", "/a/m"}}, "/a/m", "/a/m"},
      {{{"MODEL_ROOT", "/r"}, {"MODEL", "m"}}, "/r/m", "/r/m"},
      {{{"MODEL_ROOT", "/r"}, {"MODEL", "m"}, {"SDXL_MODEL", "x"}}, "/r/m", "/r/x"},
      {{{"MODEL_ROOT", "/r"}, {"MODEL", "m"}, {"SDXL_MODEL", "x"}, {"SDXL_MODEL_ROOT", "/s"}}, "/r/m", "/s/x"},
      {{{"MODEL_ROOT", "/r"}, {"MODEL", "m"}, {"SDXL_MODEL_ROOT", "/s"}}, "/r/m", "/s/m"},
      {{{"USE_SDXL", "1"}, {"MODEL_ROOT", "/r"}, {"MODEL", "m"}}, "/r/m", "/r/m"},
      {{{"USE_SDXL", "1"}, {"MODEL_ROOT", "/r"}, {"MODEL", "m"}, {"SDXL_MODEL", "x"}}, "/r/x", "/r/x"},
      {{{"USE_SDXL", "0"}, {"MODEL_ROOT", "/r"}, {"MODEL", "m"}, {"SDXL_MODEL", "x"}}, "/r/m", "/r/x"},
      {{{"SDXL_MODEL", "/s/x"}}, "", "/s/x"},
  };
  for (const Case& c : cases) {
    const Config config = config_of(c.values);
    EXPECT_EQ(locate_model(config).value_or(""), c.main) << ::testing::PrintToString(c.values);
    EXPECT_EQ(locate_model(config, ModelSlot::sdxl).value_or(""), c.sdxl) << ::testing::PrintToString(c.values);
  }
  EXPECT_EQ(worker_options(config_of({}), ModelSlot::sdxl).sdxl, true);
  EXPECT_EQ(worker_options(config_of({{"USE_SDXL", "no"}})).sdxl, false);
}

TEST(ModelLocation, CallsAModelByItsFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(model_name("/models/sd_xl_base_1.0.safetensors"), "sd_xl_base_1.0");
  std::filesystem::create_directory(directory.path() / "sdxl-1.0");
  EXPECT_EQ(model_name(directory.path() / "sdxl-1.0"), "sdxl-1.0");
  EXPECT_EQ(model_name((directory.path() / "sdxl-1.0").string() + "/"), "sdxl-1.0");
}

}  // namespace
}  // namespace dreamlab
