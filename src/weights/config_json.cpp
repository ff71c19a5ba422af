#include "weights/config_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "weights/model_limits.h"
#include "weights/printable.h"

namespace dreamlab {
namespace {

using nlohmann::json;

constexpr size_t kLargestJson = size_t{4} << 20;
constexpr int kDeepestJson = 64;

// One JSON object of a configuration, read key by key. null counts as absent.
class Fields {
 public:
  Fields(const json& object, std::string part) : object_(object), part_(std::move(part)) {
    if (!object.is_object()) fail(ErrorKind::invalid_file, "{}: a JSON object is expected", part_);
  }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void read(const char* key, int64_t& value, int64_t least, int64_t most) const {
    if (const json* found = find(key)) value = integer(*found, key, least, most);
  }

  void read(const char* key, double& value, double least, double most) const {
    const json* found = find(key);
    if (!found) return;
    const double number = found->is_number() ? found->get<double>() : least - 1;
    if (!(number >= least && number <= most))
      fail(ErrorKind::invalid_file, "{}: {} is {}; a number from {} to {} is allowed", part_, key, shown(*found), least,
           most);
    value = number;
  }

  void read(const char* key, bool& value) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_boolean())
      fail(ErrorKind::invalid_file, "{}: {} is {}; true or false is allowed", part_, key, shown(*found));
    value = found->get<bool>();
  }

  std::optional<std::string> text(const char* key) const {
    const json* found = find(key);
    if (!found) return std::nullopt;
    if (!found->is_string())
      fail(ErrorKind::invalid_file, "{}: {} is {}; a text is expected", part_, key, shown(*found));
    return found->get<std::string>();
  }

  std::optional<std::vector<int64_t>> integers(const char* key, int64_t least, int64_t most) const {
    const json* found = find(key);
    if (!found) return std::nullopt;
    check_list(*found, key);
    std::vector<int64_t> out;
    for (const json& item : *found) out.push_back(integer(item, key, least, most));
    return out;
  }

  std::optional<std::vector<std::string>> texts(const char* key) const {
    const json* found = find(key);
    if (!found) return std::nullopt;
    check_list(*found, key);
    std::vector<std::string> out;
    for (const json& item : *found) {
      if (!item.is_string())
        fail(ErrorKind::invalid_file, "{}: {} has {}; texts are expected", part_, key, shown(item));
      out.push_back(item.get<std::string>());
    }
    return out;
  }

  // One number for all levels, or a list with one each.
  std::optional<std::vector<int64_t>> per_level(const char* key, size_t levels, int64_t least, int64_t most) const {
    const json* found = find(key);
    if (!found) return std::nullopt;
    if (!found->is_array()) return std::vector<int64_t>(levels, integer(*found, key, least, most));
    auto out = integers(key, least, most);
    if (out->size() != levels)
      fail(ErrorKind::invalid_file, "{}: {} has {} numbers for {} levels", part_, key, out->size(), levels);
    return out;
  }

  // The one value of several that this program builds; absent is fine.
  void require(const char* key, const json& allowed) const {
    const json* found = find(key);
    if (found && *found != allowed)
      fail(ErrorKind::unsupported, "{}: {} is {}; only {} is supported", part_, key, shown(*found), allowed.dump());
  }

  void require_absent(const char* key) const {
    if (const json* found = find(key))
      fail(ErrorKind::unsupported, "{}: {} is {}; it is not supported", part_, key, shown(*found));
  }

  const std::string& part() const { return part_; }

  static std::string shown(const json& value) {
    return printable(value.dump(-1, ' ', true, json::error_handler_t::replace));
  }

 private:
  int64_t integer(const json& value, const char* key, int64_t least, int64_t most) const {
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
    const int64_t number = fits ? value.get<int64_t>() : 0;
    if (!fits || number < least || number > most)
      fail(ErrorKind::invalid_file, "{}: {} is {}; {} to {} is allowed", part_, key, shown(value), least, most);
    return number;
  }

  void check_list(const json& value, const char* key) const {
    if (!value.is_array() || value.empty() || value.size() > static_cast<size_t>(kMostLevels))
      fail(ErrorKind::invalid_file, "{}: {} is {}; a list of 1 to {} is expected", part_, key, shown(value),
           kMostLevels);
  }

