// The RKNN worker on a stand-in for the NPU's runtime.
#include "worker/rknn_worker.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "base/error.h"
#include "device/rknn/rknn_runtime.h"
#include "pipeline/upscaler.h"
#include "standin.h"
#include "upscaler_files.h"
#include "weights/tensor_file.h"
#include "worker/rknn_model_set.h"

namespace dreamlab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

JobRequest request(uint64_t seed = 42) {
  JobRequest request;
  request.prompt = "a majestic (mountain:1.2) landscape";
  request.size = "64x64";
  request.steps = 2;
  request.seed = seed;
  return request;
}

JobResult run(PipelineWorker& worker, JobRequest wanted = request()) {
  return worker.run_job_with_latents(Job(std::move(wanted), {}));
}

std::string refusal(const std::function<void()>& action, ErrorKind kind) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// Of all values of two pictures.
int largest_difference(const Image& a, const Image& b) {
  EXPECT_EQ(a.pixels.size(), b.pixels.size());
  int most = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) most = std::max(most, std::abs(int{a.pixels[i]} - int{b.pixels[i]}));
  return most;
}

std::shared_ptr<PipelineWorker> make_cpu_worker(const std::filesystem::path& model) {
  WorkerOptions options;
  options.model = model;
  options.backend = "cpu";
  options.dtype = "fp32";
  options.threads = 1;
  return make_worker(options);
}

JobResult on_cpu(const JobRequest& wanted) {
  static const std::shared_ptr<PipelineWorker> worker = make_cpu_worker(ModelOptions{}.checkpoint);
  return run(*worker, wanted);
}

// The golden model with the one tensor that an LCM has besides, as diffusers made it.
std::filesystem::path write_distilled(const TemporaryDirectory& directory) {
  const auto plain = open_tensor_file(ModelOptions{}.checkpoint);
  const auto record = open_tensor_file(golden_dir() / "tiny-sd15" / "unet_lcm_cond.safetensors");
  TensorWriter writer;
  for (const auto& [name, tensor] : plain->tensors()) writer.add(name, tensor);
  writer.add("model.diffusion_model.time_embed.cond_proj.weight", *record->find("time_embedding.cond_proj.weight"));
  std::filesystem::copy_file(ModelOptions{}.checkpoint.parent_path() / "tiny-sd15.config.json",
                             directory.path() / "distilled.config.json");
  return directory.write("distilled.safetensors", writer.file());
}

TEST_F(RknnTest, IntroducesItself) {
  const auto worker = make_worker(rknn_options(root()));
  const WorkerInfo& info = worker->info();
  EXPECT_EQ(info.worker, "RKNN");
  EXPECT_EQ(info.model, "model");
  EXPECT_EQ(info.family, "SD 1.x");
  EXPECT_EQ(info.device, "Rockchip NPU, core 0");
  EXPECT_EQ(info.dtype, "fp16");
  EXPECT_EQ(info.cross_attention_dim, 32);
  EXPECT_EQ(info.default_size, (PictureSize{64, 64}));
  EXPECT_TRUE(info.styles.empty());
}

TEST_F(RknnTest, MakesWhatTheCpuMakes) {
  const auto worker = make_worker(rknn_options(root()));
  JobRequest guided = request(7);
  guided.guidance_scale = 5;
  guided.negative_prompt = "fog";
  guided.scheduler = "euler";
  for (const JobRequest& wanted : {request(), guided}) {
    const JobResult made = run(*worker, wanted), expected = on_cpu(wanted);
    EXPECT_LE(largest_difference(*made.picture, *expected.picture), 3) << "more than halves round";
    EXPECT_THAT(made.parameters, HasSubstr("Size: 64x64, Model: model"));
    ASSERT_TRUE(made.latents);
    EXPECT_EQ(made.latents->size(), 512u);
  }
}

// LCM-distilled: the guidance scale is an input of the UNet, and no negative prompt is asked for.
TEST_F(RknnTest, GivesADistilledModelItsGuidanceScale) {
  ModelOptions distilled;
  distilled.checkpoint = write_distilled(directory_);
  const auto worker = make_worker(rknn_options(root(distilled))), expected = make_cpu_worker(distilled.checkpoint);
  std::vector<Image> pictures;
  for (const double guidance : {1.0, 8.0}) {
    JobRequest wanted = request();
    wanted.guidance_scale = guidance;
    wanted.negative_prompt = "fog";
    const Job job(wanted, {});
    EXPECT_EQ(worker->start(job)->rows(), 1);
    pictures.push_back(*run(*worker, wanted).picture);
    EXPECT_LE(largest_difference(pictures.back(), *run(*expected, wanted).picture), 3) << guidance;
  }
  EXPECT_GT(largest_difference(pictures[0], pictures[1]), 3) << "the guidance scale does not reach the network";
}

