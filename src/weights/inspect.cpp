#include "weights/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "weights/config_detection.h"
#include "weights/expected_tensors.h"
#include "weights/file_kind.h"
#include "weights/lora_file.h"
#include "weights/model_files.h"
#include "weights/networks.h"
#include "weights/tensor_file.h"
#include "weights/tensor_map.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

uint64_t bytes_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

std::string yes_or_no(bool value) {
  return value ? "yes" : "no";
}

PartReport report_part(std::string name, const TensorMap& map, const ExpectedTensors& expected) {
  PartReport part;
  part.name = std::move(name);
  for (const auto& item : map.entries()) part.parameters += item.second.tensor.shape.elements();
  part.tensors = static_cast<int64_t>(map.entries().size());
  for (const ExpectedTensor& tensor : expected) {
    const auto shape = map.shape_of(tensor.name);
    if (!shape)
      part.missing.push_back(tensor.name);
    else if (!shapes_agree(*shape, tensor.shape))
      part.missing.push_back(
          fmt::format("{} (is {}, not {})", tensor.name, shape->to_string(), tensor.shape.to_string()));
  }
  return part;
}

void describe_unet(const UNetConfig& unet, FileReport& report) {
  report.cross_attention_dim = unet.cross_attention_dim;
  report.facts["UNet channels"] = fmt::format("{}", fmt::join(unet.block_out_channels, ", "));
  report.facts["in-painting"] = yes_or_no(unet.in_channels == 9);
  report.facts["guidance embedding"] = yes_or_no(unet.time_cond_proj_dim > 0);
}

void report_model(const fs::path& path, FileReport& report) {
  const ModelFiles model = open_model_files(path);
  report.kind = model.vae.weights || !model.text_encoders.empty() ? FileKind::checkpoint : FileKind::unet;
  report.format = model.format;
  report.family = model.config.family;
  report.prediction_type = model.config.schedule.prediction_type;
  describe_unet(model.config.unet, report);
  report.facts["native size"] = fmt::format("{} pixels", model.config.native_size);
  report.parameters_by_dtype = model.by_dtype;
  report.parts.push_back(report_part("UNet", *model.unet.weights, expected_tensors(model.config.unet)));
  if (model.vae.weights)
    report.parts.push_back(report_part("VAE", *model.vae.weights, expected_tensors(model.config.vae)));
  for (size_t i = 0; i < model.text_encoders.size(); ++i)
    report.parts.push_back(report_part(fmt::format("text encoder {}", i + 1), *model.text_encoders[i].weights,
                                       expected_tensors(model.config.text_encoders[i])));
  report.unknown = model.unknown;
}

template <typename Config>
void report_network(const NetworkFile<Config>& network, const TensorFile& file, FileReport& report) {
  const auto& map = dynamic_cast<const TensorMap&>(*network.weights);
  const ExpectedTensors expected = expected_tensors(network.config);
  report.parts.push_back(report_part(std::string(name_of(report.kind)), map, expected));
  std::set<std::string> taken;
  for (const ExpectedTensor& tensor : expected) {
    const auto entry = map.entries().find(tensor.name);
    if (entry != map.entries().end()) taken.insert(entry->second.stored_name);
  }
  for (const auto& item : file.tensors())
    if (!taken.contains(item.first)) report.unknown.push_back(item.first);
}

void report_controlnet(const fs::path& path, const TensorFile& file, FileReport& report) {
  const auto network = open_controlnet(path);
  report.family = detect_family(*network.weights);
  describe_unet(network.config.unet, report);
  report.facts.erase("in-painting");
  report.facts["condition channels"] = std::to_string(network.config.conditioning_channels);
  report_network(network, file, report);
}

void report_upscaler(const fs::path& path, const TensorFile& file, FileReport& report) {
  const auto network = open_rrdbnet(path);
  report.facts["scale"] = fmt::format("{}x", network.config.scale);
  report.facts["size"] = fmt::format("{} blocks, {} features, growth {}, unshuffle {}", network.config.blocks,
                                     network.config.features, network.config.growth, network.config.unshuffle);
  report_network(network, file, report);
}

