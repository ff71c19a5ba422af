#include "weights/lora_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "weights/expected_tensors.h"
#include "weights/file_kind.h"
#include "weights/original_layout.h"
#include "weights/printable.h"
#include "weights/tensor_file.h"
#include "weights/tensor_map.h"

namespace dreamlab {
namespace {

enum class Role { down, up, second_down, second_up, alpha, other };

struct SuffixRow {
  std::string_view suffix;
  Role role;
};

// How stored names end. `other`: parts of methods that are more than up * down, so that the whole layer has to stay
// out.
constexpr std::array<SuffixRow, 28> kSuffixes{{
    {".lora_down.weight", Role::down},
    {".lora_up.weight", Role::up},
    {".alpha", Role::alpha},
    {".lora_A.weight", Role::down},
    {".lora_B.weight", Role::up},
    {".lora_A.default.weight", Role::down},
    {".lora_B.default.weight", Role::up},
    {".lora.down.weight", Role::down},
    {".lora.up.weight", Role::up},
    {".lora_linear_layer.down.weight", Role::down},
    {".lora_linear_layer.up.weight", Role::up},
    {"_lora.down.weight", Role::down},  // diffusers' oldest form: "...attn1.processor.to_q_lora.down.weight"
    {"_lora.up.weight", Role::up},
    {".lora_mid.weight", Role::other},
    {".dora_scale", Role::other},
    {".lora_magnitude_vector", Role::other},
    {".lora_magnitude_vector.weight", Role::other},
    {".diff", Role::other},
    {".diff_b", Role::other},
    {".hada_w1_a", Role::up},
    {".hada_w1_b", Role::down},
    {".hada_w2_a", Role::second_up},
    {".hada_w2_b", Role::second_down},
    {".hada_t1", Role::other},
    {".hada_t2", Role::other},
    {".lokr_w1", Role::other},
    {".lokr_w2", Role::other},
    {".lora_down.bias", Role::other},
}};

struct Stored {
  const HostTensor* down = nullptr;
  const HostTensor* up = nullptr;
  const HostTensor* second_down = nullptr;
  const HostTensor* second_up = nullptr;
  const HostTensor* alpha = nullptr;
  bool other = false;
  std::vector<std::string> names;

  const HostTensor*& at(Role role) {
    switch (role) {
      case Role::down:
        return down;
      case Role::up:
        return up;
      case Role::second_down:
        return second_down;
      case Role::second_up:
        return second_up;
      default:
        return alpha;
    }
  }
  bool is_hadamard() const { return second_down || second_up; }
  // All factors of one method are there, and nothing of another.
  bool is_whole() const { return !other && down && up && (!second_down == !second_up); }
};

// Module names as stored -> what is stored for them.
using StoredLayers = std::map<std::string, Stored>;

StoredLayers group_by_module(const TensorFile& file, std::vector<std::string>& unknown) {
  StoredLayers layers;
  for (const auto& [name, tensor] : file.tensors()) {
    const auto row = std::find_if(kSuffixes.begin(), kSuffixes.end(), [&, &stored = name](const SuffixRow& candidate) {
      return stored.ends_with(candidate.suffix);
    });
    if (row == kSuffixes.end()) {
      unknown.push_back(name);
      continue;
    }
    Stored& layer = layers[name.substr(0, name.size() - row->suffix.size())];
    layer.names.push_back(name);
    // Two tensors for one role are of two methods.
    if (row->role == Role::other || layer.at(row->role) != nullptr)
      layer.other = true;
    else
      layer.at(row->role) = &tensor;
  }
  return layers;
}

std::string flattened(std::string path) {
  std::replace(path.begin(), path.end(), '.', '_');
  return path;
}

struct Module {
  std::string path;  // as LoraLayer has it
  Shape weight;      // [out, in] or [out, in, kh, kw]
};

struct FoundModule {
  const Module* module;
  std::string_view naming;
};

constexpr std::string_view kKohya = "kohya", kKohyaSgm = "kohya (sgm names)", kDiffusers = "diffusers";

// The modules of a model that a LoRA may change, under every name that files have for them.
class ModuleTable {
 public:
  explicit ModuleTable(const ModelConfig& config) {
    std::unordered_map<std::string, std::string> original;  // diffusers' name -> original name, by module prefix
    for (const auto& [from, to] : unet_modules(layout_of(config.unet))) original.emplace(to, from);
    for_each_module(expected_tensors(config.unet), [&](const std::string& path, const Shape& shape) {
      const size_t module = add("unet." + path, shape);
      name(module, "lora_unet_" + flattened(path), kKohya);
      if (const auto sgm = original_name(original, path)) name(module, "lora_unet_" + flattened(*sgm), kKohyaSgm);
      name(module, "unet." + path, kDiffusers);
      name(module, path, kDiffusers);
    });
    const bool several = config.text_encoders.size() > 1;
    for (size_t i = 0; i < config.text_encoders.size(); ++i) {
      const std::string encoder = i == 0 ? "text_encoder." : "text_encoder_2.";
      const std::string kohya = several ? fmt::format("lora_te{}_", i + 1) : "lora_te_";
      for_each_module(expected_tensors(config.text_encoders[i]), [&](const std::string& path, const Shape& shape) {
        const size_t module = add(encoder + path, shape);
        name(module, kohya + flattened(path), kKohya);
        if (!several) name(module, "lora_te1_" + flattened(path), kKohya);
        name(module, encoder + path, kDiffusers);
      });
    }
  }