// Whatever layout and types the models declare, and whether memory is shared or copied.
TEST_F(RknnTest, MakesTheSameHoweverTensorsGoInAndOut) {
  const JobResult expected = on_cpu(request());
  for (const ModelOptions& options : {ModelOptions{"nchw", "f32", "f32", 1}, ModelOptions{"nhwc", "f32", "i32", 1},
                                      ModelOptions{"nchw", "f16", "i64", 1}, ModelOptions{"nhwc", "f16", "i64", 16}}) {
    for (const bool copied : {false, true}) {
      standin_function<void(bool)>("rknn_standin_refuse_memory")(copied);
      const auto worker = make_worker(rknn_options(root(options)));
      const JobResult made = run(*worker);
      EXPECT_LE(largest_difference(*made.picture, *expected.picture), options.type == "f32" ? 1 : 3)
          << options.format << " " << options.type << (copied ? " copied" : " shared");
    }
  }
}

TEST_F(RknnTest, GivesTheSameBytesForTheSameSeedAndOthersForAnother) {
  const auto worker = make_worker(rknn_options(root()));
  const JobResult first = run(*worker), again = run(*worker), other = run(*worker, request(43));
  EXPECT_EQ(first.png, again.png);
  EXPECT_EQ(first.latents, again.latents);
  EXPECT_NE(first.png, other.png);
  JobRequest unseeded = request();
  unseeded.seed.reset();
  const JobResult one = run(*worker, unseeded), two = run(*worker, unseeded);
  EXPECT_LE(one.seed, 99'999'999u);
  EXPECT_NE(one.seed, two.seed);
}

TEST_F(RknnTest, MakesPicturesOfEverySizeItWasCompiledFor) {
  const auto worker = make_worker(rknn_options(root()));
  JobRequest wide = request();
  wide.size = "96x64";
  const JobResult made = run(*worker, wide);
  EXPECT_EQ(made.picture->width, 96);
  EXPECT_EQ(made.picture->height, 64);
  EXPECT_LE(largest_difference(*made.picture, *on_cpu(wide).picture), 3);
  wide.size = "64x96";
  EXPECT_THAT(refusal([&] { worker->check(wide); }, ErrorKind::invalid_argument),
              AllOf(StartsWith("Invalid size '64x96'"), HasSubstr("64x64, 96x64")));
}

TEST_F(RknnTest, RefusesWhatTheModelCannotDo) {
  const auto worker = make_worker(rknn_options(root()));
  const auto refused = [&](const std::function<void(JobRequest&)>& change) {
    JobRequest wanted = request();
    change(wanted);
    return refusal([&] { worker->check(wanted); }, ErrorKind::invalid_argument);
  };
  EXPECT_THAT(refused([](JobRequest& r) { r.steps = 51; }), HasSubstr("steps 51"));
  EXPECT_THAT(refused([](JobRequest& r) { r.style = StyleChoice{"ink", 1}; }), HasSubstr("\"ink\""));
  EXPECT_THAT(refused([](JobRequest& r) { r.clip_skip = 2; }), HasSubstr("clip skip 2"));
  EXPECT_THAT(refused([](JobRequest& r) { r.scheduler = "nope"; }), HasSubstr("nope"));
  EXPECT_THAT(refused([](JobRequest& r) {
                for (int i = 0; i < 80; ++i) r.prompt += " tree";
              }),
              HasSubstr("1 is allowed"));
  EXPECT_THAT(refused([](JobRequest& r) { r.init_image = std::make_shared<Image>(Image::blank(64, 64)); }),
              HasSubstr("starts from no picture"));
}

TEST_F(RknnTest, StopsWithinAStepAndDrawsPreviews) {
  const auto worker = make_worker(rknn_options(root()));
  Job job(request(), {});
  const auto active = worker->start(job);
  EXPECT_EQ(active->steps(), 2);
  ActiveJob* const jobs[] = {active.get()};
  worker->advance(jobs, nullptr);
  EXPECT_EQ(active->step(), 1);
  EXPECT_EQ(worker->preview(*active).width, 8);
  job.cancel_token().cancel();
  refusal([&] { worker->advance(jobs, &job.cancel_token()); }, ErrorKind::cancelled);
}

