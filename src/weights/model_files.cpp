#include "weights/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "weights/config_detection.h"
#include "weights/config_json.h"
#include "weights/expected_tensors.h"
#include "weights/file_kind.h"
#include "weights/model_limits.h"
#include "weights/printable.h"
#include "weights/token_table.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// ---- single files in the original layout

enum class Place { unet, vae, clip, open_clip };

struct PrefixRow {
  std::string_view prefix;
  Place place;
  size_t encoder = 0;  // which text encoder
};

constexpr std::array<PrefixRow, 7> kPrefixes{{
    {"model.diffusion_model.", Place::unet},
    {"first_stage_model.", Place::vae},
    {"cond_stage_model.transformer.", Place::clip, 0},         // SD 1.x
    {"cond_stage_model.model.", Place::open_clip, 0},          // SD 2.x
    {"conditioner.embedders.0.transformer.", Place::clip, 0},  // SDXL
    {"conditioner.embedders.1.model.", Place::open_clip, 1},
    {"conditioner.embedders.0.model.", Place::open_clip, 0},  // SDXL refiner
}};

// Leftovers of training that nobody needs for making pictures: copies of averaged weights, tables that follow from the
// noise schedule, buffers of positions and masks.
constexpr std::array<std::string_view, 8> kIgnoredPrefixes{
    "model_ema.", "first_stage_model.loss.", "denoiser.", "posterior_", "sqrt_", "log_one_minus_", "lvlb_", "loss."};
constexpr std::array<std::string_view, 10> kIgnoredNames{
    "betas",    "alphas_cumprod", "alphas_cumprod_prev", "logvar", "scale_factor", "v_pred", "ztsnr",
    "edm_mean", "edm_std",        "global_step"};
constexpr std::array<std::string_view, 4> kIgnoredSuffixes{".position_ids", ".logit_scale", ".attn_mask", "inv_freq"};

bool is_ignored(std::string_view name) {
  const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
  const auto ends = [&](std::string_view suffix) { return name.ends_with(suffix); };
  return std::any_of(kIgnoredPrefixes.begin(), kIgnoredPrefixes.end(), starts) ||
         std::find(kIgnoredNames.begin(), kIgnoredNames.end(), name) != kIgnoredNames.end() ||
         std::any_of(kIgnoredSuffixes.begin(), kIgnoredSuffixes.end(), ends);
}

template <typename Visit>
void for_each_below(const TensorFile& file, const std::string& prefix, Visit visit) {
  for (auto item = file.tensors().lower_bound(prefix); item != file.tensors().end() && item->first.starts_with(prefix);
       ++item)
    visit(item->first, std::string_view(item->first).substr(prefix.size()), item->second);
}

// How many of prefix + "0" + suffix, prefix + "1" + suffix, ... there are, counted up to `most`.
int64_t count_numbered(const TensorFile& file, const std::string& prefix, const std::string& suffix, int64_t most) {
  int64_t n = 0;
  while (n < most && file.contains(fmt::format("{}{}{}", prefix, n, suffix))) ++n;
  return n;
}

