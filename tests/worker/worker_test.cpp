// What a client may rely on, of every family of worker on a checkpoint file.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <thread>

#include "pipeline/golden_models.h"
#include "tensor/dtype.h"
#include "test_workers.h"
#include "worker/job_rules.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Kind {
  const char* name;
  const char* family;
  std::filesystem::path (*model)();
};

void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class WorkerTest : public ::testing::TestWithParam<Kind> {
 protected:
  PipelineWorker& worker() const { return worker_on(GetParam().model()); }
};

const Kind kKinds[] = {{"SD", "SD 1.x", [] { return golden_model("tiny-sd15"); }}, {"SDXL", "SDXL", sdxl_test_model}};
INSTANTIATE_TEST_SUITE_P(Worker, WorkerTest, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(WorkerTest, IntroducesItself) {
  const WorkerInfo& info = worker().info();
  EXPECT_EQ(info.worker, GetParam().name);
  EXPECT_THAT(info.family, StartsWith(GetParam().family));
  EXPECT_EQ(info.model, model_name(GetParam().model()));
  EXPECT_THAT(info.device, HasSubstr("cpu"));
  EXPECT_TRUE(info.dtype == "f32" || info.dtype == "bf16") << info.dtype;
  EXPECT_GT(info.cross_attention_dim, 0);
  EXPECT_GE(info.default_size.width, 64);
  EXPECT_EQ(info.default_steps, 4);
  EXPECT_EQ(info.default_guidance, 1.0);
  EXPECT_EQ(info.default_scheduler, "lcm");
}

TEST_P(WorkerTest, MakesAPngOfTheSizeAskedForWithItsParameters) {
  const JobResult result = worker().run_job(Job(small_request(), {}));
  const DecodedImage decoded = decode_image(result.png, "result");
  EXPECT_EQ(decoded.format, ImageFormat::png);
  EXPECT_EQ(decoded.image.width, 64);
  EXPECT_EQ(decoded.image.height, 64);
  EXPECT_TRUE(decoded.image == *result.picture);
  EXPECT_EQ(result.seed, 42u);
  EXPECT_FALSE(result.latents) << "nobody asked for them";
  ASSERT_EQ(decoded.texts.size(), 1u);
  EXPECT_EQ(decoded.texts[0], (ImageText{"parameters", result.parameters}));
  EXPECT_THAT(result.parameters, HasSubstr("a majestic mountain landscape\nSteps: 2, Sampler: LCM, CFG scale: 1, "
                                           "Seed: 42, Size: 64x64, Model: " +
                                           worker().info().model));
  EXPECT_GT(result.timings.text_ms, 0);
  EXPECT_EQ(result.timings.step_ms.size(), 2u);
  EXPECT_GT(result.timings.decode_ms, 0);
  EXPECT_GT(result.encode_png_ms, 0);
  EXPECT_GE(result.timings.total_ms, result.timings.denoise_ms + result.timings.decode_ms + result.encode_png_ms);
}

TEST_P(WorkerTest, TheSameRequestAndSeedGiveTheSameBytes) {
  const JobResult first = run(worker(), small_request()), second = run(worker(), small_request());
  EXPECT_EQ(first.png, second.png);
  EXPECT_EQ(first.latents, second.latents);
}

TEST_P(WorkerTest, LatentsComeWithTheSameImage) {
  const JobResult plain = worker().run_job(Job(small_request(), {}));
  const JobResult with = worker().run_job_with_latents(Job(small_request(), {}));
  ASSERT_TRUE(with.latents);
  EXPECT_EQ(with.latents->size(), 512u);
  EXPECT_EQ(with.png, plain.png);
  EXPECT_EQ(with.seed, plain.seed);
  const std::set<uint8_t> different(with.latents->begin(), with.latents->end());
  EXPECT_GT(different.size(), 20u) << "a fingerprint of hardly any information";
  EXPECT_NE(run(worker(), small_request(43)).latents, with.latents);
}

TEST_P(WorkerTest, MakesSeveralResolutions) {
  for (const char* size : {"64x64", "96x64", "64x128", "72x88", "8x8"}) {
    JobRequest request = small_request();
    request.size = size;
    const JobResult result = run(worker(), request);
    EXPECT_EQ(to_string(PictureSize{result.picture->width, result.picture->height}), size);
    EXPECT_EQ(result.latents->size(), 512u) << size;
  }
}

TEST_P(WorkerTest, RefusesAnInvalidSizeBeforeAnyWork) {
  for (const char* size : {"1024", "x", "0x64", "64x0", "-64x64", "65x64", "64x100", "64x64x64", "64 x 64", "8192x64",
                           "64x99999999999999999999", "wide"}) {
    JobRequest request = small_request();
    request.size = size;
    expect_refused([&] { worker().check(request); }, ErrorKind::invalid_argument, "Invalid size");
    expect_refused([&] { run(worker(), request); }, ErrorKind::invalid_argument, "Invalid size");
  }
}

TEST_P(WorkerTest, DrawsASeedWhereNoneIsGiven) {
  JobRequest request = small_request();
  request.seed.reset();
  request.size = "8x8";
  request.steps = 1;
  std::set<uint64_t> seeds;
  for (int i = 0; i < 4; ++i) {
    const JobResult drawn = run(worker(), request);
    EXPECT_LE(drawn.seed, 99'999'999u);
    seeds.insert(drawn.seed);
    JobRequest again = request;
    again.seed = drawn.seed;
    EXPECT_EQ(run(worker(), again).png, drawn.png) << "the seed that is reported is not the one that was used";
  }
  EXPECT_GE(seeds.size(), 3u);
}

std::shared_ptr<const Image> pattern(int64_t width, int64_t height) {
  Image image = Image::blank(width, height);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7 % 251);
  return std::make_shared<Image>(std::move(image));
}