TEST_F(RknnTest, ThreeWorkersShareWeightsAndComputeAtOnceOnThreeCores) {
  const auto model = root();
  std::vector<std::shared_ptr<PipelineWorker>> workers;
  for (int core = 0; core < 3; ++core) {
    workers.push_back(make_worker(rknn_options(model, core, 3)));
    EXPECT_EQ(workers.back()->info().device, "Rockchip NPU, core " + std::to_string(core));
  }
  EXPECT_EQ(standin_function<int()>("rknn_standin_loads")(), 5) << "each file once";
  standin_function<void(int)>("rknn_standin_slow_down")(50);
  std::vector<JobResult> results(3);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 3; ++i) threads.emplace_back([&, i] { results[i] = run(*workers[i]); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(results[0].png, results[1].png);
  EXPECT_EQ(results[0].png, results[2].png);
  EXPECT_EQ(standin_function<int()>("rknn_standin_most_at_once")(), 3);
  EXPECT_EQ(standin_function<uint32_t()>("rknn_standin_cores")(), 7u);
}

// Each call in turn: one line of an error or none, nothing is lost, and the next job works.
TEST_F(RknnTest, SurvivesEveryFailureOfTheRuntime) {
  const auto model = root();
  std::filesystem::remove_all(model / "96x64");  // the same calls once more
  const auto fail_after = standin_function<void(int)>("rknn_standin_fail_after");
  const auto calls = standin_function<int()>("rknn_standin_calls");
  const Image expected = *run(*make_worker(rknn_options(model))).picture;
  // Where memory to share was refused, outputs come as floats: a rounding less.
  const auto expect_picture = [&](PipelineWorker& worker, const std::string& when) {
    EXPECT_LE(largest_difference(*run(worker).picture, expected), 3) << when;
  };
  int refused = 0;
  for (int after = 0;; ++after) {
    const int before = calls();
    std::shared_ptr<PipelineWorker> worker;
    fail_after(after);
    try {
      worker = make_worker(rknn_options(model));
      expect_picture(*worker, "call " + std::to_string(after));
    } catch (const Error& error) {
      ++refused;
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    }
    const bool was_reached = calls() - before > after;
    fail_after(-1);
    if (!worker) worker = make_worker(rknn_options(model));
    expect_picture(*worker, "after call " + std::to_string(after));
    if (!was_reached) break;
  }
  EXPECT_GT(refused, 30);
}

TEST_F(RknnTest, FailsInOneLineWhereFilesAreMissingOrDoNotFit) {
  const auto model = root();
  const auto made = [&](const WorkerOptions& options) { return [options] { make_worker(options); }; };
  std::filesystem::remove(model / "text_encoder" / "model.rknn");
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::unavailable), HasSubstr("text_encoder/model.rknn"));
  write_model(model);
  std::filesystem::remove(model / "96x64" / "vae_decoder.rknn");
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::unavailable), HasSubstr("vae_decoder"));
  write_manifest(model / "96x64" / "vae_decoder.rknn", "vae_decoder", 64, 64);
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("another size"));
  write_manifest(model / "96x64" / "vae_decoder.rknn", "text_encoder", 64, 64);
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("one image of 4 channels"));
  write_manifest(model / "96x64" / "vae_decoder.rknn", "vae_decoder", 96, 128);
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("another size"));
  write_model(model);
  write_manifest(model / "96x64" / "unet.rknn", "vae_decoder", 96, 64);
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("no input sample"));
  write_manifest(model / "96x64" / "unet.rknn", "unet", 96, 64, {.more = {{"further_input", "text_embeds"}}});
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("text_embeds is not known"));
  write_manifest(model / "96x64" / "unet.rknn", "unet", 96, 64, {.more = {{"outputs", false}}});
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("3 inputs and 0 outputs"));
  write_model(model);
  write_manifest(model / "text_encoder" / "model.rknn", "vae_decoder", 64, 64);
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::invalid_file), HasSubstr("77 token ids"));
  write_model(model);
  std::ofstream(model / "96x64" / "unet.rknn") << "RKNN of some other kind";
  EXPECT_THAT(refusal(made(rknn_options(model)), ErrorKind::unavailable), HasSubstr("loading the model"));
}

