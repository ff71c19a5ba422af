// `dreamlab bench`: how long each stage of a picture takes, and which share of the machine's own matrix peak that is.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/image.h"
#include "base/picture_size.h"
#include "base/thread_pool.h"
#include "device/make_device.h"
#include "dreamlab/bench_server.h"
#include "dreamlab/commands.h"
#include "dreamlab/median.h"
#include "pipeline/pipeline.h"
#include "worker/device_choice.h"

namespace dreamlab {
namespace {

struct BenchFlags {
  std::string family = "sdxl";
  std::optional<std::string> model, size;
  bool random_weights = false;
  int steps = 4;
  double guidance = 1.0;
  int batch = 1;
  int threads = 0;
  int repeat = 0;  // 0: 20 on a GPU, else 3
  bool profile = false;
  std::string dtype = "auto", device = "cpu";
  std::vector<std::string> only;
  bool json = false;
  bool server = false;
};

struct FamilyRow {
  std::string_view name;
  Family family;
};
constexpr FamilyRow kFamilies[] = {
    {"sd15", Family::sd1}, {"sd2", Family::sd2}, {"sdxl", Family::sdxl}, {"sdxl-refiner", Family::sdxl_refiner}};
const std::vector<std::string> kStageNames = {"load", "text", "unet", "vae_decode", "image"};

struct Stage {
  std::string name;
  double ms = 0;
  double operations = 0;              // floating-point operations, as direct computation counts them; 0: not counted
  std::vector<double> times_ms = {};  // each run, where there were several
};

struct BenchReport {
  double peak_tflops = 0;
  std::vector<Stage> stages;
  double peak_memory_mib = 0;
  std::optional<DeviceMemory> memory;  // of a GPU, at the end; its peak is that since the model was loaded
  // Of one run of a stage each, where a profile was asked for: its name, and the times by kind of operation.
  std::vector<std::pair<std::string, std::vector<OperationTime>>> profiles;
  std::string device, dtype, model, size;
  int threads = 0, batch = 1, steps = 4, repeat = 1;
  double guidance = 1;
};

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double mebibytes(size_t bytes) {
  return static_cast<double>(bytes) / 0x1p20;
}

// The largest resident size of this process so far, from the kernel (VmHWM).
double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024.0;
  }
  return 0;
}

// The machine's matrix peak in the compute dtype: the best of many products of shapes that suit the library.
double measure_peak_tflops(Device& device) {
  struct ProductShape {
    int64_t rows, in, out;
  };
  constexpr ProductShape kOfProcessors[] = {{1024, 1280, 1280}, {2048, 1024, 1024}, {4096, 640, 640}};
  constexpr ProductShape kOfGpus[] = {{8192, 8192, 8192}, {16384, 4096, 4096}};
  constexpr double kMeasureMs = 600;
  const bool gpu = device.memory().has_value();
  const int at_once = gpu ? 10 : 1;  // a GPU should not wait for the host in between
  double best = 0;
  for (const ProductShape& shape : gpu ? std::span<const ProductShape>(kOfGpus) : kOfProcessors) {
    std::vector<float> values(static_cast<size_t>(shape.in * std::max(shape.out, shape.rows)));
    for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i % 8191));
    const auto count = static_cast<size_t>(shape.in * shape.out);
    const auto weights =
        device.pack_linear(HostTensor::from_f32(std::span(values).first(count), Shape{shape.out, shape.in}), nullptr);
    const Tensor x = device.upload(std::span(values).first(static_cast<size_t>(shape.rows * shape.in)),
                                   Shape{1, shape.rows, shape.in});
    device.linear(x, *weights);
    device.synchronize();
    const double flops = 2.0 * at_once * static_cast<double>(shape.rows * shape.in * shape.out);
    for (const double begin = now_ms(); now_ms() - begin < kMeasureMs;) {
      const double start = now_ms();
      for (int i = 0; i < at_once; ++i) device.linear(x, *weights);
      device.synchronize();
      best = std::max(best, flops / (now_ms() - start) * 1e-9);
    }
  }
  return best;
}