void report_espcn(const fs::path& path, const TensorFile& file, FileReport& report) {
  const auto network = open_espcn(path);
  const EspcnConfig& config = network.config;
  report.facts["scale"] = fmt::format("{}x", config.scale);
  report.facts["size"] =
      fmt::format("{} features, windows of {}", fmt::join(config.features, ", "), fmt::join(config.kernels, ", "));
  report_network(network, file, report);
}

void report_vae(const fs::path& path, const TensorFile& file, FileReport& report) {
  const auto network = open_vae(path);
  report.facts["latent channels"] = std::to_string(network.config.latent_channels);
  report_network(network, file, report);
}

void report_taesd(const fs::path& path, const TensorFile& file, FileReport& report) {
  const auto network = open_taesd(path);
  report.facts["latent channels"] = std::to_string(network.config.latent_channels);
  report_network(network, file, report);
}

void report_lora(const fs::path& path, const TensorFile& file, FileReport& report) {
  PartReport part;
  part.name = "LoRA";
  part.tensors = static_cast<int64_t>(file.tensors().size());
  for (const auto& item : file.tensors()) part.parameters += item.second.shape.elements();
  report.parts.push_back(part);
  const LoraFile lora = LoraFile::open(path, nullptr);
  report.cross_attention_dim = lora.cross_attention_dim();
  for (const Family family : {Family::sd1, Family::sd2, Family::sdxl, Family::sdxl_refiner})
    if (report.cross_attention_dim == published_config(family).unet.cross_attention_dim) report.family = family;
  report.facts["names"] = lora.naming();
  report.facts["layers"] = std::to_string(lora.layers().size());
  const auto [least, most] =
      std::minmax_element(lora.layers().begin(), lora.layers().end(),
                          [](const LoraLayer& a, const LoraLayer& b) { return a.rank() < b.rank(); });
  report.facts["rank"] = least->rank() == most->rank() ? std::to_string(least->rank())
                                                       : fmt::format("{} to {}", least->rank(), most->rank());
  report.unknown = lora.unknown_tensors();
}

void report_tensors_only(const TensorFile& file, FileReport& report) {
  PartReport part;
  part.name = std::string(name_of(report.kind));
  part.tensors = static_cast<int64_t>(file.tensors().size());
  for (const auto& item : file.tensors()) part.parameters += item.second.shape.elements();
  report.parts.push_back(part);
  if (report.kind == FileKind::unknown) report.unknown = file.names();
}

// A directory of one component, without a model around it.
bool is_component_directory(const fs::path& path) {
  return fs::is_directory(path) && fs::is_regular_file(path / "config.json") &&
         !fs::exists(path / "model_index.json") && !fs::exists(path / "unet");
}

fs::path component_file(const fs::path& path) {
  const bool text = fs::exists(path / "model.safetensors") || fs::exists(path / "model.fp16.safetensors");
  return find_weight_file(path, text ? "model" : "diffusion_pytorch_model");
}

void report_file(const fs::path& path, const TensorFile& file, FileReport& report) {
  report.kind = kind_of(file);
  report.format = file.format();
  for (const auto& item : file.tensors())
    report.parameters_by_dtype[std::string(name_of(item.second.dtype))] += item.second.shape.elements();
  switch (report.kind) {
    case FileKind::checkpoint:
    case FileKind::unet:
      report.parameters_by_dtype.clear();
      return report_model(path, report);
    case FileKind::lora:
      return report_lora(path, file, report);
    case FileKind::upscaler:
      return report_upscaler(path, file, report);
    case FileKind::espcn:
      return report_espcn(path, file, report);
    case FileKind::vae:
      return report_vae(path, file, report);
    case FileKind::controlnet:
      return report_controlnet(path, file, report);
    case FileKind::taesd:
      return report_taesd(path, file, report);
    case FileKind::text_encoder:
    case FileKind::embedding:
    case FileKind::unknown:
      return report_tensors_only(file, report);
  }
}

}  // namespace

FileReport inspect_file(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorKind::unavailable, "{}: no such file or directory", path.string());
  FileReport report;
  report.path = path;
  report.bytes = bytes_on_disk(path);
  if (fs::is_directory(path) && !is_component_directory(path))
    report_model(path, report);
  else
    report_file(path, *open_tensor_file(fs::is_directory(path) ? component_file(path) : path), report);
  return report;
}

}  // namespace dreamlab