// OpenCLIP stores q, k and v as one matrix and its projection transposed.
void gather_open_clip(const TensorFile& file, const std::string& prefix, TensorMap& map,
                      std::vector<std::string>& unknown) {
  constexpr std::string_view kFusedWeight = ".attn.in_proj_weight", kFusedBias = ".attn.in_proj_bias";
  constexpr std::string_view kBlocks = "transformer.resblocks.";
  const int64_t layers = count_numbered(file, prefix + std::string(kBlocks), ".ln_1.weight", kMostLayers);
  const ModuleRenamer renamer(open_clip_modules(layers));
  for_each_below(file, prefix, [&](const std::string& stored, std::string_view name, const HostTensor& tensor) {
    const bool weight = name.ends_with(kFusedWeight), bias = name.ends_with(kFusedBias);
    if (name.starts_with(kBlocks) && (weight || bias)) {
      const std::string_view number =
          name.substr(kBlocks.size(), name.size() - kBlocks.size() - (weight ? kFusedWeight : kFusedBias).size());
      if (tensor.shape.rank() != (weight ? 2 : 1) || tensor.shape[0] % 3 != 0)
        fail(ErrorKind::invalid_file, "{}: tensor {} has shape {}; three equal parts are expected", map.label(),
             printable(stored), tensor.shape.to_string());
      const int64_t rows = tensor.shape[0] / 3;
      int64_t part = 0;
      for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
        map.add(
            fmt::format("text_model.encoder.layers.{}.self_attn.{}.{}", number, projection, weight ? "weight" : "bias"),
            tensor.rows(part * rows, (part + 1) * rows), stored);
        ++part;
      }
    } else if (name == "text_projection" && tensor.shape.rank() == 2) {
      map.add("text_projection.weight", aligned(tensor).transposed(), stored);
    } else if (name == "text_projection.weight") {
      map.add("text_projection.weight", tensor, stored);
    } else if (auto renamed = renamer.rename(name)) {
      map.add(std::move(*renamed), tensor, stored);
    } else if (!is_ignored(stored)) {
      unknown.push_back(stored);
    }
  });
}

// transformers' names; very old files lack the outer "text_model".
void gather_clip(const TensorFile& file, const std::string& prefix, TensorMap& map) {
  for_each_below(file, prefix, [&](const std::string& stored, std::string_view name, const HostTensor& tensor) {
    if (is_ignored(stored)) return;
    const bool bare =
        name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("final_layer_norm.");
    map.add((bare ? "text_model." : "") + std::string(name), tensor, stored);
  });
}

struct Loose {
  std::shared_ptr<TensorMap> unet, vae;
  std::vector<std::shared_ptr<TensorMap>> encoders;
  std::vector<bool> open_clip;
  std::vector<std::string> unknown;
};

std::shared_ptr<TensorMap> new_map(const TensorFile& file, std::string_view part) {
  return std::make_shared<TensorMap>(fmt::format("{} ({})", file.path().string(), part));
}

void gather_unet(const TensorFile& file, const std::string& prefix, Loose& found) {
  auto map = new_map(file, "UNet");
  if (const auto layout = detect_unet_layout(file, prefix))
    gather(file, prefix, ModuleRenamer(unet_modules(*layout)), *map, found.unknown);
  else
    gather_as_is(file, prefix, *map);
  if (!map->empty()) found.unet = map;
}

Loose gather_single_file(const TensorFile& file) {
  Loose found;
  if (!file.has_prefix(kPrefixes[0].prefix)) {  // a UNet alone, in either layout
    gather_unet(file, "", found);
    return found;
  }
  gather_unet(file, std::string(kPrefixes[0].prefix), found);
  for (const PrefixRow& row : kPrefixes) {
    if (row.place == Place::unet || !file.has_prefix(row.prefix)) continue;
    const std::string prefix(row.prefix);
    if (row.place == Place::vae) {
      found.vae = new_map(file, "VAE");
      gather_vae(file, prefix, *found.vae, found.unknown);
      continue;
    }
    if (row.encoder < found.encoders.size() && found.encoders[row.encoder])
      fail(ErrorKind::invalid_file, "{}: text encoder {} is there twice", file.path().string(), row.encoder + 1);
    found.encoders.resize(std::max(found.encoders.size(), row.encoder + 1));
    found.open_clip.resize(found.encoders.size());
    found.encoders[row.encoder] = new_map(file, fmt::format("text encoder {}", row.encoder + 1));
    found.open_clip[row.encoder] = row.place == Place::open_clip;
    if (row.place == Place::open_clip)
      gather_open_clip(file, prefix, *found.encoders[row.encoder], found.unknown);
    else
      gather_clip(file, prefix, *found.encoders[row.encoder]);
  }
  for (const auto& item : file.tensors()) {
    const bool known = std::any_of(kPrefixes.begin(), kPrefixes.end(),
                                   [&](const PrefixRow& row) { return item.first.starts_with(row.prefix); });
    if (!known && !is_ignored(item.first)) found.unknown.push_back(item.first);
  }
  return found;
}