class Bench {
 public:
  explicit Bench(const BenchFlags& flags)
      : flags_(flags), device_(make_device(device_choice(Config(), flags.device, flags.dtype, flags.threads))) {
    if (flags.size) size_ = parse_size(*flags.size);  // before anything that takes time
    report_.peak_tflops = measure_peak_tflops(*device_);
    device_->trim();
    report_.device = device_->description();
    report_.dtype = name_of(device_->compute_dtype());
    is_gpu_ = device_->memory().has_value();
    repeat_ = flags.repeat > 0 ? flags.repeat : is_gpu_ ? kGpuRepeat : kCpuRepeat;
    report_.threads = flags.threads > 0 ? flags.threads : available_processors();
    report_.batch = flags.batch;
    report_.steps = flags.steps;
    report_.repeat = repeat_;
    report_.guidance = flags.guidance;
  }

  BenchReport run() {
    load();
    make_requests();
    if (wanted("text")) time_text();
    if (wanted("unet")) time_unet();
    if (wanted("vae_decode")) time_vae();
    if (wanted("image")) time_image();
    report_.peak_memory_mib = peak_memory_mib();
    report_.memory = device_->memory();
    return report_;
  }

 private:
  static constexpr int kGpuRepeat = 20, kCpuRepeat = 3;

  bool wanted(const std::string& stage) const {
    return flags_.only.empty() || std::find(flags_.only.begin(), flags_.only.end(), stage) != flags_.only.end();
  }

  void load() {
    const double start = now_ms();
    if (flags_.model) {
      checkpoint_ = Checkpoint::open(*flags_.model);
      report_.model = *flags_.model;
    } else {
      const auto row = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                    [&](const FamilyRow& r) { return r.name == flags_.family; });
      checkpoint_ = Checkpoint::random(published_config(row->family), 0, DType::f16);
      report_.model = fmt::format("{}, random weights", flags_.family);
    }
    pipeline_ = std::make_unique<Pipeline>(*device_, checkpoint_);
    report_.stages.push_back({"load", now_ms() - start, 0});
  }

  void make_requests() {
    GenerationRequest request = pipeline_->default_request();
    if (size_) request.size = *size_;
    request.prompt = "a majestic mountain landscape, golden hour, ultra detailed";
    request.steps = flags_.steps;
    request.guidance_scale = flags_.guidance;
    report_.size = to_string(request.size);
    for (int i = 0; i < flags_.batch; ++i) {
      request.seed = uint64_t{42} + static_cast<uint64_t>(i);
      requests_.push_back(request);
    }
    pipeline_->check(request);
  }

  // Runs `work` to warm up, then `repeat` times, and keeps the median. Its argument: which time it is, from 0.
  template <typename Work>
  void time_stage(const std::string& name, int repeat, const Work& work) {
    for (int i = 0; i < warm_ups(); ++i) work(i);
    device_->synchronize();
    std::vector<double> times;
    const uint64_t before = device_->operations_issued();
    for (int i = 0; i < repeat; ++i) {
      const double start = now_ms();
      work(warm_ups() + i);
      device_->synchronize();
      times.push_back(now_ms() - start);
    }
    const auto operations = static_cast<double>(device_->operations_issued() - before) / repeat;
    report_.stages.push_back({name, median(times), operations, times});
  }

  // A GPU sees work, records it, and repeats it from then on.
  int warm_ups() const { return is_gpu_ ? 3 : 1; }

  void time_text() {
    time_stage("text", repeat_, [&](int i) {
      GenerationRequest request = requests_.front();
      request.prompt += fmt::format(", variation {}", i);  // past the cache of prompts
      pipeline_->encode_text(request);
    });
  }

  void time_unet() {
    // Steps enough for every pass to be one network call of the same jobs.
    std::vector<std::unique_ptr<DenoisingJob>> jobs;
    for (GenerationRequest request : requests_) {
      request.steps = std::max(request.steps, repeat_ + warm_ups());
      jobs.push_back(pipeline_->start(request));
    }
    std::vector<DenoisingJob*> batch;
    batch.reserve(jobs.size());
    for (const auto& job : jobs) batch.push_back(job.get());
    time_stage("unet", repeat_, [&](int) { pipeline_->advance(batch); });
    if (flags_.profile) profile_unet();
  }

  void profile_unet() {
    std::vector<std::unique_ptr<DenoisingJob>> jobs;
    std::vector<DenoisingJob*> batch;
    for (const GenerationRequest& request : requests_)
      batch.push_back(jobs.emplace_back(pipeline_->start(request)).get());
    profile_stage("UNet pass", [&] { pipeline_->advance(batch); });
  }

  template <typename Work>
  void profile_stage(const std::string& name, const Work& work) {
    device_->begin_profile();
    work();
    report_.profiles.emplace_back(name, device_->end_profile());
  }

  void time_vae() {
    const PictureSize size = requests_.front().size;
    Latents latents =
        Latents::zeros(size.height / kLatentScale, size.width / kLatentScale, pipeline_->config().vae.latent_channels);
    const auto noise = make_noise_source(NoiseKind::cuda, 1);
    noise->normals(latents.values);
    const auto decode = [&] { pipeline_->decode_image(latents, TilingMode::automatic); };
    time_stage("vae_decode", repeat_, [&](int) { decode(); });
    if (flags_.profile) profile_stage("VAE decoding", decode);
  }

  // From the request to the bytes of a PNG in memory. Once on a processor, where it takes long.
  void time_image() {
    const auto make = [&](int i) {
      std::vector<GenerationRequest> requests = requests_;
      for (GenerationRequest& request : requests) request.prompt += fmt::format(", picture {}", i);  // past the cache
      const auto results = pipeline_->generate_batch(requests);
      for (const GenerationResult& result : results) encode_image(result.image, ImageFormat::png);
    };
    if (is_gpu_) return time_stage("image", repeat_, make);
    const uint64_t before = device_->operations_issued();
    const double start = now_ms();
    make(0);
    report_.stages.push_back({"image", now_ms() - start, static_cast<double>(device_->operations_issued() - before)});
  }

  const BenchFlags& flags_;
  std::unique_ptr<Device> device_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Pipeline> pipeline_;
  std::vector<GenerationRequest> requests_;
  std::optional<PictureSize> size_;
  bool is_gpu_ = false;
  int repeat_ = 0;
  BenchReport report_;
};

