#include "scheduler/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "base/error.h"
#include "golden_records.h"
#include "scheduler/noise_schedule.h"

namespace dreamlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& action, ErrorKind kind = ErrorKind::invalid_argument) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

NoiseScheduleConfig leading() {
  NoiseScheduleConfig config;
  config.timestep_spacing = "leading";
  return config;
}

SamplerOptions steps(int count) {
  SamplerOptions options;
  options.steps = count;
  return options;
}

std::vector<float> timesteps_of(const Sampler& sampler) {
  return {sampler.timesteps().begin(), sampler.timesteps().end()};
}

// A network that has learned one image by heart: whatever it is given, it finds the noise that makes it that image, or
// "v".
class OneImage {
 public:
  OneImage(float image, const NoiseScheduleConfig& config)
      : image_(image), type_(config.prediction_type), alphas_(NoiseSchedule(config).alphas_cumprod()) {}

  void operator()(std::span<const float> input, float timestep, std::span<float> output) const {
    const size_t low = std::min(static_cast<size_t>(timestep), alphas_.size() - 1);
    const size_t high = std::min(low + 1, alphas_.size() - 1);
    const double part = static_cast<double>(timestep) - static_cast<double>(low);
    const double log_sigma = (1.0 - part) * log_sigma_at(low) + part * log_sigma_at(high);
    const double ratio = std::exp(log_sigma);
    const double alpha = 1.0 / std::sqrt(ratio * ratio + 1.0);
    const double sigma = ratio * alpha;
    for (size_t i = 0; i < input.size(); ++i) {
      const double x = static_cast<double>(input[i]);
      const double epsilon = (x - alpha * image_) / sigma;
      const double value = type_ == PredictionType::epsilon        ? epsilon
                           : type_ == PredictionType::v_prediction ? alpha * epsilon - sigma * image_
                                                                   : image_;
      output[i] = static_cast<float>(value);
    }
  }

 private:
  double log_sigma_at(size_t index) const {
    const double alpha = static_cast<double>(alphas_[index]);
    return 0.5 * std::log((1.0 - alpha) / alpha);
  }

  double image_;
  PredictionType type_;
  std::vector<float> alphas_;
};

std::vector<float> run(Sampler& sampler, const OneImage& network, std::vector<float> sample, uint64_t seed) {
  const auto noise = make_noise_source(NoiseKind::cuda, seed);
  std::vector<float> input(sample.size());
  std::vector<float> output(sample.size());
  for (int call = 0; call < sampler.calls(); ++call) {
    sampler.scale_model_input(call, sample, input);
    network(input, sampler.timesteps()[static_cast<size_t>(call)], output);
    sampler.step(call, output, sample, *noise);
  }
  return sample;
}

std::vector<float> start_noise(const Sampler& sampler, uint64_t seed) {
  std::vector<float> sample(64);
  make_noise_source(NoiseKind::cuda, seed)->normals(sample);
  for (float& value : sample) value *= static_cast<float>(sampler.init_noise_sigma());
  return sample;
}

// Noise that is left where a schedule does not end at noise level 0, but at the first timestep's (0.029).
constexpr double kRestOfNoise = 0.15;

TEST(Sampler, EveryOneFindsTheOneImageThatItsNetworkKnows) {
  for (const PredictionType type : {PredictionType::epsilon, PredictionType::v_prediction, PredictionType::sample}) {
    NoiseScheduleConfig config;
    config.prediction_type = type;
    const OneImage network(0.75f, config);
    for (const std::string_view name : sampler_names()) {
      const auto sampler = make_sampler(name, config, steps(12));
      for (const float value : run(*sampler, network, start_noise(*sampler, 3), 4)) {
        ASSERT_NEAR(value, 0.75, kRestOfNoise) << name << " " << static_cast<int>(type);
      }
    }
  }
}

TEST(Sampler, EveryOneGoesOnFromANoisyImage) {
  const NoiseScheduleConfig config;
  const OneImage network(-0.5f, config);
  for (const std::string_view name : sampler_names()) {
    SamplerOptions options = steps(12);
    options.strength = 0.5;
    const auto sampler = make_sampler(name, config, options);
    std::vector<float> noise(64);
    make_noise_source(NoiseKind::cuda, 8)->normals(noise);
    std::vector<float> sample(64, -0.5f);
    sampler->add_noise(sample, noise, 0, sample);
    for (const float value : run(*sampler, network, sample, 4)) ASSERT_NEAR(value, -0.5, kRestOfNoise) << name;
  }
}

