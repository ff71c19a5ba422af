// Every scheduler configuration that was recorded from diffusers, under a model that is a formula.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "golden_records.h"
#include "scheduler/noise_schedule.h"
#include "scheduler/sampler.h"

namespace dreamlab {
namespace {

using nlohmann::json;

constexpr double kTrajectoryTolerance = 1e-5;  // relative to the largest number of the trajectory
constexpr double kSigmaTolerance = 1e-6;       // relative to the largest sigma
constexpr double kTimestepTolerance = 2e-4;    // timesteps; f32 holds 999 to 6e-5

const SamplerEntry& entry_of_class(const std::string& diffusers_class) {
  for (const SamplerEntry& entry : samplers()) {
    if (entry.diffusers_class == diffusers_class) return entry;
  }
  throw std::runtime_error("no sampler is a " + diffusers_class);
}

struct Configuration {
  NoiseScheduleConfig schedule;
  SamplerSettings settings;
};

Configuration configuration(const json& config, const SamplerEntry& entry) {
  Configuration result;
  result.settings = entry.defaults;
  result.schedule.steps_offset = 0;
  for (const auto& item : config.items()) {
    const std::string& key = item.key();
    const json& value = item.value();
    NoiseScheduleConfig& schedule = result.schedule;
    SamplerSettings& settings = result.settings;
    if (key == "num_train_timesteps")
      schedule.num_train_timesteps = value;
    else if (key == "beta_start")
      schedule.beta_start = value;
    else if (key == "beta_end")
      schedule.beta_end = value;
    else if (key == "beta_schedule")
      schedule.beta_schedule = value;
    else if (key == "steps_offset")
      schedule.steps_offset = value;
    else if (key == "timestep_spacing")
      schedule.timestep_spacing = value.get<std::string>();
    else if (key == "prediction_type")
      schedule.prediction_type = value == "v_prediction" ? PredictionType::v_prediction : PredictionType::epsilon;
    else if (key == "clip_sample")
      schedule.clip_sample = value;
    else if (key == "set_alpha_to_one")
      schedule.set_alpha_to_one = value;
    else if (key == "rescale_betas_zero_snr")
      schedule.rescale_betas_zero_snr = value;
    else if (key == "use_karras_sigmas")
      settings.use_karras_sigmas = value;
    else if (key == "solver_order")
      settings.solver_order = value;
    else if (key == "solver_type")
      settings.solver_type = value == "bh1" ? SolverType::bh1 : SolverType::heun;
    else if (key == "final_sigmas_type")
      settings.final_sigmas_type = value == "sigma_min" ? FinalSigma::sigma_min : FinalSigma::zero;
    else if (key == "algorithm_type")
      settings.algorithm_type =
          value == "sde-dpmsolver++" ? DpmAlgorithm::sde_dpmsolver_plus_plus : DpmAlgorithm::dpmsolver_plus_plus;
    else if (key == "lower_order_final")
      settings.lower_order_final = value;
    else if (key == "euler_at_final")
      settings.euler_at_final = value;
    else if (key == "original_inference_steps")
      settings.original_inference_steps = value;
    else if (key == "skip_prk_steps")
      EXPECT_TRUE(value.get<bool>());
    else
      ADD_FAILURE() << "the record sets " << key << ", which this test does not know";
  }
  return result;
}

std::vector<float> fake_model(std::span<const float> input, float timestep) {
  const float factor = static_cast<float>(0.3 * std::cos(static_cast<double>(timestep) / 1000.0));
  std::vector<float> output(input.size());
  for (size_t i = 0; i < input.size(); ++i) output[i] = input[i] * factor + 0.1f * std::sin(input[i]);
  return output;
}

// PyTorch's CPU generator, whose draws are kept for comparison.
class ObservedNoise : public NoiseSource {
 public:
  explicit ObservedNoise(uint64_t seed) : source_(make_noise_source(NoiseKind::cpu, seed)) {}
  void normals(std::span<float> out) override {
    source_->normals(out);
    drawn.insert(drawn.end(), out.begin(), out.end());
  }
  std::vector<float> drawn;

 private:
  std::unique_ptr<NoiseSource> source_;
};

class SamplerRecords : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::ifstream file(golden_dir() / "schedulers.json");
    records_ = new json(json::parse(file));
    tensors_ = new std::shared_ptr<const TensorFile>(golden_tensors("schedulers.safetensors"));
  }
  static void TearDownTestSuite() {
    delete records_;
    delete tensors_;
  }

  static const json& cases() { return records_->at("cases"); }
  static const TensorFile& tensors() { return **tensors_; }