double tflops(const Stage& stage) {
  return stage.ms > 0 ? stage.operations / stage.ms * 1e-9 : 0;
}

nlohmann::json to_json(const BenchReport& report) {
  nlohmann::json stages = nlohmann::json::array();
  for (const Stage& stage : report.stages)
    stages.push_back({{"name", stage.name},
                      {"ms", stage.ms},
                      {"times_ms", stage.times_ms},
                      {"tflops", tflops(stage)},
                      {"share_of_peak", report.peak_tflops > 0 ? tflops(stage) / report.peak_tflops : 0}});
  nlohmann::json profiles = nlohmann::json::object();
  for (const auto& [name, times] : report.profiles) {
    nlohmann::json& operations = profiles[name] = nlohmann::json::array();
    for (const OperationTime& time : times)
      operations.push_back({{"name", time.name},
                            {"calls", time.calls},
                            {"ms", time.ms},
                            {"operations", time.operations},
                            {"bytes", time.bytes}});
  }
  return {{"peak_tflops", report.peak_tflops},
          {"stages", stages},
          {"peak_memory_mib", report.peak_memory_mib},
          {"peak_gpu_memory_mib", report.memory ? nlohmann::json(mebibytes(report.memory->peak)) : nullptr},
          {"profiles", profiles},
          {"device", report.device},
          {"dtype", report.dtype},
          {"threads", report.threads},
          {"model", report.model},
          {"size", report.size},
          {"batch", report.batch},
          {"steps", report.steps},
          {"guidance", report.guidance},
          {"repeat", report.repeat}};
}

void print_profile(const std::string& name, const std::vector<OperationTime>& times) {
  double total = 0;
  for (const OperationTime& time : times) total += time.ms;
  fmt::print("\none {} by operation, {:.2f} ms of the GPU in all\n", name, total);
  fmt::print("{:<52} {:>6} {:>9} {:>9} {:>9}\n", "operation", "calls", "ms", "TFLOP/s", "GB/s");
  for (const OperationTime& time : times)
    fmt::print("{:<52} {:>6} {:>9.3f} {:>9.1f} {:>9.0f}\n", time.name, time.calls, time.ms,
               time.operations / time.ms * 1e-9, time.bytes / time.ms * 1e-6);
}

