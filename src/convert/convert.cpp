#include "convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "convert/config_writer.h"
#include "convert/lora_merge.h"
#include "convert/safetensors_writer.h"
#include "convert/tokenizer_files.h"
#include "weights/model_files.h"

namespace dreamlab {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kSingleFile = ".safetensors";
constexpr std::string_view kWeight = ".weight";

// A network of the source whose tensors are written under other names.
struct Network {
  const TensorMap& weights;
  std::string module;  // how LoraLayer::module begins: "unet", "text_encoder", ...
};

class Converter {
 public:
  Converter(const fs::path& source, const ConvertOptions& options)
      : options_(options), model_(open_model_files(source)) {
    for (const ConvertOptions::Lora& lora : options.loras) merge_.add(lora.path, model_.config, lora.strength);
    report_.left_out = model_.unknown;
    report_.changed = merge_.modules();
  }

  ConvertReport to_single_file(const fs::path& target) {
    std::vector<StoredTensor> tensors;
    if (model_.unet.weights)
      add_renamed(tensors, unet(), "model.diffusion_model.", unet_modules(layout_of(model_.config.unet)));
    if (model_.vae.weights) add_vae(tensors);
    for (size_t i = 0; i < model_.text_encoders.size(); ++i)
      if (model_.text_encoders[i].weights) add_text_encoder(tensors, i);
    add_marks(tensors);
    write(target, std::move(tensors), {{"format", "pt"}, {"modelspec.prediction_type", prediction()}});
    describe_what_shapes_do_not_tell(target);
    return std::move(report_);
  }

  ConvertReport to_directory(const fs::path& target) {
    const ModelConfig& config = model_.config;
    if (model_.unet.weights) {
      write_network(target / "unet", "diffusion_pytorch_model", unet(), expected_tensors(config.unet));
      write_json(target / "unet" / "config.json", unet_json(config));
    }
    if (model_.vae.weights) {
      write_network(target / "vae", "diffusion_pytorch_model", vae(), expected_tensors(config.vae));
      write_json(target / "vae" / "config.json", vae_json(config));
    }
    for (size_t i = 0; i < model_.text_encoders.size(); ++i)
      if (model_.text_encoders[i].weights) write_text_encoder(target, i);
    write_json(target / "scheduler" / "scheduler_config.json", schedule_json(config));
    write_json(target / "model_index.json", model_index());
    check(target);
    return std::move(report_);
  }

 private:
  Network unet() const { return {*model_.unet.weights, "unet"}; }
  Network vae() const { return {*model_.vae.weights, "vae"}; }
  Network text_encoder(size_t i) const {
    return {*model_.text_encoders[i].weights, i == 0 ? "text_encoder" : "text_encoder_2"};
  }

  DType dtype_of(const HostTensor& tensor) const { return options_.dtype.value_or(tensor.dtype); }

  // The tensor with what LoRAs add to it.
  HostTensor values(const Network& network, const std::string& name) const {
    const HostTensor& tensor = network.weights.entries().find(name)->second.tensor;
    const HostTensor readable = network.weights.get(name, tensor.shape);
    if (!name.ends_with(kWeight)) return readable;
    const std::string module = network.module + "." + name.substr(0, name.size() - kWeight.size());
    return merge_.merged(module, readable);
  }

  StoredTensor stored(const Network& network, const std::string& name, std::string new_name) const {
    const HostTensor& tensor = network.weights.entries().find(name)->second.tensor;
    return {std::move(new_name), dtype_of(tensor), tensor.shape,
            [this, network, name] { return values(network, name); }};
  }

  // ---- single files

  static ModuleRenamer reversed(const ModuleNames& modules) {
    ModuleNames names;
    for (const auto& [original, diffusers] : modules) names.emplace_back(diffusers, original);
    return ModuleRenamer(names);
  }