// ---- configuration

[[noreturn]] void rethrow_with(const fs::path& path, const Error& error) {
  throw Error(error.kind(), fmt::format("{}: {}", path.string(), error.what()));
}

template <typename Parse>
auto parse_file(const fs::path& path, Parse parse) {
  const json object = read_json_file(path);
  try {
    return parse(object);
  } catch (const Error& error) {
    rethrow_with(path, error);
  }
}

ModelConfig detect_config(const Loose& found, const TensorFile& file) {
  const std::string label = file.path().string();
  const Family family = detect_family(*found.unet);
  ModelConfig config = published_config(family);
  config.text_encoders.clear();
  config.unet = detect_unet_config(*found.unet, family, label);
  if (found.vae) config.vae = detect_vae_config(*found.vae, family, label);
  for (size_t i = 0; i < found.encoders.size(); ++i) {
    if (!found.encoders[i]) fail(ErrorKind::invalid_file, "{}: text encoder {} is missing", label, i + 1);
    TextEncoderConfig encoder = detect_text_encoder_config(*found.encoders[i], found.open_clip[i], label);
    if (family == Family::sd2) {  // the last block and the projection are stored but not used
      encoder.layers = std::max<int64_t>(1, encoder.layers - 1);
      encoder.projection_dim = 0;
    }
    config.text_encoders.push_back(encoder);
  }
  settle_added_conditions(config);

  const auto stated = prediction_from_metadata(file.metadata());
  config.schedule.prediction_type = PredictionType::epsilon;
  if (stated)
    config.schedule.prediction_type = *stated;
  else if (family == Family::sd2)
    config.schedule.prediction_type = detect_sd2_prediction(*found.unet);
  else if (file.contains("v_pred"))  // an empty tensor by which trainers mark v-prediction models of other families
    config.schedule.prediction_type = PredictionType::v_prediction;
  config.schedule.rescale_betas_zero_snr = file.contains("ztsnr");
  if (family == Family::sd2 && config.schedule.prediction_type == PredictionType::epsilon) config.native_size = 512;
  return config;
}

// What the device relies on and neither shapes nor a sidecar guarantee.
void check_config(const ModelConfig& config, const fs::path& path) {
  const UNetConfig& unet = config.unet;
  const auto refuse = [&](const std::string& what) {
    fail(ErrorKind::invalid_file, "{}: {}; {} may say otherwise", path.string(), what,
         sidecar_of(path).filename().string());
  };
  for (size_t i = 0; i < unet.block_out_channels.size(); ++i) {
    if (unet.block_out_channels[i] % unet.norm_num_groups != 0)
      refuse(fmt::format("{} UNet channels do not divide into {} groups", unet.block_out_channels[i],
                         unet.norm_num_groups));
    if (unet.block_out_channels[i] % unet.heads[i] != 0)
      refuse(fmt::format("{} UNet channels do not divide into {} heads", unet.block_out_channels[i], unet.heads[i]));
  }
  for (const int64_t channels : config.vae.block_out_channels)
    if (channels % config.vae.norm_num_groups != 0)
      refuse(fmt::format("{} VAE channels do not divide into {} groups", channels, config.vae.norm_num_groups));
}

void count_dtypes(const TensorFile& file, std::map<std::string, int64_t>& by_dtype) {
  for (const auto& item : file.tensors())
    by_dtype[std::string(name_of(item.second.dtype))] += item.second.shape.elements();
}

