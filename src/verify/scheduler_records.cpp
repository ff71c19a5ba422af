// schedulers.safetensors with schedulers.json: trajectories of diffusers' schedulers under a made-up model.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "scheduler/noise_schedule.h"
#include "verify/record_kinds.h"
#include "verify/recorded_sampler.h"

namespace dreamlab {
namespace {

using nlohmann::json;

constexpr std::string_view kKnownFields[] = {"class",      "config",      "steps",  "timesteps", "init_noise_sigma",
                                             "noise_seed", "noise_draws", "sigmas", "step_eta"};
constexpr std::string_view kFakeModel =
    "model_output = x_in * (0.3*cos(t/1000)) + 0.1*sin(x_in), x_in = scheduler.scale_model_input(x, t), "
    "t = scheduler.timesteps[i]; coefficient computed in double";

// The model of the records: x_in * (0.3 cos(t / 1000)) + 0.1 sin(x_in).
void fake_model(float timestep, std::span<const float> input, std::span<float> output) {
  const auto coefficient = static_cast<float>(0.3 * std::cos(static_cast<double>(timestep) / 1000.0));
  for (size_t i = 0; i < input.size(); ++i) output[i] = input[i] * coefficient + 0.1f * std::sin(input[i]);
}

void check_tables(RecordCase& record_case, const json& entry, const Sampler& sampler) {
  record_case.compare("timesteps", sampler.timesteps(), entry.at("timesteps").get<std::vector<float>>(),
                      BoundKind::timestep);
  record_case.compare("init_noise_sigma", std::vector<double>{sampler.init_noise_sigma()},
                      std::vector<double>{entry.at("init_noise_sigma").get<double>()}, BoundKind::schedule);
  if (!entry.contains("sigmas")) return;
  record_case.compare("sigmas", sampler.sigmas(), entry.at("sigmas").get<std::vector<float>>(), BoundKind::schedule);
}

// The recorded draws, after a look at whether our generator gives them too.
RecordedNoise step_noise(RecordCase& record_case, const RecordFile& record, const std::string& name, const json& entry,
                         size_t size) {
  const auto draws = entry.value("noise_draws", size_t{0});
  const std::string tensor = name + "/noise";
  record_case.expect(record.contains(tensor) == (draws > 0), "{} draws, but the record {} them", draws,
                     draws > 0 ? "lacks" : "has");
  if (draws == 0) return {{}, size};
  const auto ours = make_noise_source(NoiseKind::cpu, entry.at("noise_seed").get<uint64_t>());
  std::vector<float> found(draws * size);
  for (size_t draw = 0; draw < draws; ++draw) ours->normals(std::span(found).subspan(draw * size, size));
  record_case.compare(record, tensor, found, BoundKind::random);
  return {record.floats(tensor), size};
}

void check_trajectory(RecordCase& record_case, const RecordFile& record, const std::string& name, const json& entry) {
  for (const auto& [key, value] : entry.items()) {
    const bool known = std::find(std::begin(kKnownFields), std::end(kKnownFields), key) != std::end(kKnownFields);
    record_case.expect(known, "unknown field \"{}\"", key);
  }
  SamplerOptions options;
  options.steps = entry.at("steps").get<int>();
  if (entry.contains("step_eta")) options.eta = entry.at("step_eta").get<double>();
  const auto sampler = sampler_of_record(entry.at("class").get<std::string>(), entry.at("config"), options);
  check_tables(record_case, entry, *sampler);

  std::vector<float> sample = record.floats("noise0");
  RecordedNoise noise = step_noise(record_case, record, name, entry, sample.size());
  for (float& value : sample) value *= static_cast<float>(sampler->init_noise_sigma());
  std::vector<float> trajectory = sample;
  std::vector<float> input(sample.size()), output(sample.size());
  for (int call = 0; call < sampler->calls(); ++call) {
    sampler->scale_model_input(call, sample, input);
    fake_model(sampler->timesteps()[static_cast<size_t>(call)], input, output);
    sampler->step(call, output, sample, noise);
    trajectory.insert(trajectory.end(), sample.begin(), sample.end());
  }
  record_case.compare(record, name + "/traj", trajectory, BoundKind::schedule);
  record_case.expect(noise.exhausted(), "the sampler draws noise fewer times than recorded");
}

// add_noise of a DDIM scheduler: one timestep for each image of the batch.
void check_add_noise(RecordCase& record_case, const RecordFile& record) {
  const NoiseSchedule schedule{NoiseScheduleConfig{}};
  SamplerOptions options;
  options.steps = schedule.train_timesteps();
  const auto sampler = sampler_of_record(
      "DDIMScheduler",
      {{"beta_start", 0.00085}, {"beta_end", 0.012}, {"beta_schedule", "scaled_linear"}, {"clip_sample", false}},
      options);
  const std::vector<float> original = record.floats("add_noise_ddim/x0");
  const std::vector<float> noise = record.floats("add_noise_ddim/noise");
  const std::vector<int64_t> timesteps = record.integers("add_noise_ddim/timesteps");
  const size_t size = original.size() / timesteps.size();
  std::vector<float> found(original.size());
  for (size_t i = 0; i < timesteps.size(); ++i) {
    const auto call =
        std::find(sampler->timesteps().begin(), sampler->timesteps().end(), static_cast<float>(timesteps[i])) -
        sampler->timesteps().begin();
    sampler->add_noise(std::span(original).subspan(i * size, size), std::span(noise).subspan(i * size, size),
                       static_cast<int>(call), std::span(found).subspan(i * size, size));
  }
  record_case.compare(record, "add_noise_ddim/out", found, BoundKind::schedule);
}

}  // namespace

void run_scheduler_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  const json settings = read_settings(record.settings_path());
  run.run_case(record_name, "fields", "", [&](RecordCase& record_case) {
    for (const auto& [key, value] : settings.items()) {
      // "unsupported" lists cases that diffusers itself cannot run; "trajectory" and "noise" explain the tensors.
      const bool known =
          key == "fake_model" || key == "trajectory" || key == "noise" || key == "cases" || key == "unsupported";
      record_case.expect(known, "unknown field \"{}\"", key);
    }
    record_case.expect(settings.at("fake_model") == kFakeModel, "another fake model than the one that is known");
    record_case.compare(record, "alphas_cumprod", NoiseSchedule{NoiseScheduleConfig{}}.alphas_cumprod(),
                        BoundKind::schedule);
  });
  if (record.contains("add_noise_ddim/out")) {
    run.run_case(record_name, "add_noise_ddim", "",
                 [&](RecordCase& record_case) { check_add_noise(record_case, record); });
  }
  for (const auto& [name, entry] : settings.at("cases").items()) {
    run.run_case(record_name, name, "", [&, &name = name, &entry = entry](RecordCase& record_case) {
      check_trajectory(record_case, record, name, entry);
    });
  }
  run.expect_all_taken(record);
}

}  // namespace dreamlab