  static std::unique_ptr<Sampler> sampler_of(const json& record) {
    const SamplerEntry& entry = entry_of_class(record.at("class"));
    const Configuration config = configuration(record.at("config"), entry);
    SamplerOptions options;
    options.steps = record.at("steps");
    if (record.contains("step_eta")) options.eta = record.at("step_eta").get<double>();
    return make_sampler(entry, config.settings, config.schedule, options);
  }

 private:
  static inline json* records_ = nullptr;
  static inline std::shared_ptr<const TensorFile>* tensors_ = nullptr;
};

TEST_F(SamplerRecords, AreAllThere) {
  EXPECT_EQ(cases().size(), 315u);
}

TEST_F(SamplerRecords, HaveTheSameTimestepsAndSigmas) {
  for (const auto& item : cases().items()) {
    const json& record = item.value();
    const std::unique_ptr<Sampler> sampler = sampler_of(record);
    const std::vector<float> timesteps = record.at("timesteps");
    EXPECT_LE(difference(sampler->timesteps(), timesteps).largest, kTimestepTolerance) << item.key() << ": timesteps";
    const double init = record.at("init_noise_sigma");
    EXPECT_NEAR(sampler->init_noise_sigma(), init, kSigmaTolerance * init) << item.key();
    if (!record.contains("sigmas")) continue;
    const std::vector<float> sigmas = record.at("sigmas");
    EXPECT_LE(difference(sampler->sigmas(), sigmas).relative(), kSigmaTolerance) << item.key() << ": sigmas";
  }
}

TEST_F(SamplerRecords, HaveTheSameTrajectoriesAndDrawTheSameNoise) {
  const std::vector<float> noise0 = numbers(tensors(), "noise0");
  std::map<std::string, double> worst;
  for (const auto& item : cases().items()) {
    const json& record = item.value();
    const std::unique_ptr<Sampler> sampler = sampler_of(record);
    ObservedNoise noise(record.value("noise_seed", 0));

    std::vector<float> sample = noise0;
    for (float& value : sample) value *= static_cast<float>(sampler->init_noise_sigma());
    std::vector<float> trajectory = sample;
    std::vector<float> input(sample.size());
    for (int call = 0; call < sampler->calls(); ++call) {
      sampler->scale_model_input(call, sample, input);
      const std::vector<float> output = fake_model(input, sampler->timesteps()[static_cast<size_t>(call)]);
      sampler->step(call, output, sample, noise);
      trajectory.insert(trajectory.end(), sample.begin(), sample.end());
    }

    const Difference off = difference(trajectory, numbers(tensors(), item.key() + "/traj"));
    EXPECT_LE(off.relative(), kTrajectoryTolerance) << item.key() << ": off by " << off.largest << " of "
                                                    << off.magnitude << " after call " << off.at / sample.size();
    worst[record.at("class")] = std::max(worst[record.at("class")], off.relative());

    EXPECT_EQ(noise.drawn.size() / sample.size(), record.value("noise_draws", 0u)) << item.key() << ": draws";
    if (tensors().contains(item.key() + "/noise")) {
      EXPECT_LE(difference(noise.drawn, numbers(tensors(), item.key() + "/noise")).largest, 1e-6) << item.key();
    }
  }
  for (const auto& [name, error] : worst) RecordProperty(name, std::to_string(error * 1e6) + "e-6");
}

TEST_F(SamplerRecords, HaveTheSameAlphasCumprod) {
  const NoiseSchedule schedule{NoiseScheduleConfig{}};
  EXPECT_LE(difference(schedule.alphas_cumprod(), numbers(tensors(), "alphas_cumprod")).largest, 1e-7);
}

TEST_F(SamplerRecords, AddTheSameNoiseToAnImage) {
  const std::vector<float> originals = numbers(tensors(), "add_noise_ddim/x0");
  const std::vector<float> noise = numbers(tensors(), "add_noise_ddim/noise");
  const std::vector<float> noisy = numbers(tensors(), "add_noise_ddim/out");
  const HostTensor* timesteps = tensors().find("add_noise_ddim/timesteps");
  const size_t size = originals.size() / 4;

  NoiseScheduleConfig config;
  config.steps_offset = 0;
  SamplerOptions every_timestep;
  every_timestep.steps = 1000;
  const std::unique_ptr<Sampler> sampler = make_sampler("ddim", config, every_timestep);
  for (size_t i = 0; i < 4; ++i) {
    int32_t timestep = 0;
    std::memcpy(&timestep, timesteps->data + i * sizeof(timestep), sizeof(timestep));
    const auto part = [&](const std::vector<float>& all) {
      return std::span<const float>(all).subspan(i * size, size);
    };
    std::vector<float> found(size);
    sampler->add_noise(part(originals), part(noise), 999 - timestep, found);
    EXPECT_LE(difference(found, part(noisy)).largest, 1e-6) << "timestep " << timestep;
  }
}

}  // namespace
}  // namespace dreamlab