// Stored parts of a text encoder that its configuration leaves out (SD 2.x's last block, projections) are no surprise.
void collect_unexpected_text(const TensorMap& map, const TextEncoderConfig& config, std::vector<std::string>& unknown) {
  TextEncoderConfig whole = config;
  whole.projection_dim = std::max<int64_t>(1, whole.projection_dim);
  while (map.contains(fmt::format("text_model.encoder.layers.{}.layer_norm1.weight", whole.layers))) ++whole.layers;
  collect_unexpected(map, expected_tensors(whole), unknown);
}

void collect_all_unexpected(ModelFiles& model) {
  if (model.unet.weights) collect_unexpected(*model.unet.weights, expected_tensors(model.config.unet), model.unknown);
  if (model.vae.weights) collect_unexpected(*model.vae.weights, expected_tensors(model.config.vae), model.unknown);
  for (size_t i = 0; i < model.text_encoders.size(); ++i)
    if (model.text_encoders[i].weights)
      collect_unexpected_text(*model.text_encoders[i].weights, model.config.text_encoders[i], model.unknown);
  std::sort(model.unknown.begin(), model.unknown.end());
}

ModelFiles open_single_file(const fs::path& path) {
  const std::shared_ptr<const TensorFile> file = open_tensor_file(path);
  const FileKind kind = kind_of(*file);
  if (kind != FileKind::checkpoint && kind != FileKind::unet)
    fail(ErrorKind::invalid_file, "{}: is {}; a Stable Diffusion checkpoint is expected", path.string(),
         described(kind));
  Loose found = gather_single_file(*file);
  if (!found.unet) fail(ErrorKind::invalid_file, "{}: has no UNet", path.string());

  ModelFiles model;
  model.format = file->format();
  model.config = detect_config(found, *file);
  if (fs::exists(sidecar_of(path)))
    model.config =
        parse_file(sidecar_of(path), [&](const json& object) { return parse_sidecar(object, model.config); });
  check_config(model.config, path);
  model.unet = {found.unet, ""};
  model.vae = {found.vae,
               found.vae ? "" : fmt::format("{}: has no VAE (no first_stage_model.* tensors)", path.string())};
  for (const auto& encoder : found.encoders) model.text_encoders.push_back({encoder, ""});
  model.unknown = std::move(found.unknown);
  collect_all_unexpected(model);
  count_dtypes(*file, model.by_dtype);
  return model;
}

// ---- diffusers directories

bool has_config(const fs::path& directory) {
  return fs::is_regular_file(directory / "config.json");
}

bool is_unet_config(const fs::path& directory) {
  if (!has_config(directory)) return false;
  const json config = read_json_file(directory / "config.json");
  const auto name = config.is_object() ? config.find("_class_name") : config.end();
  return name != config.end() && *name == "UNet2DConditionModel";
}

// The token that fills a window, where the tokenizer's files say: CLIP's own is the end token, OpenCLIP's is "!", whose
// id is 0.
std::optional<int32_t> pad_id_of(const fs::path& tokenizer) {
  const fs::path path = tokenizer / "special_tokens_map.json";
  if (!fs::is_regular_file(path)) return std::nullopt;
  const json map = read_json_file(path);
  const auto pad = map.is_object() ? map.find("pad_token") : map.end();
  if (pad == map.end()) return std::nullopt;
  const json* token = &*pad;
  if (pad->is_object()) {
    const auto content = pad->find("content");
    if (content == pad->end()) return std::nullopt;
    token = &*content;
  }
  if (*token == "!") return 0;
  if (*token == "<|endoftext|>") return 49407;
  return std::nullopt;
}

class DirectoryReader {
 public:
  explicit DirectoryReader(fs::path root) : root_(std::move(root)) {}

  ModelFiles read() {
    model_.format = "diffusers directory";
    read_unet();
    read_vae();
    for (const char* name : {"text_encoder", "text_encoder_2"}) read_text_encoder(name);
    read_pipeline();
    collect_all_unexpected(model_);
    return std::move(model_);
  }