  void add_renamed(std::vector<StoredTensor>& tensors, const Network& network, const std::string& prefix,
                   const ModuleNames& modules) {
    const ModuleRenamer renamer = reversed(modules);
    for (const auto& item : network.weights.entries()) {
      if (const auto name = renamer.rename(item.first))
        tensors.push_back(stored(network, item.first, prefix + *name));
      else
        leave_out(item.second.stored_name);
    }
  }

  // The original layout keeps the projections of the VAE's attention as 1x1 convolutions.
  void add_vae(std::vector<StoredTensor>& tensors) {
    const VaeConfig& config = model_.config.vae;
    const size_t first = tensors.size();
    add_renamed(tensors, vae(), "first_stage_model.",
                vae_modules(static_cast<int64_t>(config.block_out_channels.size()), config.layers_per_block));
    for (size_t i = first; i < tensors.size(); ++i) {
      StoredTensor& tensor = tensors[i];
      if (tensor.name.find(".attn_1.") != std::string::npos && tensor.shape.rank() == 2)
        tensor.shape = {tensor.shape[0], tensor.shape[1], 1, 1};
    }
  }

  void add_text_encoder(std::vector<StoredTensor>& tensors, size_t i) {
    const Family family = model_.config.family;
    if (family == Family::sd1) return add_clip(tensors, i, "cond_stage_model.transformer.");
    if (family == Family::sd2) return add_open_clip(tensors, i, "cond_stage_model.model.");
    if (family == Family::sdxl && i == 0) return add_clip(tensors, i, "conditioner.embedders.0.transformer.");
    add_open_clip(tensors, i, fmt::format("conditioner.embedders.{}.model.", i));
  }

  void add_clip(std::vector<StoredTensor>& tensors, size_t i, const std::string& prefix) const {
    const Network network = text_encoder(i);
    for (const auto& item : network.weights.entries())
      tensors.push_back(stored(network, item.first, prefix + item.first));
  }

  // OpenCLIP stores q, k and v as one matrix and its projection transposed.
  void add_open_clip(std::vector<StoredTensor>& tensors, size_t i, const std::string& prefix) {
    const Network network = text_encoder(i);
    int64_t layers = 0;
    while (network.weights.contains(fmt::format("text_model.encoder.layers.{}.layer_norm1.weight", layers))) ++layers;
    const ModuleRenamer renamer = reversed(open_clip_modules(layers));
    for (const auto& item : network.weights.entries()) {
      const std::string& name = item.first;
      if (name == "text_projection.weight") {
        StoredTensor tensor = stored(network, name, prefix + "text_projection");
        tensor.shape = {tensor.shape[1], tensor.shape[0]};
        tensor.values = [this, network, name] { return values(network, name).transposed(); };
        tensors.push_back(std::move(tensor));
      } else if (const size_t at = name.find(".self_attn.q_proj."); at != std::string::npos) {
        tensors.push_back(fused(network, name.substr(0, at), name.substr(name.rfind('.') + 1), prefix));
      } else if (const auto renamed = renamer.rename(name)) {
        tensors.push_back(stored(network, name, prefix + *renamed));
      } else if (name.find(".self_attn.") == std::string::npos) {
        leave_out(item.second.stored_name);
      }
    }
  }

  // layer: "text_model.encoder.layers.0"; parameter: "weight" or "bias".
  StoredTensor fused(const Network& network, const std::string& layer, const std::string& parameter,
                     const std::string& prefix) const {
    const auto part = [=](const char* projection) {
      return fmt::format("{}.self_attn.{}.{}", layer, projection, parameter);
    };
    const std::string number = layer.substr(layer.rfind('.') + 1);
    StoredTensor tensor = stored(network, part("q_proj"),
                                 fmt::format("{}transformer.resblocks.{}.attn.in_proj_{}", prefix, number, parameter));
    tensor.shape.set(0, 3 * tensor.shape[0]);
    tensor.values = [this, network, part, shape = tensor.shape] {
      std::vector<float> all;
      for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
        const std::vector<float> one = values(network, part(projection)).to_f32();
        all.insert(all.end(), one.begin(), one.end());
      }
      return HostTensor::from_f32(std::move(all), shape);
    };
    return tensor;
  }