  // stored: the module's name as a file has it.
  std::optional<FoundModule> find(std::string stored) const {
    // diffusers' oldest form puts the attention's projections below a "processor", and its output projection without an
    // index.
    constexpr std::string_view kProcessor = ".processor.";
    if (const size_t at = stored.find(kProcessor); at != std::string::npos) {
      stored.replace(at, kProcessor.size(), ".");
      if (stored.ends_with(".to_out")) stored += ".0";
    }
    const auto found = names_.find(stored);
    if (found == names_.end()) return std::nullopt;
    return FoundModule{&modules_[found->second.first], found->second.second};
  }

 private:
  template <typename Visit>
  static void for_each_module(const ExpectedTensors& tensors, Visit visit) {
    constexpr std::string_view kWeight = ".weight";
    for (const ExpectedTensor& tensor : tensors)
      if (tensor.shape.rank() >= 2 && tensor.name.ends_with(kWeight))
        visit(tensor.name.substr(0, tensor.name.size() - kWeight.size()), tensor.shape);
  }

  static std::optional<std::string> original_name(const std::unordered_map<std::string, std::string>& original,
                                                  const std::string& path) {
    for (size_t end = path.size(); end != std::string::npos && end > 0; end = path.rfind('.', end - 1)) {
      const auto found = original.find(path.substr(0, end));
      if (found != original.end()) return found->second + path.substr(end);
    }
    return std::nullopt;
  }

  size_t add(std::string path, const Shape& shape) {
    modules_.push_back({std::move(path), shape});
    return modules_.size() - 1;
  }

  void name(size_t module, std::string stored, std::string_view naming) {
    names_.try_emplace(std::move(stored), module, naming);
  }