 private:
  std::string absent(const char* part) const {
    return fmt::format("{}: this model has no {} directory", root_.string(), part);
  }

  std::shared_ptr<TensorMap> open_part(const fs::path& directory, const std::string& stem, std::string_view part) {
    const auto file = open_tensor_file(find_weight_file(directory, stem));
    count_dtypes(*file, model_.by_dtype);
    auto map = new_map(*file, part);
    if (part == "VAE")
      gather_vae(*file, "", *map, model_.unknown);
    else if (part == "UNet")
      gather_as_is(*file, "", *map);
    else
      gather_clip(*file, "", *map);
    return map;
  }

  void read_unet() {
    const fs::path directory = has_config(root_ / "unet") ? root_ / "unet" : root_;
    if (!is_unet_config(directory))
      fail(ErrorKind::invalid_file,
           "{}: no Stable Diffusion model: neither unet/config.json nor a UNet's config.json is there", root_.string());
    const auto map = open_part(directory, "diffusion_pytorch_model", "UNet");
    model_.unet = {map, ""};
    const Family family = detect_family(*map);
    model_.config = published_config(family);
    model_.config.text_encoders.clear();
    const UNetConfig base = detect_unet_config(*map, family, map->label());
    model_.config.unet = parse_file(directory / "config.json", [&](const json& object) {
      model_.config.native_size =
          parse_native_size(object, model_.config.vae.block_out_channels.size(), model_.config.native_size);
      return parse_unet_config(object, base);
    });
  }

  void read_vae() {
    const fs::path directory = root_ / "vae";
    if (!has_config(directory)) {
      model_.vae.absent = absent("vae");
      return;
    }
    model_.config.vae = parse_file(directory / "config.json",
                                   [&](const json& object) { return parse_vae_config(object, model_.config.vae); });
    model_.vae = {open_part(directory, "diffusion_pytorch_model", "VAE"), ""};
  }

  void read_text_encoder(const std::string& name) {
    const fs::path directory = root_ / name;
    if (!has_config(directory)) return;
    const std::string label = fmt::format("text encoder {}", model_.text_encoders.size() + 1);
    const auto map = open_part(directory, "model", label);
    const bool projected = map->contains("text_projection.weight");
    TextEncoderConfig config = parse_file(directory / "config.json", [&](const json& object) {
      return parse_text_encoder_config(object, detect_text_encoder_config(*map, false, map->label()));
    });
    if (!projected) config.projection_dim = 0;
    expand_token_table(*map, config.vocab_size);
    const std::string tokenizer = name == "text_encoder" ? "tokenizer" : "tokenizer_2";
    if (const auto pad = pad_id_of(root_ / tokenizer)) config.pad_id = *pad;
    model_.config.text_encoders.push_back(config);
    model_.text_encoders.push_back({map, ""});
  }

  void read_pipeline() {
    const fs::path scheduler = root_ / "scheduler" / "scheduler_config.json";
    if (fs::is_regular_file(scheduler))
      model_.config.schedule = parse_file(
          scheduler, [&](const json& object) { return parse_schedule_config(object, NoiseScheduleConfig{}); });
    const fs::path index = root_ / "model_index.json";
    if (!fs::is_regular_file(index)) return;
    const json pipeline = read_json_file(index);
    const auto read_flag = [&](const char* key, bool& flag) {
      const auto found = pipeline.is_object() ? pipeline.find(key) : pipeline.end();
      if (found != pipeline.end() && found->is_boolean()) flag = found->get<bool>();
    };
    read_flag("force_zeros_for_empty_prompt", model_.config.force_zeros_for_empty_prompt);
    read_flag("requires_aesthetics_score", model_.config.requires_aesthetics_score);
  }

  fs::path root_;
  ModelFiles model_;
};