  const json& object_;
  std::string part_;
};

void check_groups(const Fields& fields, const std::vector<int64_t>& channels, int64_t groups) {
  for (const int64_t c : channels)
    if (c % groups != 0)
      fail(ErrorKind::invalid_file, "{}: {} channels do not divide into norm_num_groups {}", fields.part(), c, groups);
}

// Which levels have attention, from down_block_types; nullopt where the key is absent.
std::optional<std::vector<bool>> attention_levels(const Fields& fields, const char* key, std::string_view with,
                                                  std::string_view without) {
  const auto types = fields.texts(key);
  if (!types) return std::nullopt;
  std::vector<bool> out;
  for (const std::string& type : *types) {
    if (type != with && type != without)
      fail(ErrorKind::unsupported, "{}: {} has {}; {} and {} are supported", fields.part(), key, printable(type), with,
           without);
    out.push_back(type == with);
  }
  return out;
}

void read_transformer_layers(const Fields& fields, UNetConfig& config) {
  const size_t levels = config.block_out_channels.size();
  const auto attention = attention_levels(fields, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D");
  const auto up = attention_levels(fields, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D");
  if (attention && attention->size() != levels)
    fail(ErrorKind::invalid_file, "{}: {} down_block_types for {} block_out_channels", fields.part(), attention->size(),
         levels);
  if (attention && up && !std::equal(attention->begin(), attention->end(), up->rbegin(), up->rend()))
    fail(ErrorKind::unsupported, "{}: up_block_types do not mirror down_block_types", fields.part());
  config.transformer_layers.resize(levels, 0);
  const auto given = fields.per_level("transformer_layers_per_block", levels, 0, kMostBlocks);
  if (given) config.mid_transformer_layers = given->back();
  for (size_t i = 0; i < levels; ++i) {
    int64_t& layers = config.transformer_layers[i];
    const bool with_attention = attention ? (*attention)[i] : layers > 0;
    if (!with_attention)
      layers = 0;
    else
      layers = given ? (*given)[i] : std::max<int64_t>(1, layers);
  }
}

void read_heads(const Fields& fields, UNetConfig& config) {
  const size_t levels = config.block_out_channels.size();
  auto heads = fields.per_level("num_attention_heads", levels, 1, kMostHeads);
  if (!heads) heads = fields.per_level("attention_head_dim", levels, 1, kMostHeads);
  if (heads) config.heads = *heads;
  if (config.heads.size() != levels)
    fail(ErrorKind::invalid_file, "{}: {} numbers of heads for {} block_out_channels", fields.part(),
         config.heads.size(), levels);
  for (size_t i = 0; i < levels; ++i) {
    const bool used = config.transformer_layers[i] > 0 || (i + 1 == levels && config.mid_transformer_layers > 0);
    if (used && config.block_out_channels[i] % config.heads[i] != 0)
      fail(ErrorKind::invalid_file, "{}: {} channels do not divide into {} heads", fields.part(),
           config.block_out_channels[i], config.heads[i]);
  }
}

// What diffusers' UNets and ControlNets can be and ours are not.
void refuse_variants(const Fields& fields) {
  for (const char* key : {"center_input_sample", "dual_cross_attention", "only_cross_attention", "resnet_skip_time_act",
                          "class_embeddings_concat", "mid_block_only_cross_attention", "global_pool_conditions"})
    fields.require(key, false);
  for (const char* key : {"class_embed_type", "num_class_embeds", "encoder_hid_dim", "encoder_hid_dim_type",
                          "reverse_transformer_layers_per_block", "time_embedding_dim", "time_embedding_act_fn",
                          "timestep_post_act", "cross_attention_norm"})
    fields.require_absent(key);
  fields.require("act_fn", "silu");
  fields.require("resnet_time_scale_shift", "default");
  fields.require("time_embedding_type", "positional");
  fields.require("attention_type", "default");
  fields.require("downsample_padding", 1);
  fields.require("mid_block_scale_factor", 1);
  fields.require("resnet_out_scale_factor", 1.0);
  fields.require("conv_in_kernel", 3);
  fields.require("conv_out_kernel", 3);
  fields.require("controlnet_conditioning_channel_order", "rgb");
}

void read_unet_fields(const Fields& fields, UNetConfig& config) {
  refuse_variants(fields);
  fields.read("in_channels", config.in_channels, 1, kMostChannels);
  fields.read("out_channels", config.out_channels, 1, kMostChannels);
  if (const auto channels = fields.integers("block_out_channels", 1, kMostChannels))
    config.block_out_channels = *channels;
  fields.read("layers_per_block", config.layers_per_block, 1, kMostResnets);
  if (const json* type = fields.find("mid_block_type"); type && *type == "UNetMidBlock2D") {
    read_transformer_layers(fields, config);
    config.mid_transformer_layers = 0;
  } else {
    fields.require("mid_block_type", "UNetMidBlock2DCrossAttn");
    read_transformer_layers(fields, config);
  }
  read_heads(fields, config);
  fields.read("cross_attention_dim", config.cross_attention_dim, 1, kMostChannels);
  fields.read("use_linear_projection", config.use_linear_projection);
  fields.read("upcast_attention", config.upcast_attention);
  fields.read("norm_num_groups", config.norm_num_groups, 1, kMostChannels);
  fields.read("norm_eps", config.norm_eps, 0.0, 1.0);
  fields.read("time_cond_proj_dim", config.time_cond_proj_dim, 1, kMostChannels);
  fields.read("flip_sin_to_cos", config.flip_sin_to_cos);
  fields.read("freq_shift", config.freq_shift, -1000.0, 1000.0);
  check_groups(fields, config.block_out_channels, config.norm_num_groups);

  fields.require("addition_embed_type", "text_time");
  if (!fields.find("addition_embed_type")) return;
  fields.read("addition_time_embed_dim", config.addition_time_embed_dim, 2, kMostChannels);
  fields.read("projection_class_embeddings_input_dim", config.projection_class_embeddings_input_dim, 1, kMostChannels);
  if (config.addition_time_embed_dim == 0 || config.projection_class_embeddings_input_dim == 0)
    fail(ErrorKind::invalid_file, "{}: text_time conditions without their sizes", fields.part());
}

PredictionType prediction_type(const std::string& text, const std::string& part) {
  if (text == "epsilon") return PredictionType::epsilon;
  if (text == "v_prediction") return PredictionType::v_prediction;
  fail(ErrorKind::unsupported, "{}: prediction_type is {}; epsilon and v_prediction are supported", part,
       printable(text));
}

void require_all(const Fields& fields, const char* key, std::string_view allowed) {
  const auto types = fields.texts(key);
  if (!types) return;
  for (const std::string& type : *types)
    if (type != allowed)
      fail(ErrorKind::unsupported, "{}: {} has {}; only {} is supported", fields.part(), key, printable(type), allowed);
}

}  // namespace

UNetConfig parse_unet_config(const json& object, const UNetConfig& base) {
  const Fields fields(object, "unet");
  UNetConfig config = base;
  read_unet_fields(fields, config);
  return config;
}

ControlNetConfig parse_controlnet_config(const json& object, const ControlNetConfig& base) {
  const Fields fields(object, "controlnet");
  ControlNetConfig config = base;
  read_unet_fields(fields, config.unet);
  fields.read("conditioning_channels", config.conditioning_channels, 1, kMostChannels);
  if (const auto channels = fields.integers("conditioning_embedding_out_channels", 1, kMostChannels))
    config.conditioning_embedding_out_channels = *channels;
  return config;
}

VaeConfig parse_vae_config(const json& object, const VaeConfig& base) {
  const Fields fields(object, "vae");
  VaeConfig config = base;
  require_all(fields, "down_block_types", "DownEncoderBlock2D");
  require_all(fields, "up_block_types", "UpDecoderBlock2D");
  fields.require("act_fn", "silu");
  for (const char* key : {"shift_factor", "latents_mean", "latents_std"}) fields.require_absent(key);
  fields.read("in_channels", config.in_channels, 1, kMostChannels);
  fields.read("out_channels", config.out_channels, 1, kMostChannels);
  fields.read("latent_channels", config.latent_channels, 1, kMostChannels);
  if (const auto channels = fields.integers("block_out_channels", 1, kMostChannels))
    config.block_out_channels = *channels;
  fields.read("layers_per_block", config.layers_per_block, 1, kMostResnets);
  fields.read("norm_num_groups", config.norm_num_groups, 1, kMostChannels);
  fields.read("scaling_factor", config.scaling_factor, 1e-6, 1e6);
  fields.read("use_quant_conv", config.use_quant_conv);
  fields.read("use_post_quant_conv", config.use_post_quant_conv);
  fields.read("mid_block_add_attention", config.mid_block_add_attention);
  check_groups(fields, config.block_out_channels, config.norm_num_groups);
  return config;
}

TextEncoderConfig parse_text_encoder_config(const json& object, const TextEncoderConfig& base) {
  const Fields fields(object, "text encoder");
  TextEncoderConfig config = base;
  fields.read("vocab_size", config.vocab_size, 1, int64_t{1} << 20);
  fields.read("max_position_embeddings", config.max_positions, 2, 4096);
  fields.read("hidden_size", config.hidden_size, 1, kMostChannels);
  fields.read("intermediate_size", config.intermediate_size, 1, 4 * kMostChannels);
  fields.read("num_hidden_layers", config.layers, 1, kMostLayers);
  fields.read("num_attention_heads", config.heads, 1, kMostHeads);
  fields.read("layer_norm_eps", config.layer_norm_eps, 0.0, 1.0);
  if (config.hidden_size % config.heads != 0)
    fail(ErrorKind::invalid_file, "{}: {} channels do not divide into {} heads", fields.part(), config.hidden_size,
         config.heads);
  if (const auto activation = fields.text("hidden_act")) {
    if (*activation != "quick_gelu" && *activation != "gelu")
      fail(ErrorKind::unsupported, "{}: hidden_act is {}; quick_gelu and gelu are supported", fields.part(),
           printable(*activation));
    config.activation = *activation == "gelu" ? TextActivation::gelu : TextActivation::quick_gelu;
    config.pad_id = config.activation == TextActivation::gelu ? 0 : 49407;
  }
  if (const auto architectures = fields.texts("architectures")) {
    config.projection_dim = 0;
    if (std::find(architectures->begin(), architectures->end(), "CLIPTextModelWithProjection") != architectures->end())
      fields.read("projection_dim", config.projection_dim, 1, kMostChannels);
  }
  return config;
}

TaesdConfig parse_taesd_config(const json& object, const TaesdConfig& base) {
  const Fields fields(object, "taesd");
  TaesdConfig config = base;
  fields.require("act_fn", "relu");
  fields.require("upsample_fn", "nearest");
  fields.require("upsampling_scaling_factor", 2);
  fields.require("latent_magnitude", 3);
  fields.require("latent_shift", 0.5);
  fields.require("shift_factor", 0.0);
  fields.read("in_channels", config.in_channels, 1, kMostChannels);
  fields.read("out_channels", config.out_channels, 1, kMostChannels);
  fields.read("latent_channels", config.latent_channels, 1, kMostChannels);
  fields.read("scaling_factor", config.scaling_factor, 1e-6, 1e6);
  const auto lists = {std::pair("encoder_block_out_channels", &config.encoder_block_out_channels),
                      std::pair("decoder_block_out_channels", &config.decoder_block_out_channels)};
  for (const auto& [key, list] : lists) {
    if (const auto channels = fields.integers(key, 1, kMostChannels)) *list = *channels;
    if (std::adjacent_find(list->begin(), list->end(), std::not_equal_to<>()) != list->end())
      fail(ErrorKind::unsupported, "taesd: {} differ from level to level", key);
  }
  if (const auto blocks = fields.integers("num_encoder_blocks", 0, kMostBlocks)) config.num_encoder_blocks = *blocks;
  if (const auto blocks = fields.integers("num_decoder_blocks", 0, kMostBlocks)) config.num_decoder_blocks = *blocks;
  if (config.num_encoder_blocks.size() != config.encoder_block_out_channels.size() ||
      config.num_decoder_blocks.size() != config.decoder_block_out_channels.size())
    fail(ErrorKind::invalid_file, "taesd: numbers of blocks and of channels do not fit together");
  return config;
}

NoiseScheduleConfig parse_schedule_config(const json& object, const NoiseScheduleConfig& base) {
  const Fields fields(object, "scheduler");
  NoiseScheduleConfig config = base;
  fields.read("num_train_timesteps", config.num_train_timesteps, 1, 100000);
  fields.read("beta_start", config.beta_start, 0.0, 1.0);
  fields.read("beta_end", config.beta_end, 0.0, 1.0);
  if (const auto schedule = fields.text("beta_schedule")) {
    if (*schedule != "scaled_linear" && *schedule != "linear" && *schedule != "squaredcos_cap_v2")
      fail(ErrorKind::unsupported,
           "scheduler: beta_schedule is {}; scaled_linear, linear and squaredcos_cap_v2 are supported",
           printable(*schedule));
    config.beta_schedule = *schedule;
  }
  if (const json* betas = fields.find("trained_betas")) {
    config.trained_betas.clear();
    if (!betas->is_array() || betas->size() > 100000)
      fail(ErrorKind::invalid_file, "scheduler: trained_betas is no list of at most 100000 numbers");
    for (const json& beta : *betas) {
      const double value = beta.is_number() ? beta.get<double>() : -1;
      if (!(value >= 0 && value <= 1))
        fail(ErrorKind::invalid_file, "scheduler: trained_betas has {}", Fields::shown(beta));
      config.trained_betas.push_back(value);
    }
  }
  if (const auto type = fields.text("prediction_type")) config.prediction_type = prediction_type(*type, fields.part());
  fields.read("steps_offset", config.steps_offset, 0, 1000);
  if (const auto spacing = fields.text("timestep_spacing")) {
    if (*spacing != "leading" && *spacing != "trailing" && *spacing != "linspace")
      fail(ErrorKind::unsupported, "scheduler: timestep_spacing is {}; leading, trailing and linspace are supported",
           printable(*spacing));
    config.timestep_spacing = *spacing;
  }
  fields.read("set_alpha_to_one", config.set_alpha_to_one);
  fields.read("clip_sample", config.clip_sample);
  fields.read("clip_sample_range", config.clip_sample_range, 0.0, 1e6);
  fields.read("rescale_betas_zero_snr", config.rescale_betas_zero_snr);
  return config;
}

int64_t parse_native_size(const json& unet, size_t vae_levels, int64_t base) {
  const Fields fields(unet, "unet");
  int64_t latent_size = 0;
  fields.read("sample_size", latent_size, 1, 4096);
  return latent_size == 0 ? base : latent_size << (vae_levels - 1);
}

ModelConfig parse_sidecar(const json& object, const ModelConfig& detected) {
  const Fields fields(object, "sidecar");
  ModelConfig config = detected;
  if (const json* vae = fields.find("vae")) config.vae = parse_vae_config(*vae, config.vae);
  if (const json* unet = fields.find("unet")) {
    config.unet = parse_unet_config(*unet, config.unet);
    config.native_size = parse_native_size(*unet, config.vae.block_out_channels.size(), config.native_size);
  }
  if (const json* encoders = fields.find("text_encoders")) {
    if (!encoders->is_array() || encoders->size() != config.text_encoders.size())
      fail(ErrorKind::invalid_file, "sidecar: text_encoders is no list of {}, as the file has",
           config.text_encoders.size());
    for (size_t i = 0; i < encoders->size(); ++i)
      config.text_encoders[i] = parse_text_encoder_config((*encoders)[i], config.text_encoders[i]);
  }
  if (const json* scheduler = fields.find("scheduler"))
    config.schedule = parse_schedule_config(*scheduler, config.schedule);
  if (const auto type = fields.text("prediction_type"))
    config.schedule.prediction_type = prediction_type(*type, fields.part());
  return config;
}

json parse_json(std::string_view text, std::string_view name) {
  if (text.size() > kLargestJson)
    fail(ErrorKind::invalid_file, "{}: {} bytes of JSON; at most {} are allowed", name, text.size(), kLargestJson);
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kDeepestJson)
      fail(ErrorKind::invalid_file, "{}: JSON nested deeper than {} levels", name, kDeepestJson);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail(ErrorKind::invalid_file, "{}: {} stands twice in one JSON object", name,
           printable(parsed.get<std::string>()));
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::parse_error& error) {
    fail(ErrorKind::invalid_file, "{}: not valid JSON at byte {}", name, error.byte);
  } catch (const json::exception&) {
    fail(ErrorKind::invalid_file, "{}: JSON with a number out of range", name);
  }
}

json read_json_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

}  // namespace dreamlab