std::shared_ptr<const Image> half_mask(int64_t width, int64_t height) {
  Image image = Image::blank(width, height);
  for (int64_t y = 0; y < height; ++y) std::fill_n(image.row(y), width / 2 * 3, uint8_t{255});
  return std::make_shared<Image>(std::move(image));
}

TEST_P(WorkerTest, EveryFieldOfARequestMatters) {
  JobRequest base = small_request();
  base.steps = 4;
  base.guidance_scale = 3;
  base.init_image = pattern(64, 64);
  const std::pair<const char*, std::function<void(JobRequest&)>> changes[] = {
      {"prompt", [](JobRequest& r) { r.prompt = "a lighthouse"; }},
      {"negative prompt", [](JobRequest& r) { r.negative_prompt = "blurry"; }},
      {"steps", [](JobRequest& r) { r.steps = 8; }},
      {"guidance scale", [](JobRequest& r) { r.guidance_scale = 5; }},
      {"seed", [](JobRequest& r) { r.seed = 43; }},
      {"scheduler", [](JobRequest& r) { r.scheduler = "Euler a"; }},
      {"clip skip", [](JobRequest& r) { r.clip_skip = 2; }},
      {"initial picture", [](JobRequest& r) { r.init_image = pattern(32, 16); }},
      {"strength", [](JobRequest& r) { r.strength = 0.5; }},
      {"mask", [](JobRequest& r) { r.mask = half_mask(32, 32); }},
  };
  const Image plain = *run(worker(), base).picture;
  for (const auto& change : changes) {
    JobRequest request = base;
    change.second(request);
    EXPECT_FALSE(*run(worker(), request).picture == plain) << change.first << " has no effect";
  }
}

TEST_P(WorkerTest, TakesTheSizeFromThePictureWhereNoneIsGiven) {
  JobRequest request = small_request();
  request.size.clear();
  request.init_image = pattern(77, 90);
  request.strength = 0.5;
  const JobResult result = run(worker(), request);
  EXPECT_EQ(result.picture->width, 72);
  EXPECT_EQ(result.picture->height, 88);
  request.init_image = pattern(7, 90);
  expect_refused([&] { worker().check(request); }, ErrorKind::invalid_argument, "Invalid size");
}