TEST(Sampler, EveryOneTakesOneStep) {
  const NoiseScheduleConfig config;
  const OneImage network(0.25f, config);
  for (const std::string_view name : sampler_names()) {
    const auto sampler = make_sampler(name, config, steps(1));
    EXPECT_EQ(sampler->calls(), 1) << name;
    for (const float value : run(*sampler, network, start_noise(*sampler, 3), 4)) {
      ASSERT_TRUE(std::isfinite(value)) << name;
    }
  }
}

TEST(Sampler, RunsInTurnsKeepTheirOwnHistory) {
  const NoiseScheduleConfig config;
  const OneImage network(0.3f, config);
  for (const std::string_view name : sampler_names()) {
    const auto alone = make_sampler(name, config, steps(7));
    const std::vector<float> expected = run(*alone, network, start_noise(*alone, 1), 11);

    const auto one = make_sampler(name, config, steps(7));
    const auto other = make_sampler(name, config, steps(7));
    std::vector<float> sample = start_noise(*one, 1);
    std::vector<float> disturbance = start_noise(*other, 2);
    std::vector<float> input(sample.size());
    std::vector<float> output(sample.size());
    const auto noise = make_noise_source(NoiseKind::cuda, 11);
    const auto other_noise = make_noise_source(NoiseKind::cuda, 12);
    for (int call = 0; call < one->calls(); ++call) {
      const float timestep = one->timesteps()[static_cast<size_t>(call)];
      one->scale_model_input(call, sample, input);
      network(input, timestep, output);
      one->step(call, output, sample, *noise);
      other->scale_model_input(call, disturbance, input);
      network(input, timestep, output);
      other->step(call, output, disturbance, *other_noise);
    }
    EXPECT_EQ(sample, expected) << name;
  }
}

TEST(Sampler, TheSameSeedGivesTheSameImageAndAnotherSeedAnother) {
  const NoiseScheduleConfig config;
  NoiseScheduleConfig other_network = config;
  other_network.beta_end = 0.011;  // so that the noise in between shows in the result
  const OneImage network(0.3f, other_network);
  for (const std::string_view name : {"lcm", "tcd", "euler_a", "ddpm", "dpmpp_2m_sde", "dpm2_a"}) {
    const auto result = [&](uint64_t seed) {
      const auto sampler = make_sampler(name, config, steps(5));
      return run(*sampler, network, start_noise(*sampler, 1), seed);
    };
    EXPECT_EQ(result(21), result(21)) << name;
    EXPECT_NE(result(21), result(22)) << name;
  }
}

TEST(Sampler, DrawsNoNoiseWhereTheMethodIsDeterministic) {
  class NoNoise : public NoiseSource {
   public:
    void normals(std::span<float>) override { ADD_FAILURE() << "drew noise"; }
  };
  const NoiseScheduleConfig config;
  for (const std::string_view name :
       {"euler", "heun", "dpm2", "lms", "ddim", "pndm", "dpmpp_2m", "dpmpp_2s", "unipc", "deis"}) {
    const auto sampler = make_sampler(name, config, steps(4));
    std::vector<float> sample = start_noise(*sampler, 1);
    const std::vector<float> output(sample.size(), 0.1f);
    NoNoise noise;
    for (int call = 0; call < sampler->calls(); ++call) sampler->step(call, output, sample, noise);
  }
}

TEST(Sampler, UniPcWithBh1EndsAtNoiseLevelZero) {
  const NoiseScheduleConfig config;
  const SamplerEntry& entry = find_sampler("unipc");
  SamplerSettings settings = entry.defaults;
  settings.solver_type = SolverType::bh1;
  const OneImage network(0.6f, config);
  const auto sampler = make_sampler(entry, settings, config, steps(8));
  for (const float value : run(*sampler, network, start_noise(*sampler, 1), 1)) ASSERT_NEAR(value, 0.6, 1e-3);
}

TEST(Sampler, StrengthRunsTheLastSteps) {
  SamplerOptions options = steps(10);
  options.strength = 0.6;
  const auto euler = make_sampler("euler", leading(), options);
  EXPECT_THAT(timesteps_of(*euler), ElementsAre(501, 401, 301, 201, 101, 1));
  options.steps = 4;
  options.strength = 0.5;
  EXPECT_THAT(timesteps_of(*make_sampler("heun", leading(), options)), ElementsAre(251, 1, 1));
  EXPECT_THAT(timesteps_of(*make_sampler("pndm", leading(), options)), ElementsAre(251, 1));
  EXPECT_THAT(timesteps_of(*make_sampler("lcm", leading(), options)), ElementsAre(499, 259));
}