void print_table(const BenchReport& report) {
  fmt::print("{}; {}; {}, batch {}, {} steps\n", report.device, report.model, report.size, report.batch, report.steps);
  fmt::print("matrix peak of this machine in {}: {:.3f} TFLOP/s\n\n", report.dtype, report.peak_tflops);
  fmt::print("{:<12} {:>12} {:>10} {:>14}\n", "stage", "ms", "TFLOP/s", "share of peak");
  for (const Stage& stage : report.stages) {
    if (stage.operations > 0)
      fmt::print("{:<12} {:>12.1f} {:>10.3f} {:>12.1f} %\n", stage.name, stage.ms, tflops(stage),
                 100 * tflops(stage) / report.peak_tflops);
    else
      fmt::print("{:<12} {:>12.1f}\n", stage.name, stage.ms);
  }
  fmt::print("\npeak memory: {:.0f} MiB\n", report.peak_memory_mib);
  if (report.memory) {
    const DeviceMemory& memory = *report.memory;
    fmt::print(
        "peak memory of the GPU: {:.0f} MiB; now weights {:.0f}, intermediate results {:.0f}, recordings {:.0f}, "
        "scratch {:.0f}\n",
        mebibytes(memory.peak), mebibytes(memory.weights), mebibytes(memory.activations), mebibytes(memory.recordings),
        mebibytes(memory.workspace));
  }
  for (const auto& [name, times] : report.profiles) print_profile(name, times);
}

void time_server(const BenchFlags& flags) {
  ServerBenchFlags server;
  server.model = *flags.model;
  if (flags.size) server.size = *flags.size;
  server.steps = flags.steps;
  server.threads = flags.threads;
  server.dtype = flags.dtype;
  server.repeat = flags.repeat > 0 ? flags.repeat : 3;
  print(bench_server(server), flags.json);
}

}  // namespace

void add_bench_command(CLI::App& app) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Time each stage of a picture, as a share of this machine's own matrix peak");
  std::vector<std::string> families;
  for (const FamilyRow& row : kFamilies) families.emplace_back(row.name);
  command->add_option("--family", flags->family, "Network to build with random weights")
      ->check(CLI::IsMember(families))
      ->capture_default_str();
  CLI::Option* model = command->add_option("--model", flags->model, "Checkpoint to time instead");
  command
      ->add_flag("--random-weights", flags->random_weights, "Full-size network with weights from a seed (the default)")
      ->excludes(model);
  command->add_option("--size", flags->size, "WIDTHxHEIGHT (default: the family's native size)");
  command->add_option("--steps", flags->steps, "Denoising steps of the whole image")
      ->check(CLI::Range(kMinSteps, kMaxSteps))
      ->capture_default_str();
  command->add_option("--guidance", flags->guidance, "Guidance scale; over 1 a pass is of two images")
      ->check(CLI::Range(0.0, kMaxGuidance))
      ->capture_default_str();
  command->add_option("--batch", flags->batch, "Images at once")->check(CLI::Range(1, 64))->capture_default_str();
  command->add_option("--threads", flags->threads, "Threads (0: one per processor)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--repeat", flags->repeat, "Timed runs of a stage; the median counts (default: 3, on a GPU 20)")
      ->check(CLI::Range(1, 40));
  command->add_option("--dtype", flags->dtype, "auto, fp32, bf16 or, on a GPU, fp16")->capture_default_str();
  command->add_option("--device,--backend", flags->device, "cpu, cuda or cuda:N")->capture_default_str();
  command->add_option("--only", flags->only, "Stages to time (load is always timed)")
      ->check(CLI::IsMember(kStageNames))
      ->delimiter(',');
  command->add_flag("--profile", flags->profile, "Time each operation of a UNet pass and of decoding, too (on a GPU)");
  command->add_flag("--json", flags->json, "Print JSON");
  command
      ->add_flag("--server", flags->server,
                 "Time requests to a server with --model instead: what they cost beside the model's work (512x512)")
      ->needs(model);
  command->callback([flags] {
    if (flags->server) return time_server(*flags);
    const BenchReport report = Bench(*flags).run();
    if (flags->json)
      fmt::print("{}\n", to_json(report).dump(2));
    else
      print_table(report);
  });
}

}  // namespace dreamlab
