#include "weights/networks.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/config_detection.h"
#include "weights/config_json.h"
#include "weights/file_kind.h"
#include "weights/model_files.h"
#include "weights/original_layout.h"
#include "weights/tensor_file.h"
#include "weights/tensor_map.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

// A network's file and the config.json that belongs to it.
struct Opened {
  std::shared_ptr<const TensorFile> file;
  fs::path config;  // empty where there is none
  std::string label;
  std::shared_ptr<TensorMap> map;
  std::vector<std::string> unknown;
};

// path: a directory with config.json and weights, or a file with <name>.config.json or config.json beside it.
Opened open_network(const fs::path& path, FileKind kind) {
  if (!fs::exists(path)) fail(ErrorKind::unavailable, "{}: no such file or directory", path.string());
  Opened opened;
  const bool directory = fs::is_directory(path);
  opened.file = open_tensor_file(directory ? find_weight_file(path, "diffusion_pytorch_model") : path);
  const FileKind found = kind_of(*opened.file);
  if (found != kind && !(kind == FileKind::vae && found == FileKind::checkpoint))
    fail(ErrorKind::invalid_file, "{}: is {}; {} is expected", opened.file->path().string(), described(found),
         described(kind));
  const fs::path sidecar = sidecar_of(path);
  const fs::path beside = (directory ? path : path.parent_path()) / "config.json";
  if (!directory && fs::is_regular_file(sidecar))
    opened.config = sidecar;
  else if (fs::is_regular_file(beside))
    opened.config = beside;
  opened.label = fmt::format("{} ({})", opened.file->path().string(), name_of(kind));
  opened.map = std::make_shared<TensorMap>(opened.label);
  return opened;
}

// The detected configuration with what the config.json says, provided it is one of the class that is wanted: a folder
// may hold several files and the config.json of another network.
template <typename Config, typename Parse>
Config with_config_file(const Opened& opened, const Config& detected, std::string_view class_name, Parse parse) {
  if (opened.config.empty()) return detected;
  const nlohmann::json object = read_json_file(opened.config);
  const auto name = object.is_object() ? object.find("_class_name") : object.end();
  if (name != object.end() && *name != class_name) return detected;
  try {
    return parse(object, detected);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", opened.config.string(), error.what()));
  }
}

template <typename Config>
NetworkFile<Config> finish(const Opened& opened, Config config) {
  return {std::move(config), opened.map};
}

int64_t count_blocks(const TensorFile& file, const char* pattern_begin, const char* pattern_end) {
  int64_t n = 0;
  while (file.contains(fmt::format("{}{}{}", pattern_begin, n, pattern_end))) ++n;
  return n;
}

void gather_rrdbnet(Opened& opened) {
  const TensorFile& file = *opened.file;
  if (const int64_t blocks = count_blocks(file, "RRDB_trunk.", ".RDB1.conv1.weight"))
    return gather(file, "", ModuleRenamer(original_esrgan_modules(blocks)), *opened.map, opened.unknown);
  if (const int64_t blocks = count_blocks(file, "model.1.sub.", ".RDB1.conv1.0.weight")) {
    int64_t upsamplings =
        0;  // after two of them the last convolution is model.10, after one model.7, after none model.4
    while (upsamplings < 4 && !file.contains(fmt::format("model.{}.weight", 4 + 3 * upsamplings))) ++upsamplings;
    return gather(file, "", ModuleRenamer(sequential_esrgan_modules(blocks, upsamplings)), *opened.map, opened.unknown);
  }
  gather_as_is(file, "", *opened.map);
}

bool has_modules(const TensorFile& file, const std::vector<std::string>& modules) {
  return std::all_of(modules.begin(), modules.end(),
                     [&](const std::string& module) { return file.contains(module + ".weight"); });
}

const EspcnNaming& espcn_naming_of(const Opened& opened) {
  for (const EspcnNaming& naming : espcn_namings())
    if (has_modules(*opened.file, naming.modules)) return naming;
  fail(ErrorKind::invalid_file, "{}: some of the convolutions are missing", opened.label);
}

}  // namespace

NetworkFile<ControlNetConfig> open_controlnet(const fs::path& path) {
  Opened opened = open_network(path, FileKind::controlnet);
  const std::string prefix = opened.file->has_prefix("control_model.") ? "control_model." : "";
  if (const auto layout = detect_unet_layout(*opened.file, prefix)) {
    int64_t hints = 0;
    while (opened.file->contains(fmt::format("{}input_hint_block.{}.weight", prefix, 2 * hints))) ++hints;
    gather(*opened.file, prefix, ModuleRenamer(controlnet_modules(*layout, hints)), *opened.map, opened.unknown);
  } else {
    gather_as_is(*opened.file, "", *opened.map);
  }
  const ControlNetConfig detected = detect_controlnet_config(*opened.map, opened.label);
  return finish(opened, with_config_file(opened, detected, "ControlNetModel", parse_controlnet_config));
}

NetworkFile<TaesdConfig> open_taesd(const fs::path& path) {
  Opened opened = open_network(path, FileKind::taesd);
  gather_as_is(*opened.file, "", *opened.map);
  const TaesdConfig detected = detect_taesd_config(*opened.map, opened.label);
  return finish(opened, with_config_file(opened, detected, "AutoencoderTiny", parse_taesd_config));
}

NetworkFile<VaeConfig> open_vae(const fs::path& path) {
  Opened opened = open_network(path, FileKind::vae);
  gather_vae(*opened.file, opened.file->has_prefix("first_stage_model.") ? "first_stage_model." : "", *opened.map,
             opened.unknown);
  const VaeConfig detected = detect_vae_config(*opened.map, Family::sd1, opened.label);
  return finish(opened, with_config_file(opened, detected, "AutoencoderKL", parse_vae_config));
}

NetworkFile<RrdbNetConfig> open_rrdbnet(const fs::path& path) {
  Opened opened = open_network(path, FileKind::upscaler);
  gather_rrdbnet(opened);
  return finish(opened, detect_rrdbnet_config(*opened.map, opened.label));
}

NetworkFile<EspcnConfig> open_espcn(const fs::path& path) {
  Opened opened = open_network(path, FileKind::espcn);
  const EspcnNaming& naming = espcn_naming_of(opened);
  ModuleNames modules;
  for (size_t i = 0; i < naming.modules.size(); ++i)
    modules.emplace_back(naming.modules[i], fmt::format("conv{}", i + 1));
  gather(*opened.file, "", ModuleRenamer(modules), *opened.map, opened.unknown);
  return finish(opened, detect_espcn_config(*opened.map, naming, opened.label));
}

}  // namespace dreamlab