TEST_P(WorkerTest, RefusesWhatIsOutOfRangeByName) {
  struct Case {
    std::function<void(JobRequest&)> spoil;
    const char *beginning, *part;
  };
  const Case cases[] = {
      {[](JobRequest& r) { r.steps = 0; }, "steps 0", "1..50"},
      {[](JobRequest& r) { r.steps = 51; }, "steps 51", "1..50"},
      {[](JobRequest& r) { r.guidance_scale = -0.5; }, "guidance scale -0.5", "0..20"},
      {[](JobRequest& r) { r.guidance_scale = 20.5; }, "guidance scale 20.5", "0..20"},
      {[](JobRequest& r) { r.guidance_scale = std::nan(""); }, "guidance scale nan", "0..20"},
      {[](JobRequest& r) { r.scheduler = "magic"; }, "there is no sampler \"magic\"", "euler"},
      {[](JobRequest& r) { r.clip_skip = 0; }, "clip skip 0", "1.."},
      {[](JobRequest& r) { r.clip_skip = 13; }, "clip skip 13", "1.."},
      {[](JobRequest& r) { r.strength = 1.5; }, "strength 1.5", "1"},
      {[](JobRequest& r) { r.mask = std::make_shared<Image>(Image::blank(8, 8)); }, "a mask needs the picture", ""},
      {[](JobRequest& r) {
         r.style = StyleChoice{"papercut", 1};
       },
       "there is no style \"papercut\"", "none"},
      {[](JobRequest& r) { r.prompt.assign(kMaxPromptBytes + 1, 'a'); }, "prompt of 20001 bytes", "20000"},
      {[](JobRequest& r) { r.negative_prompt.assign(kMaxPromptBytes + 1, ' '); }, "negative prompt of 20001", "20000"},
      {[](JobRequest& r) {
         for (int i = 0; i < 9000; ++i) r.prompt += "a ";
       },
       "prompt of 1", "32 are allowed"},
  };
  for (const Case& c : cases) {
    JobRequest request = small_request();
    c.spoil(request);
    expect_refused([&] { worker().check(request); }, ErrorKind::invalid_argument, c.beginning, c.part);
    expect_refused([&] { run(worker(), request); }, ErrorKind::invalid_argument, c.beginning, c.part);
  }
}

TEST_P(WorkerTest, AnyTextIsAPrompt) {
  std::string garbage;
  for (int i = 0; i < 600; ++i) garbage += static_cast<char>(i * 37);
  const std::string prompts[] = {"",
                                 " ",
                                 garbage,
                                 std::string(kMaxPromptBytes, '('),
                                 std::string(1500, 'a'),
                                 "\xF0\x9F\x8C\x8B volcano, \xC3\xA9t\xC3\xA9",
                                 "a BREAK b [c] (d:1.3)"};
  for (const std::string& prompt : prompts) {
    JobRequest request = small_request();
    request.size = "8x8";
    request.steps = 1;
    request.prompt = prompt;
    try {
      EXPECT_FALSE(run(worker(), request).png.empty());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << error.what();
    }
  }
}

TEST_P(WorkerTest, ChecksOnOtherThreadsWhileItWorks) {
  PipelineWorker& subject = worker();  // made on this thread
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  std::atomic<int> accepted{0}, refused{0};
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      JobRequest bad = small_request();
      bad.size = "65x64";
      do {
        subject.check(small_request());
        ++accepted;
        try {
          subject.check(bad);
        } catch (const Error&) {
          ++refused;
        }
      } while (!stop);
    });
  }
  const JobResult busy = run(subject, small_request());
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(busy.png, run(subject, small_request()).png);
  EXPECT_EQ(accepted.load(), refused.load());
  EXPECT_GE(accepted.load(), 2);
}

TEST_P(WorkerTest, ACancelledJobStopsWithinAStep) {
  JobRequest request = small_request();
  request.steps = 50;
  Job job(request, {});
  const std::unique_ptr<ActiveJob> active = worker().start(job);
  ActiveJob* const jobs[] = {active.get()};
  worker().advance(jobs, &job.cancel_token());
  job.cancel_token().cancel();
  expect_refused([&] { worker().advance(jobs, &job.cancel_token()); }, ErrorKind::cancelled, "cancelled");
  EXPECT_LE(active->step(), 2);
  expect_refused([&] { worker().run_job(job); }, ErrorKind::cancelled, "cancelled");
  EXPECT_EQ(run(worker(), small_request()).png, run(worker(), small_request()).png) << "the worker is of no use after";
}