TEST(Sampler, DenoisingStartAndEndShareOneSchedule) {
  SamplerOptions base = steps(10);
  base.denoising_end = 0.8;
  SamplerOptions refiner = steps(10);
  refiner.denoising_start = 0.8;
  EXPECT_THAT(timesteps_of(*make_sampler("euler", leading(), base)),
              ElementsAre(901, 801, 701, 601, 501, 401, 301, 201));
  EXPECT_THAT(timesteps_of(*make_sampler("euler", leading(), refiner)), ElementsAre(101, 1));

  const NoiseScheduleConfig config = leading();
  const OneImage network(0.2f, config);
  for (const std::string_view name : {"euler", "ddim", "heun", "dpm2"}) {
    const auto whole = make_sampler(name, config, steps(10));
    const auto front = make_sampler(name, config, base);
    const auto back = make_sampler(name, config, refiner);
    const std::vector<float> start = start_noise(*whole, 6);
    EXPECT_EQ(run(*back, network, run(*front, network, start, 0), 0), run(*whole, network, start, 0)) << name;
  }
}

TEST(Sampler, AddsTheNoiseOfTheCallAndNoneAtTheEnd) {
  const auto euler = make_sampler("euler", leading(), steps(4));
  const std::vector<float> image = {2.0f};
  const std::vector<float> noise = {-1.0f};
  std::vector<float> out(1);
  euler->add_noise(image, noise, 1, out);
  EXPECT_FLOAT_EQ(out[0], 2.0f - euler->sigmas()[1]);
  euler->add_noise(image, noise, 4, out);
  EXPECT_EQ(out[0], 2.0f);
}

TEST(Sampler, ClipsTheImageWhereTheModelSaysSo) {
  NoiseScheduleConfig config = leading();
  config.clip_sample = true;
  config.clip_sample_range = 0.5;
  for (const std::string_view name : {"ddim", "lcm", "ddpm", "heun"}) {
    const auto sampler = make_sampler(name, config, steps(1));
    std::vector<float> sample = {3.0f};
    const std::vector<float> output = {0.0f};  // no noise: the image is 3
    sampler->step(0, output, sample, *make_noise_source(NoiseKind::cpu, 0));
    EXPECT_NEAR(sample[0], 0.5, 0.1) << name;
  }
}

TEST(Sampler, UsesTheModelsSpacingAndOtherwiseItsOwn) {
  EXPECT_THAT(timesteps_of(*make_sampler("euler", NoiseScheduleConfig{}, steps(2))), ElementsAre(999, 0));
  EXPECT_THAT(timesteps_of(*make_sampler("ddim", NoiseScheduleConfig{}, steps(2))), ElementsAre(501, 1));
  EXPECT_THAT(timesteps_of(*make_sampler("euler", leading(), steps(2))), ElementsAre(501, 1));
  NoiseScheduleConfig config;
  config.timestep_spacing = "diagonal";
  EXPECT_THAT(message_of([&] { make_sampler("euler", config, steps(2)); }, ErrorKind::unsupported),
              HasSubstr("leading, trailing and linspace"));
}

TEST(Sampler, RefusesStepsOutOfRangeAndSaysTheRange) {
  for (const std::string_view name : sampler_names()) {
    EXPECT_THAT(message_of([&] { make_sampler(name, leading(), steps(0)); }), HasSubstr("allowed are 1 to")) << name;
    EXPECT_THAT(message_of([&] { make_sampler(name, leading(), steps(-3)); }), HasSubstr("-3")) << name;
    EXPECT_THAT(message_of([&] { make_sampler(name, leading(), steps(1001)); }), HasSubstr("1001")) << name;
  }
  EXPECT_EQ(make_sampler("euler", leading(), steps(999))->calls(), 999);
}

TEST(Sampler, LcmTakesNoMoreStepsThanItsTeacher) {
  EXPECT_THAT(message_of([] { make_sampler("lcm", NoiseScheduleConfig{}, steps(51)); }), HasSubstr("1 to 50"));
  SamplerOptions options = steps(51);
  options.original_inference_steps = 100;
  EXPECT_EQ(make_sampler("lcm", NoiseScheduleConfig{}, options)->calls(), 51);
  options.original_inference_steps = 0;
  EXPECT_THAT(message_of([&] { make_sampler("tcd", NoiseScheduleConfig{}, options); }), HasSubstr("1 to 1000"));
}