TEST_F(RknnTest, TellsOfARuntimeThatIsMissingOrUnknown) {
  WorkerOptions options = rknn_options(root());
  options.rknn.library = "/nowhere/librknnrt.so";
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable),
              AllOf(HasSubstr("no RKNN device"), HasSubstr("/nowhere/librknnrt.so")));
  options.rknn.library = "libm.so.6";
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable), HasSubstr("has no rknn_init"));
  options.rknn.library = DREAMLAB_RKNN_STANDIN;
  const auto set_versions = standin_function<void(const char*, const char*)>("rknn_standin_set_versions");
  set_versions("1.2.0", "0.9.8");
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable), HasSubstr("\"1.2.0\""));
  set_versions("3.0.0", "0.9.8");
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable), HasSubstr("\"3.0.0\""));
  set_versions("2.0.0b0 (35a6907d79@2024-03-24T10:31:14)", "0.7.2");
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable), HasSubstr("driver"));
  set_versions("librknnrt version: 1.5.2 (c6b7b351a@2023-08-23T15:28:22)", "0.8.8");
  EXPECT_EQ(run(*make_worker(options)).seed, 42u);
}

// Tiles of the compiled size, smaller pictures filled up, against the same network on the CPU.
TEST_F(RknnTest, UpscalesByACompiledNetworkForLuminance) {
  const auto file = directory_.path() / "upscaler.rknn";
  const std::string network = write_network(directory_, "espcn.safetensors", EspcnConfig{}).string();
  const auto upscaler = [&](int side, int height) {
    write_upscaler_manifest(file, network, side, height);
    return std::make_unique<Upscaler>(
        UpscalerOptions{.path = file.string(), .npu = {.library = DREAMLAB_RKNN_STANDIN}});
  };
  const Upscaler on_cpu({.path = network, .device = {.device = "cpu", .threads = 1}});
  for (const PictureSize size : {PictureSize{150, 97}, PictureSize{64, 64}, PictureSize{20, 19}}) {
    const Image picture = test_picture(size.width, size.height);
    const auto on_npu = upscaler(64, 64);
    EXPECT_EQ(on_npu->scale(), on_cpu.scale());
    // But for the right and lower borders, beyond which the CPU's network sees zeros, and here the border again.
    const int64_t scale = on_cpu.scale(), reach = 5 * scale;
    const Image made = on_npu->upscale(picture, {}), expected = on_cpu.upscale(picture, {});
    ASSERT_EQ(made.width, scale * size.width);
    ASSERT_EQ(made.height, scale * size.height);
    int most = 0;
    for (int64_t y = 0; y < made.height - reach; ++y)
      for (int64_t i = 0; i < 3 * (made.width - reach); ++i)
        most = std::max(most, std::abs(int{made.row(y)[i]} - int{expected.row(y)[i]}));
    EXPECT_LE(most, 2) << to_string(size);
  }
  EXPECT_THAT(refusal([&] { upscaler(64, 32); }, ErrorKind::invalid_file), HasSubstr("no upscaler"));
  write_manifest(file, "vae_decoder", 64, 64);
  const auto open = [&](int64_t input, int64_t output) {
    Upscaler({.path = file.string(), .npu = {DREAMLAB_RKNN_STANDIN, input, output}});
  };
  EXPECT_THAT(refusal([&] { open(0, 0); }, ErrorKind::invalid_file), HasSubstr("no upscaler"));
  const auto scale = static_cast<int64_t>(upscaler(64, 64)->scale());
  EXPECT_NO_THROW(open(64, 64 * scale));
  EXPECT_THAT(refusal([&] { open(224, 0); }, ErrorKind::invalid_file),
              AllOf(StartsWith("SR_INPUT_SIZE=224: "), HasSubstr("compiled for 64;")));
  EXPECT_THAT(refusal([&] { open(64, 672); }, ErrorKind::invalid_file), StartsWith("SR_OUTPUT_SIZE=672: "));
}

TEST_F(RknnTest, IsChosenByTheModelAndNothingElseRunsIt) {
  WorkerOptions options = rknn_options(root());
  EXPECT_EQ(resolve_backend(options), "rknn");
  options.model = golden_dir() / "models" / "tiny-sd15.safetensors";
  EXPECT_EQ(resolve_backend(options), "cpu");
  options.backend = "rknn";
  EXPECT_THAT(refusal([&] { make_worker(options); }, ErrorKind::unavailable), HasSubstr("text_encoder"));
}

TEST_F(RknnTest, DrawsNumpysNumbersWhereAskedTo) {
  WorkerOptions options = rknn_options(root());
  options.noise = NoiseKind::numpy;
  const JobResult made = run(*make_worker(options));
  EXPECT_THAT(made.parameters, HasSubstr("RNG: NumPy"));
  EXPECT_NE(made.png, run(*make_worker(rknn_options(options.model))).png);
}

}  // namespace
}  // namespace dreamlab