TEST_P(WorkerTest, APreviewShowsWhereAJobStands) {
  for (const char* scheduler : {"lcm", "euler"}) {
    JobRequest request = small_request();
    request.size = "96x64";
    request.scheduler = scheduler;
    Job job(request, {});
    const std::unique_ptr<ActiveJob> active = worker().start(job);
    std::vector<Image> previews = {worker().preview(*active)};
    while (!active->done()) {
      ActiveJob* const jobs[] = {active.get()};
      worker().advance(jobs, nullptr);
      previews.push_back(worker().preview(*active));
    }
    for (const Image& preview : previews) {
      EXPECT_EQ(preview.width % 12, 0);
      EXPECT_EQ(preview.width / 12, preview.height / 8);
      EXPECT_EQ(preview.channels, 3);
    }
    EXPECT_FALSE(previews.front() == previews.back());
    // Noise of the sampler's first sigma would be black and white alone.
    const auto& pixels = previews.front().pixels;
    const auto saturated = std::count_if(pixels.begin(), pixels.end(), [](uint8_t v) { return v == 0 || v == 255; });
    EXPECT_LT(saturated, static_cast<std::ptrdiff_t>(pixels.size() / 3)) << scheduler;
  }
}

// Runs of diffusers whose noise a seed gives: from a request alone, through the worker, to the recorded fingerprint.
struct RecordedRun {
  const char *model, *name, *scheduler;
};

void PrintTo(const RecordedRun& run, std::ostream* out) {
  *out << run.model << "/" << run.name;
}

class GoldenWorkerTest : public ::testing::TestWithParam<RecordedRun> {};
INSTANTIATE_TEST_SUITE_P(Records, GoldenWorkerTest,
                         ::testing::Values(RecordedRun{"tiny-sd15", "dpmpp2m_karras6_g5", "dpmpp_2m_karras"},
                                           RecordedRun{"tiny-sd15", "ddim5_g3_noneg", "ddim"},
                                           RecordedRun{"tiny-sd2", "ddim5_g3_noneg", "ddim"},
                                           RecordedRun{"tiny-sdxl", "euler8_g7.5", "euler"},
                                           RecordedRun{"tiny-sdxl", "dpmpp2m_karras6_g5", "dpmpp_2m_karras"},
                                           RecordedRun{"tiny-sdxl", "ddim5_g3_noneg", "ddim"}),
                         [](const auto& info) {
                           const std::string model = info.param.model;
                           return (model == "tiny-sdxl"  ? "SDXL_"
                                   : model == "tiny-sd2" ? "SD2_"
                                                         : "SD_") +
                                  std::string(info.param.scheduler);
                         });

std::vector<float> halves(std::span<const uint8_t> bytes) {
  std::vector<float> values;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2)
    values.push_back(static_cast<float>(Float16{static_cast<uint16_t>(bytes[i] | bytes[i + 1] << 8)}));
  return values;
}

TEST_P(GoldenWorkerTest, FingerprintsTheLatentsAsRecorded) {
  const GoldenCase golden(GetParam().model, "pipeline", GetParam().name);
  WorkerOptions options = options_for(golden_model(GetParam().model));
  options.noise = NoiseKind::cpu;
  const std::shared_ptr<PipelineWorker> worker = make_worker(options);
  JobRequest request;
  request.prompt = golden.settings().at("prompt");
  if (golden.settings().at("negative").is_string()) request.negative_prompt = golden.settings().at("negative");
  request.size = to_string(golden.size());
  request.steps = golden.settings().at("steps").get<int>();
  request.guidance_scale = golden.settings().at("guidance").get<double>();
  request.seed = golden.settings().at("noise_seed").get<uint64_t>();
  request.scheduler = GetParam().scheduler;
  const JobResult result = run(*worker, request);

  const HostTensor& expected = golden.tensor("fingerprint_bytes");
  ASSERT_EQ(static_cast<size_t>(expected.shape.elements()), result.latents->size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(expected.data);
  const std::vector<float> wanted = halves(std::span(bytes, kFingerprintBytes)), found = halves(*result.latents);
  EXPECT_LT(relative_error(found, wanted), 1e-3);
  const auto equal =
      std::inner_product(found.begin(), found.end(), wanted.begin(), 0, std::plus<>(), std::equal_to<>());
  EXPECT_GE(equal, 200) << "of 256 halves; rounding explains fewer differences";
  const HostTensor& pixels = golden.tensor("image_u8");
  int worst = 0;
  for (size_t i = 0; i < result.picture->pixels.size(); ++i)
    worst = std::max(worst,
                     std::abs(int{result.picture->pixels[i]} - int{reinterpret_cast<const uint8_t*>(pixels.data)[i]}));
  EXPECT_LE(worst, 1) << "of 255";
}

}  // namespace
}  // namespace dreamlab
