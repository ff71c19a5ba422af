#include "scheduler/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "base/file.h"
#include "golden_records.h"
#include "scheduler/box_muller.h"
#include "scheduler/elementary.h"
#include "scheduler/torch_cuda_noise.h"

namespace dreamlab {
namespace {

using ::testing::HasSubstr;

struct Draw {
  std::string name;
  uint64_t seed;
  size_t size;
};

// The records below `prefix` ("seq/"), whose names are PREFIXseedS/... , in the order of their names: those of one seed
// in drawing order.
std::vector<Draw> draws_of(const TensorFile& file, const std::string& prefix) {
  std::vector<Draw> draws;
  for (const std::string& name : file.names()) {
    if (name.rfind(prefix + "seed", 0) != 0) continue;
    const HostTensor* tensor = file.find(name);
    draws.push_back({name, std::stoull(name.substr(prefix.size() + 4)), static_cast<size_t>(tensor->shape.elements())});
  }
  return draws;
}

// Every draw starts a fresh generator.
void expect_first_draws(const TensorFile& file, const std::string& prefix, NoiseKind kind, NoisePrecision precision,
                        double tolerance) {
  const std::vector<Draw> draws = draws_of(file, prefix);
  ASSERT_FALSE(draws.empty()) << prefix;
  for (const Draw& draw : draws) {
    std::vector<float> found(draw.size);
    make_noise_source(kind, draw.seed, precision)->normals(found);
    const Difference off = difference(found, numbers(file, draw.name));
    EXPECT_LE(off.largest, tolerance) << draw.name << " at " << off.at;
    ::testing::Test::RecordProperty(draw.name, std::to_string(off.largest * 1e6) + "e-6");
  }
}

// The draws of one seed come from one generator.
void expect_sequences(const TensorFile& file, const std::string& prefix, NoiseKind kind, double tolerance) {
  const std::vector<Draw> draws = draws_of(file, prefix);
  ASSERT_FALSE(draws.empty()) << prefix;
  std::unique_ptr<NoiseSource> source;
  for (size_t i = 0; i < draws.size(); ++i) {
    if (i == 0 || draws[i].seed != draws[i - 1].seed) source = make_noise_source(kind, draws[i].seed);
    std::vector<float> found(draws[i].size);
    source->normals(found);
    const Difference off = difference(found, numbers(file, draws[i].name));
    EXPECT_LE(off.largest, tolerance) << draws[i].name << " at " << off.at;
    ::testing::Test::RecordProperty(draws[i].name, std::to_string(off.largest * 1e6) + "e-6");
  }
}

// What PyTorch's own vectorised and scalar code differ by is 1.9e-6.
constexpr double kCpuTolerance = 2e-6;
// A GPU's fast sine is exact to about 5e-7 of the radius, which is below 6.7.
constexpr double kCudaTolerance = 3e-6;

// The transform in vectors against the same in single numbers: the same bits.
TEST(Random, TransformsWordsAsThePortableFunctionsDo) {
  std::vector<uint32_t> radius = {0, 1, 0xffffffff, 0x80000000, 0x7fffffff, 0xff, 0x1000000, 0x1000001},
                        angle = {0, 0xffffffff, 1, 0x40000000, 0xc0000000, 0x20000000, 0x5fffffff, 0x80000001};
  uint32_t word = 12345;
  const auto next = [&word] { return word = word * 1664525 + 1013904223; };
  while (radius.size() < 100'003) {
    radius.push_back(next());
    angle.push_back(next());
  }
  std::vector<float> sines(radius.size()), cosines(radius.size());
  box_muller(radius, angle, sines, cosines);
  size_t wrong = 0;
  for (size_t i = 0; i < radius.size(); ++i) {
    const auto from_word = [](uint32_t w, double step) {
      return static_cast<float>(static_cast<double>(static_cast<float>(w)) * step + step / 2);
    };
    const float uniform = from_word(radius[i], 0x1p-32), turn = from_word(angle[i], 0x1.921fb6p-30f);
    const float length = std::sqrt(-2.0f * static_cast<float>(portable_log(uniform)));
    const SineCosine direction = portable_sincos(turn);
    const float sine = length * static_cast<float>(direction.sine),
                cosine = length * static_cast<float>(direction.cosine);
    if (std::bit_cast<uint32_t>(sine) != std::bit_cast<uint32_t>(sines[i]) ||
        std::bit_cast<uint32_t>(cosine) != std::bit_cast<uint32_t>(cosines[i])) {
      if (wrong++ == 0)
        ADD_FAILURE() << "at " << i << ": " << sines[i] << " and " << cosines[i] << ", not " << sine << " and "
                      << cosine;
    }
  }
  EXPECT_EQ(wrong, 0u);
  // Any number of them, and the sines alone.
  for (size_t count = 0; count < 20; ++count) {
    std::vector<float> some(count, -1.0f);
    box_muller(std::span(radius).first(count), std::span(angle).first(count), some, {});
    EXPECT_TRUE(std::equal(some.begin(), some.end(), sines.begin())) << count;
  }
}

TEST(Random, DrawsWhatTheCpuGeneratorOfPyTorchDraws) {
  expect_first_draws(*golden_tensors("torch_cpu_rng.safetensors"), "randn/", NoiseKind::cpu, NoisePrecision::f32,
                     kCpuTolerance);
}

TEST(Random, DrawsWhatTheCpuGeneratorWithoutVectorUnitsDraws) {
  expect_first_draws(*golden_tensors("torch_cpu_rng_scalar.safetensors"), "randn/", NoiseKind::cpu, NoisePrecision::f32,
                     kCpuTolerance);
}

TEST(Random, KeepsTheSecondNormalOfASmallDrawForTheNext) {
  expect_sequences(*golden_tensors("torch_cpu_rng.safetensors"), "sequence/", NoiseKind::cpu, kCpuTolerance);
}

TEST(Random, DrawsSmallCpuTensorsBitForBit) {
  const auto file = golden_tensors("torch_cpu_rng.safetensors");
  for (const Draw& draw : draws_of(*file, "randn/")) {
    if (draw.size >= 16) continue;
    std::vector<float> found(draw.size);
    make_noise_source(NoiseKind::cpu, draw.seed)->normals(found);
    EXPECT_EQ(found, numbers(*file, draw.name)) << draw.name;
  }
}

TEST(Random, DrawsHalvesOfTheCpuGenerator) {
  expect_first_draws(*golden_tensors("torch_cpu_rng.safetensors"), "randn_f16/", NoiseKind::cpu, NoisePrecision::f16,
                     4e-3);
}

TEST(Random, DrawsWhatAnNvidiaGpuDraws) {
  const auto file = golden_tensors("cuda_rng.safetensors");
  expect_sequences(*file, "seq/", NoiseKind::cuda, kCudaTolerance);
  expect_first_draws(*file, "first/", NoiseKind::cuda, NoisePrecision::f32, kCudaTolerance);
}

TEST(Random, DrawsHalvesOfAnNvidiaGpuToOneUnitInTheLastPlace) {
  expect_first_draws(*golden_tensors("cuda_rng.safetensors"), "half/", NoiseKind::cuda, NoisePrecision::f16, 0x1p-9);
}

TEST(Random, DrawsWhatTheReferenceOfPhiloxDraws) {
  expect_sequences(*golden_tensors("philox_rng.safetensors"), "philox/", NoiseKind::cuda, kCudaTolerance);
}

// Known answers of the Random123 library.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox_4x32_10({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

// Beyond the resident threads every thread gives its second normal, too: element `threads` is the partner of element 0.
TEST(Random, SpreadsLargeCudaDrawsOverTheResidentThreads) {
  const size_t threads = TorchCudaNoise::kResidentThreads;
  std::vector<float> large(threads + 4);
  std::vector<float> small(threads);
  make_noise_source(NoiseKind::cuda, 7)->normals(large);
  make_noise_source(NoiseKind::cuda, 7)->normals(small);
  EXPECT_EQ(std::vector<float>(large.begin(), large.begin() + static_cast<std::ptrdiff_t>(threads)), small);
  const std::array<uint32_t, 4> words = philox_4x32_10({0, 0, 0, 0}, {7, 0});
  const double radius = std::sqrt(-2.0 * std::log((words[0] + 0.5) * 0x1p-32));
  EXPECT_NEAR(large[threads], radius * std::cos(2.0 * std::numbers::pi * (words[1] + 0.5) * 0x1p-32), 1e-5);
}

TEST(Random, RepeatsWithTheSameSeedAndDiffersWithAnother) {
  for (const NoiseKind kind : {NoiseKind::cuda, NoiseKind::cpu}) {
    std::vector<float> first(1024), again(1024), other(1024);
    make_noise_source(kind, 42)->normals(first);
    make_noise_source(kind, 42)->normals(again);
    make_noise_source(kind, 43)->normals(other);
    EXPECT_EQ(first, again) << name_of(kind);
    EXPECT_NE(first, other) << name_of(kind);
  }
}

TEST(Random, TellsSeedsApartThatShareTheirLow32BitsOnCudaOnly) {
  std::vector<float> low(64), high(64);
  make_noise_source(NoiseKind::cuda, 1)->normals(low);
  make_noise_source(NoiseKind::cuda, 4294967297)->normals(high);
  EXPECT_NE(low, high);
  make_noise_source(NoiseKind::cpu, 1)->normals(low);
  make_noise_source(NoiseKind::cpu, 4294967297)->normals(high);
  EXPECT_EQ(low, high);
}

TEST(Random, GivesTheSameBitsOnEveryMachine) {
  std::vector<float> values(1 << 16);
  uint32_t sums[2] = {};
  for (const NoiseKind kind : {NoiseKind::cuda, NoiseKind::cpu}) {
    make_noise_source(kind, 2026)->normals(values);
    uint32_t& sum = sums[kind == NoiseKind::cpu];
    for (const float value : values) sum = sum * 31 + std::bit_cast<uint32_t>(value);
  }
  EXPECT_EQ(sums[0], 150212676u);
  EXPECT_EQ(sums[1], 2252820312u);
}

TEST(Random, AreStandardNormal) {
  for (const NoiseKind kind : {NoiseKind::cuda, NoiseKind::cpu}) {
    std::vector<float> values(1 << 20);
    make_noise_source(kind, 5)->normals(values);
    double sum = 0.0;
    double squares = 0.0;
    for (const float value : values) {
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const double count = static_cast<double>(values.size());
    EXPECT_NEAR(sum / count, 0.0, 5e-3) << name_of(kind);
    EXPECT_NEAR(squares / count, 1.0, 1e-2) << name_of(kind);
  }
}

TEST(Random, AnEmptyDrawLeavesTheStreamWhereItIs) {
  const auto source = make_noise_source(NoiseKind::cuda, 9);
  std::vector<float> found(8), expected(8);
  source->normals({});
  source->normals(found);
  make_noise_source(NoiseKind::cuda, 9)->normals(expected);
  EXPECT_EQ(found, expected);
}

// NumPy's own numbers, however the stream is cut.
TEST(Random, NumpyGivesWhatNumpyGives) {
  const nlohmann::json file = nlohmann::json::parse(read_file(DREAMLAB_TEST_DATA_DIR "/numpy_randn.json"));
  for (const nlohmann::json& draw : file.at("draws")) {
    const auto source = make_noise_source(NoiseKind::numpy, draw.at("seed").get<uint64_t>());
    std::vector<float> values(10002);
    source->normals(std::span(values).first(1));
    source->normals(std::span(values).subspan(1, 4996));
    source->normals(std::span(values).subspan(4997));
    for (size_t i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(values[i], draw.at("first")[i].get<float>()) << draw.at("seed");
    for (size_t i = 0; i < 3; ++i) EXPECT_FLOAT_EQ(values[9999 + i], draw.at("later")[i].get<float>());
  }
  EXPECT_THROW(make_noise_source(NoiseKind::numpy, uint64_t{1} << 32), Error);
}

TEST(Random, NamesItsKindsAndRefusesOthers) {
  EXPECT_EQ(noise_kind_from_name("cuda"), NoiseKind::cuda);
  EXPECT_EQ(noise_kind_from_name("cpu"), NoiseKind::cpu);
  EXPECT_EQ(noise_kind_from_name("numpy"), NoiseKind::numpy);
  try {
    noise_kind_from_name("gpu");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("cuda, cpu and numpy"));
  }
}

TEST(Elementary, LogarithmAgreesWithTheLibrary) {
  for (double x = 1e-12; x < 2.0; x *= 1.000317) {
    EXPECT_NEAR(portable_log(x), std::log(x), 4e-16 * std::max(1e-3, std::abs(std::log(x)))) << x;
  }
  EXPECT_EQ(portable_log(1.0), 0.0);
}

TEST(Elementary, SineAndCosineAgreeWithTheLibrary) {
  for (double angle = 0.0; angle <= 2.0 * std::numbers::pi; angle += 1.7e-4) {
    const SineCosine found = portable_sincos(angle);
    EXPECT_NEAR(found.sine, std::sin(angle), 4e-16) << angle;
    EXPECT_NEAR(found.cosine, std::cos(angle), 4e-16) << angle;
  }
}

}  // namespace
}  // namespace dreamlab
