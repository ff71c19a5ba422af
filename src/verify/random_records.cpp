// *_rng*.safetensors: draws of PyTorch's generators, "<kind of draw>/seed<S>/<what>".
#include <algorithm>
#include <array>

#include "base/error.h"
#include "scheduler/torch_cpu_noise.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

struct Draw {
  const RecordFile& record;
  RecordCase& record_case;
  NoiseKind kind;
  uint64_t seed;
  std::vector<std::string> tensors;  // of this seed, in the order of drawing
};

void compare_normals(const Draw& draw, const std::string& tensor, NoiseSource& source, BoundKind bound) {
  std::vector<float> found(static_cast<size_t>(draw.record.tensor(tensor).shape.elements()));
  source.normals(found);
  draw.record_case.compare(draw.record, tensor, found, bound);
}

// Each tensor is the first draw of a generator of its own.
void check_first_draws(const Draw& draw) {
  for (const std::string& tensor : draw.tensors) {
    compare_normals(draw, tensor, *make_noise_source(draw.kind, draw.seed), BoundKind::random);
  }
}

// One generator draws them all.
void check_sequence(const Draw& draw) {
  const auto source = make_noise_source(draw.kind, draw.seed);
  for (const std::string& tensor : draw.tensors) compare_normals(draw, tensor, *source, BoundKind::random);
}

void check_half_draws(const Draw& draw) {
  for (const std::string& tensor : draw.tensors) {
    compare_normals(draw, tensor, *make_noise_source(draw.kind, draw.seed, NoisePrecision::f16), BoundKind::random_f16);
  }
}

void check_double_draws(const Draw& draw) {
  for (const std::string& tensor : draw.tensors) {
    const HostTensor expected = aligned(draw.record.tensor(tensor));
    std::vector<double> found(static_cast<size_t>(expected.shape.elements()));
    TorchCpuNoise(draw.seed, NoisePrecision::f32).normals(std::span<double>(found));
    draw.record_case.compare(tensor, found, {reinterpret_cast<const double*>(expected.data), found.size()},
                             BoundKind::random);
  }
}

void check_uniform_draws(const Draw& draw) {
  for (const std::string& tensor : draw.tensors) {
    std::vector<float> found(static_cast<size_t>(draw.record.tensor(tensor).shape.elements()));
    TorchCpuNoise(draw.seed, NoisePrecision::f32).uniforms(found);
    draw.record_case.compare(draw.record, tensor, found, BoundKind::exact);
  }
}

void check_integer_draws(const Draw& draw) {
  for (const std::string& tensor : draw.tensors) {
    const std::vector<int64_t> expected = draw.record.integers(tensor);
    std::vector<int64_t> found(expected.size());
    TorchCpuNoise noise(draw.seed, NoisePrecision::f32);
    for (int64_t& value : found) value = noise.integer31();
    draw.record_case.compare_exactly(tensor, found, expected);
  }
}

// "rand3", then "randn16": uniform numbers, then normal ones, of one generator.
void check_mixed_draws(const Draw& draw) {
  TorchCpuNoise noise(draw.seed, NoisePrecision::f32);
  for (const std::string& tensor : draw.tensors) {
    std::vector<float> found(static_cast<size_t>(draw.record.tensor(tensor).shape.elements()));
    const bool normal = tensor.find("/randn") != std::string::npos;
    if (normal) {
      noise.normals(std::span<float>(found));
    } else {
      noise.uniforms(found);
    }
    draw.record_case.compare(draw.record, tensor, found, normal ? BoundKind::random : BoundKind::exact);
  }
}

struct DrawKind {
  std::string_view name;  // what stands before "/seed"
  NoiseKind kind;
  void (*check)(const Draw&);
};
constexpr std::array<DrawKind, 11> kDrawKinds = {{
    {"first", NoiseKind::cuda, check_first_draws},
    {"seq", NoiseKind::cuda, check_sequence},
    {"half", NoiseKind::cuda, check_half_draws},
    {"philox", NoiseKind::cuda, check_sequence},
    {"randn", NoiseKind::cpu, check_first_draws},
    {"sequence", NoiseKind::cpu, check_sequence},
    {"randn_f16", NoiseKind::cpu, check_half_draws},
    {"randn_f64", NoiseKind::cpu, check_double_draws},
    {"rand", NoiseKind::cpu, check_uniform_draws},
    {"randint31", NoiseKind::cpu, check_integer_draws},
    {"rand_then_randn", NoiseKind::cpu, check_mixed_draws},
}};

uint64_t seed_of(const std::string& name) {
  const std::string word = "seed";
  const bool is_number = name.size() > word.size() && name.rfind(word, 0) == 0 &&
                         std::all_of(name.begin() + 4, name.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number) fail(ErrorKind::invalid_file, "\"{}\" where seed<number> is expected", name);
  return std::stoull(name.substr(word.size()));
}

// "seed42" of "seq/seed42/0_3x4".
std::string second_part(const std::string& name) {
  const std::string rest = name.substr(name.find('/') + 1);
  return rest.substr(0, rest.find('/'));
}

// Sequences number their draws: "10_3x4" comes after "9_3x4".
void sort_by_number(std::vector<std::string>& tensors) {
  const auto number = [](const std::string& name) { return std::atoi(name.c_str() + name.rfind('/') + 1); };
  std::stable_sort(tensors.begin(), tensors.end(),
                   [&](const std::string& a, const std::string& b) { return number(a) < number(b); });
}

}  // namespace

void run_random_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  for (const DrawKind& kind : kDrawKinds) {
    std::vector<std::string> names = record.names(fmt::format("{}/", kind.name));
    while (!names.empty()) {
      const std::string seed = second_part(names.front());
      const auto rest = std::stable_partition(names.begin(), names.end(),
                                              [&](const std::string& name) { return second_part(name) == seed; });
      std::vector<std::string> tensors(names.begin(), rest);
      names.erase(names.begin(), rest);
      sort_by_number(tensors);
      run.run_case(record_name, fmt::format("{}/{}", kind.name, seed), "", [&](RecordCase& record_case) {
        kind.check({record, record_case, kind.kind, seed_of(seed), tensors});
      });
    }
  }
  run.expect_all_taken(record);
}

}  // namespace dreamlab