TEST(Sampler, RefusesSharesOutOfRange) {
  const auto refused = [](const auto& set) {
    SamplerOptions options = steps(10);
    set(options);
    return message_of([&] { make_sampler("ddim", NoiseScheduleConfig{}, options); });
  };
  EXPECT_THAT(refused([](SamplerOptions& o) { o.strength = 0.0; }), HasSubstr("strength"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.strength = 1.5; }), HasSubstr("1.5"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.strength = NAN; }), HasSubstr("nan"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.strength = 0.05; }), HasSubstr("none is left"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.denoising_start = 1.0; }), HasSubstr("denoising_start"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.denoising_end = 0.0; }), HasSubstr("denoising_end"));
  EXPECT_THAT(refused([](SamplerOptions& o) { o.eta = 2.0; }), HasSubstr("eta"));
  EXPECT_THAT(refused([](SamplerOptions& o) {
                o.denoising_start = 0.8;
                o.denoising_end = 0.5;
              }),
              HasSubstr("none is left"));
}

TEST(Sampler, RefusesEpsilonWhereTheFirstTimestepHoldsNoSignal) {
  NoiseScheduleConfig config;
  config.rescale_betas_zero_snr = true;
  config.timestep_spacing = "trailing";
  message_of([&] { make_sampler("ddim", config, steps(4)); }, ErrorKind::unsupported);
  config.prediction_type = PredictionType::v_prediction;
  EXPECT_EQ(make_sampler("ddim", config, steps(4))->calls(), 4);
}

TEST(Sampler, RefusesANoiseScheduleThatIsNone) {
  NoiseScheduleConfig config;
  config.beta_end = 1.5;
  message_of([&] { make_sampler("euler", config, steps(4)); }, ErrorKind::invalid_file);
  config = NoiseScheduleConfig{};
  config.num_train_timesteps = 0;
  message_of([&] { make_sampler("euler", config, steps(4)); }, ErrorKind::invalid_file);
  config = NoiseScheduleConfig{};
  config.beta_schedule = "sigmoid";
  EXPECT_THAT(message_of([&] { make_sampler("euler", config, steps(4)); }, ErrorKind::unsupported),
              HasSubstr("scaled_linear"));
}

TEST(Sampler, RefusesCallsOutOfOrder) {
  const auto sampler = make_sampler("dpmpp_2m", NoiseScheduleConfig{}, steps(3));
  std::vector<float> sample(4);
  const std::vector<float> output(4);
  const auto noise = make_noise_source(NoiseKind::cpu, 0);
  message_of([&] { sampler->step(1, output, sample, *noise); }, ErrorKind::internal);
  sampler->step(0, output, sample, *noise);
  message_of([&] { sampler->step(0, output, sample, *noise); }, ErrorKind::internal);
  message_of([&] { sampler->scale_model_input(3, output, sample); }, ErrorKind::internal);
}

TEST(SamplerTable, HasUniqueNamesAndAliases) {
  std::set<std::string_view> seen;
  for (const SamplerEntry& entry : samplers()) {
    EXPECT_TRUE(seen.insert(entry.name).second) << entry.name;
    EXPECT_EQ(&find_sampler(entry.name), &entry);
    EXPECT_EQ(&find_sampler(entry.title), &entry) << entry.title;
    for (const std::string_view alias : entry.aliases) EXPECT_EQ(&find_sampler(alias), &entry) << alias;
  }
}

TEST(SamplerTable, FindsTheNamesThatPeopleUse) {
  EXPECT_EQ(find_sampler("Euler a").name, "euler_a");
  EXPECT_EQ(find_sampler("DPM++ 2M Karras").name, "dpmpp_2m_karras");
  EXPECT_EQ(find_sampler("dpmpp-2m").name, "dpmpp_2m");
  EXPECT_EQ(find_sampler("DPM++ 2M SDE Karras").name, "dpmpp_2m_sde_karras");
  EXPECT_EQ(find_sampler("LCM").name, "lcm");
  EXPECT_EQ(find_sampler("PLMS").name, "pndm");
  EXPECT_EQ(find_sampler("UniPC").name, "unipc");
  EXPECT_EQ(find_sampler("DPM2 a").name, "dpm2_a");
}

TEST(SamplerTable, ListsTheNamesWhenOneIsUnknown) {
  const std::string message = message_of([] { find_sampler("eular"); });
  EXPECT_THAT(message, HasSubstr("eular"));
  for (const std::string_view name : sampler_names()) EXPECT_THAT(message, HasSubstr(std::string(name)));
}

}  // namespace
}  // namespace dreamlab