// diffusers before 0.15 named the VAE's attention otherwise.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kOldVaeAttention{
    {{".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}}};

std::string modern_vae_name(std::string name) {
  if (name.find(".attentions.") == std::string::npos) return name;
  for (const auto& [old_name, new_name] : kOldVaeAttention) {
    const size_t at = name.find(old_name);
    if (at != std::string::npos) name.replace(at, old_name.size(), new_name);
  }
  return name;
}

// The original layout keeps the attention's projections as 1x1 convolutions.
HostTensor as_matrix_in_attention(const std::string& name, const HostTensor& tensor) {
  const bool projection = name.find(".attentions.") != std::string::npos && tensor.shape.rank() == 4 &&
                          tensor.shape[2] == 1 && tensor.shape[3] == 1;
  return projection ? tensor.reshape({tensor.shape[0], tensor.shape[1]}) : tensor;
}

}  // namespace

void gather(const TensorFile& file, const std::string& prefix, const ModuleRenamer& renamer, TensorMap& map,
            std::vector<std::string>& unknown) {
  for_each_below(file, prefix, [&](const std::string& stored, std::string_view name, const HostTensor& tensor) {
    if (auto renamed = renamer.rename(name))
      map.add(std::move(*renamed), tensor, stored);
    else if (!is_ignored(stored))
      unknown.push_back(stored);
  });
}

void gather_as_is(const TensorFile& file, const std::string& prefix, TensorMap& map) {
  for_each_below(file, prefix, [&](const std::string& stored, std::string_view name, const HostTensor& tensor) {
    map.add(std::string(name), tensor, stored);
  });
}

void gather_vae(const TensorFile& file, const std::string& prefix, TensorMap& map, std::vector<std::string>& unknown) {
  const int64_t levels = count_numbered(file, prefix + "encoder.down.", ".block.0.conv1.weight", kMostLevels);
  const int64_t layers = count_numbered(file, prefix + "encoder.down.0.block.", ".conv1.weight", kMostResnets);
  const ModuleRenamer renamer(vae_modules(levels, layers));
  for_each_below(file, prefix, [&](const std::string& stored, std::string_view name, const HostTensor& tensor) {
    std::optional<std::string> renamed = levels > 0 ? renamer.rename(name) : modern_vae_name(std::string(name));
    if (renamed)
      map.add(*renamed, as_matrix_in_attention(*renamed, tensor), stored);
    else if (!is_ignored(stored))
      unknown.push_back(stored);
  });
}

void collect_unexpected(const TensorMap& map, const ExpectedTensors& expected, std::vector<std::string>& unknown) {
  std::set<std::string_view> names;
  for (const ExpectedTensor& tensor : expected) names.insert(tensor.name);
  for (const auto& item : map.entries())
    if (!names.contains(item.first) && !is_ignored(item.second.stored_name)) unknown.push_back(item.second.stored_name);
}

fs::path sidecar_of(const fs::path& single_file) {
  fs::path out = single_file;
  return out.replace_extension(".config.json");
}

fs::path find_weight_file(const fs::path& directory, const std::string& stem) {
  const std::string pytorch = stem == "model" ? "pytorch_model" : stem;
  const std::array<std::string, 8> names{stem + ".fp16.safetensors",
                                         stem + ".safetensors",
                                         stem + ".fp16.safetensors.index.json",
                                         stem + ".safetensors.index.fp16.json",
                                         stem + ".safetensors.index.json",
                                         pytorch + ".fp16.bin",
                                         pytorch + ".bin",
                                         pytorch + ".bin.index.json"};
  for (const std::string& name : names)
    if (fs::is_regular_file(directory / name)) return directory / name;
  fail(ErrorKind::unavailable, "{}: has no weights; looked for {}", directory.string(), fmt::join(names, ", "));
}

ModelFiles open_model_files(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorKind::unavailable, "{}: no such file or directory", path.string());
  return fs::is_directory(path) ? DirectoryReader(path).read() : open_single_file(path);
}

}  // namespace dreamlab