  // Empty tensors by which trainers mark what SD 1.x and SDXL usually are not.
  void add_marks(std::vector<StoredTensor>& tensors) const {
    const auto mark = [&](const char* name) {
      tensors.push_back({name, DType::f32, {0}, [] { return HostTensor::from_f32(std::vector<float>(), {0}); }});
    };
    if (model_.config.family != Family::sd2 && prediction() == "v_prediction") mark("v_pred");
    if (model_.config.schedule.rescale_betas_zero_snr) mark("ztsnr");
  }

  std::string prediction() const { return std::string(name_of(model_.config.schedule.prediction_type)); }

  void describe_what_shapes_do_not_tell(const fs::path& target) {
    if (tells_all(target)) return;
    const ModelConfig& config = model_.config;
    ordered_json sidecar;
    if (model_.unet.weights) sidecar["unet"] = unet_json(config);
    if (model_.vae.weights) sidecar["vae"] = vae_json(config);
    for (const TextEncoderConfig& encoder : config.text_encoders)
      sidecar["text_encoders"].push_back(text_encoder_json(encoder));
    sidecar["scheduler"] = schedule_json(config);
    const fs::path path = sidecar_of(target);
    write_json(path, sidecar);
    report_.files.push_back(path);
    check(target);
  }

  bool tells_all(const fs::path& single_file) const {
    try {
      return difference(open_model_files(single_file).config).empty();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_file) throw;
      return false;  // a sidecar is asked for
    }
  }

  // ---- directories

  void write_network(const fs::path& directory, const char* stem, const Network& network,
                     const ExpectedTensors& expected) {
    std::vector<StoredTensor> tensors;
    for (const ExpectedTensor& tensor : expected) {
      if (!network.weights.contains(tensor.name))
        fail(ErrorKind::invalid_file, "{}: tensor {} is missing", network.weights.label(), tensor.name);
      tensors.push_back(stored(network, tensor.name, tensor.name));
      tensors.back().shape = tensor.shape;
    }
    fs::create_directories(directory);
    write(directory / (std::string(stem) + kSingleFile), std::move(tensors), {{"format", "pt"}});
  }

  void write_text_encoder(const fs::path& target, size_t i) {
    const TextEncoderConfig& config = model_.config.text_encoders[i];
    // The refiner has the second of SDXL's alone.
    const bool second = i == 1 || model_.config.family == Family::sdxl_refiner;
    const fs::path directory = target / (second ? "text_encoder_2" : "text_encoder");
    write_network(directory, "model", text_encoder(i), expected_tensors(config));
    write_json(directory / "config.json", text_encoder_json(config));
    write_tokenizer_files(target / (second ? "tokenizer_2" : "tokenizer"), config.pad_id);
  }

  ordered_json model_index() const {
    const Family family = model_.config.family;
    const ordered_json clip = {"transformers", "CLIPTextModel"}, tokenizer = {"transformers", "CLIPTokenizer"};
    const ordered_json projected = {"transformers", "CLIPTextModelWithProjection"}, none = {nullptr, nullptr};
    ordered_json index;
    switch (family) {
      case Family::sdxl:
        index["_class_name"] =
            model_.config.is_inpainting() ? "StableDiffusionXLInpaintPipeline" : "StableDiffusionXLPipeline";
        break;
      case Family::sdxl_refiner:
        index["_class_name"] = "StableDiffusionXLImg2ImgPipeline";
        break;
      default:
        index["_class_name"] =
            model_.config.is_inpainting() ? "StableDiffusionInpaintPipeline" : "StableDiffusionPipeline";
        index["feature_extractor"] = none;
        index["safety_checker"] = none;
        index["requires_safety_checker"] = false;
    }
    if (model_.config.is_sdxl()) {
      index["force_zeros_for_empty_prompt"] = model_.config.force_zeros_for_empty_prompt;
      index["requires_aesthetics_score"] = model_.config.requires_aesthetics_score;
      index["text_encoder_2"] = projected;
      index["tokenizer_2"] = tokenizer;
    }
    const bool first = family != Family::sdxl_refiner;
    index["scheduler"] = {"diffusers", schedule_json(model_.config)["_class_name"]};
    index["text_encoder"] = first ? clip : none;
    index["tokenizer"] = first ? tokenizer : none;
    index["unet"] = {"diffusers", "UNet2DConditionModel"};
    index["vae"] = {"diffusers", "AutoencoderKL"};
    return index;
  }

  // ---- both

  void leave_out(const std::string& name) {
    if (std::find(report_.left_out.begin(), report_.left_out.end(), name) == report_.left_out.end())
      report_.left_out.push_back(name);
  }

  void write(const fs::path& path, std::vector<StoredTensor> tensors,
             const std::map<std::string, std::string>& metadata) {
    report_.tensors += tensors.size();
    report_.bytes += write_safetensors(path, std::move(tensors), metadata);
    report_.files.push_back(path);
  }

  static void write_json(const fs::path& path, const ordered_json& json) {
    fs::create_directories(path.parent_path());
    const std::string text = json.dump(2) + "\n";
    write_file(path.string(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  // What the model that was written is otherwise; "" where it is the same.
  std::string difference(const ModelConfig& written) const {
    const ModelConfig& config = model_.config;
    if (written.family != config.family) return "family";
    if (model_.unet.weights && written.unet != config.unet) return "UNet";
    if (model_.vae.weights && written.vae != config.vae) return "VAE";
    if (written.text_encoders != config.text_encoders) return "text encoders";
    if (written.schedule != config.schedule) return "noise schedule";
    if (written.native_size != config.native_size) return "native size";
    return "";
  }

  void check(const fs::path& target) const {
    const std::string what = difference(open_model_files(target).config);
    if (!what.empty())
      fail(ErrorKind::internal, "{}: reads as another model: its {} is not the source's", target.string(), what);
  }

  const ConvertOptions& options_;
  ModelFiles model_;
  LoraMerge merge_;
  ConvertReport report_;
};

void check_target(const fs::path& target) {
  std::error_code error;
  const std::string extension = target.extension().string();
  for (const char* other : {".ckpt", ".pt", ".pth", ".bin"})
    if (extension == other)
      fail(ErrorKind::invalid_argument, "{}: {} is not written; .safetensors is, and a directory", target.string(),
           other);
  if (fs::exists(target, error) && !(fs::is_directory(target, error) && fs::is_empty(target, error)))
    fail(ErrorKind::invalid_argument, "{}: is there already", target.string());
  if (extension != kSingleFile) return;
  if (fs::exists(sidecar_of(target), error))
    fail(ErrorKind::invalid_argument, "{}: is there already", sidecar_of(target).string());
  check_writable(target.string());
}

}  // namespace

ConvertReport convert_model(const fs::path& source, const fs::path& target, const ConvertOptions& options) {
  check_target(target);
  Converter converter(source, options);
  if (target.extension() == kSingleFile) return converter.to_single_file(target);
  std::error_code error;
  const bool made = !fs::exists(target, error);
  try {
    fs::create_directories(target);
    return converter.to_directory(target);
  } catch (const fs::filesystem_error& failure) {
    if (made) fs::remove_all(target, error);
    fail(ErrorKind::unavailable, "{}: cannot be written ({})", target.string(), failure.code().message());
  } catch (const Error&) {
    if (made) fs::remove_all(target, error);
    throw;
  }
}

}  // namespace dreamlab