  std::vector<Module> modules_;
  std::unordered_map<std::string, std::pair<size_t, std::string_view>> names_;
};

bool is_cross_attention_key(std::string_view module) {
  return module.ends_with("attn2.to_k") || module.ends_with("attn2_to_k") || module.ends_with("attn2.processor.to_k");
}

// Which published model the names and widths point to.
Family guess_family(const StoredLayers& layers, std::optional<int64_t> cross_attention_dim) {
  if (cross_attention_dim == 768) return Family::sd1;
  if (cross_attention_dim == 1024) return Family::sd2;
  if (cross_attention_dim == 1280) return Family::sdxl_refiner;
  if (cross_attention_dim == 2048) return Family::sdxl;
  const bool second_encoder = std::any_of(layers.begin(), layers.end(), [](const auto& item) {
    return item.first.starts_with("lora_te2_") || item.first.starts_with("text_encoder_2.");
  });
  const bool deep = std::any_of(layers.begin(), layers.end(), [](const auto& item) {
    return item.first.find("transformer_blocks_1_") != std::string::npos ||
           item.first.find("transformer_blocks.1.") != std::string::npos;
  });
  return second_encoder || deep ? Family::sdxl : Family::sd1;
}

float alpha_of(const Stored& stored, int64_t rank, const std::string& file) {
  if (!stored.alpha) return static_cast<float>(rank);
  const HostTensor alpha = aligned(*stored.alpha);
  if (alpha.shape.elements() != 1)
    fail(ErrorKind::invalid_file, "{}: {} has an alpha of {} numbers", file, printable(stored.names[0]),
         alpha.shape.elements());
  if (!is_floating_point(alpha.dtype) && alpha.dtype != DType::i64)
    fail(ErrorKind::invalid_file, "{}: {} has an alpha of {}", file, printable(stored.names[0]), name_of(alpha.dtype));
  const float value =
      alpha.dtype == DType::i64 ? static_cast<float>(*reinterpret_cast<const int64_t*>(alpha.data)) : alpha.to_f32()[0];
  if (!std::isfinite(value))
    fail(ErrorKind::invalid_file, "{}: {} has an alpha of {}", file, printable(stored.names[0]), value);
  return value;
}

// Both factors are matrices or convolutions over floating-point numbers and meet in one rank.
void check_pair(const Stored& stored, const HostTensor& down_factor, const HostTensor& up_factor,
                const std::string& file) {
  const Shape& down = down_factor.shape;
  const Shape& up = up_factor.shape;
  const bool matrices = (down.rank() == 2 || down.rank() == 4) && (up.rank() == 2 || up.rank() == 4);
  const bool pointwise = up.rank() != 4 || (up[2] == 1 && up[3] == 1);
  if (!matrices || !pointwise || down[0] != up[1] || down[0] < 1 || !is_floating_point(down_factor.dtype) ||
      !is_floating_point(up_factor.dtype))
    fail(ErrorKind::invalid_file, "{}: {}: factors {} {} and {} {} do not multiply", file, printable(stored.names[0]),
         name_of(up_factor.dtype), up.to_string(), name_of(down_factor.dtype), down.to_string());
}

void check_factors(const Stored& stored, const std::string& file) {
  check_pair(stored, *stored.down, *stored.up, file);
  if (!stored.is_hadamard()) return;
  check_pair(stored, *stored.second_down, *stored.second_up, file);
  const auto product = [](const HostTensor& up, const HostTensor& down) {
    return std::pair(up.shape[0], down.shape.elements() / down.shape[0]);
  };
  if (product(*stored.up, *stored.down) != product(*stored.second_up, *stored.second_down))
    fail(ErrorKind::invalid_file, "{}: {}: products of {} {} and of {} {} are of different shapes", file,
         printable(stored.names[0]), stored.up->shape.to_string(), stored.down->shape.to_string(),
         stored.second_up->shape.to_string(), stored.second_down->shape.to_string());
}

// up * down has the shape of the module's weight. LoHa's factors of a convolution are flat: [rank, in * kh * kw].
bool fits(const Stored& stored, const Shape& weight) {
  const Shape& down = stored.down->shape;
  if (stored.is_hadamard() && down.rank() == 2)
    return stored.up->shape[0] == weight[0] && down[1] == weight.elements() / weight[0];
  Shape product = down;
  product.set(0, stored.up->shape[0]);
  return shapes_agree(product, weight);
}

// The down factor as the module's product takes it: with its window, where the module has one.
HostTensor with_window(const HostTensor& down, const Shape& weight) {
  Shape shape = weight;
  shape.set(0, down.shape[0]);
  return shape.elements() == down.shape.elements() ? down.reshape(shape) : down;
}

LoraLayer make_layer(const Stored& stored, const Module& module, const std::string& file) {
  LoraLayer layer{module.path, aligned(*stored.down), aligned(*stored.up),
                  alpha_of(stored, stored.down->shape[0], file)};
  if (stored.is_hadamard()) {
    layer.down = with_window(layer.down, module.weight);
    layer.second_down = with_window(aligned(*stored.second_down), module.weight);
    layer.second_up = aligned(*stored.second_up);
  }
  return layer;
}

// up [rows, rank] * down [rank, columns]
std::vector<float> product(const HostTensor& up, const HostTensor& down) {
  const std::vector<float> left = up.to_f32(), right = down.to_f32();
  const auto rank = static_cast<size_t>(down.shape[0]);
  const size_t rows = left.size() / rank, columns = right.size() / rank;
  std::vector<float> out(rows * columns);
  for (size_t row = 0; row < rows; ++row)
    for (size_t r = 0; r < rank; ++r)
      for (size_t c = 0; c < columns; ++c) out[row * columns + c] += left[row * rank + r] * right[r * columns + c];
  return out;
}

}  // namespace

std::vector<float> LoraLayer::dense() const {
  std::vector<float> values = product(up, down);
  if (!is_hadamard()) return values;
  const std::vector<float> second = product(second_up, second_down);
  std::transform(values.begin(), values.end(), second.begin(), values.begin(), std::multiplies<>());
  return values;
}

LoraFile LoraFile::open(const std::filesystem::path& path, const ModelConfig* target) {
  const std::shared_ptr<const TensorFile> file = open_tensor_file(path);
  const FileKind kind = kind_of(*file);
  if (kind != FileKind::lora)
    fail(ErrorKind::invalid_file, "{}: is {}; a LoRA is expected", path.string(), described(kind));

  LoraFile lora;
  lora.path_ = path;
  const StoredLayers stored_layers = group_by_module(*file, lora.unknown_);
  for (const auto& [name, stored] : stored_layers)
    if (is_cross_attention_key(name) && stored.down && stored.down->shape.rank() >= 2)
      lora.cross_attention_dim_ = stored.down->shape[1];
  if (target && lora.cross_attention_dim_ && *lora.cross_attention_dim_ != target->unet.cross_attention_dim)
    fail(ErrorKind::invalid_file,
         "{}: made for another model: its cross-attention width is {}, this model's ({}) is {}", path.string(),
         *lora.cross_attention_dim_, name_of(target->family), target->unet.cross_attention_dim);

  const ModuleTable modules(target ? *target
                                   : published_config(guess_family(stored_layers, lora.cross_attention_dim_)));
  for (const auto& [name, stored] : stored_layers) {
    const std::optional<FoundModule> found = stored.is_whole() ? modules.find(name) : std::nullopt;
    if (!found) {
      lora.unknown_.insert(lora.unknown_.end(), stored.names.begin(), stored.names.end());
      continue;
    }
    check_factors(stored, path.string());
    if (target && !fits(stored, found->module->weight))
      fail(ErrorKind::invalid_file, "{}: made for another model: {} is {} times {}, this model's weight is {}",
           path.string(), printable(name), stored.up->shape.to_string(), stored.down->shape.to_string(),
           found->module->weight.to_string());
    // Names common to both block namings (the text encoders') say nothing; the first that does decides.
    if (lora.naming_.empty() || found->naming == kKohyaSgm) lora.naming_ = found->naming;
    lora.layers_.push_back(make_layer(stored, *found->module, path.string()));
  }
  if (lora.layers_.empty())
    fail(ErrorKind::unsupported, "{}: none of its {} tensors is a LoRA layer of {}", path.string(),
         file->tensors().size(),
         target ? fmt::format("this model ({})", name_of(target->family)) : "a Stable Diffusion model");
  std::sort(lora.unknown_.begin(), lora.unknown_.end());
  return lora;
}

}  // namespace dreamlab
