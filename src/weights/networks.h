#pragma once

// The networks that stand beside a checkpoint: each opens from a file or a diffusers directory and gives its
// configuration and its weights under one naming. Nothing but headers is read. All throw Error as Checkpoint::open
// does.
#include <filesystem>
#include <memory>

#include "weights/model_config.h"
#include "weights/weight_source.h"

namespace dreamlab {

template <typename Config>
struct NetworkFile {
  Config config;
  std::shared_ptr<const WeightSource> weights;
};

// diffusers' ControlNetModel (directory, or file with its config.json or <name>.config.json beside it), or the original
// control_model.* layout of SD 1.x and 2.x. Names: diffusers'.
NetworkFile<ControlNetConfig> open_controlnet(const std::filesystem::path& path);
// diffusers' AutoencoderTiny. Names: "encoder.layers.N", "decoder.layers.N".
NetworkFile<TaesdConfig> open_taesd(const std::filesystem::path& path);
// AutoencoderKL in diffusers' or the original layout. Names: diffusers'.
NetworkFile<VaeConfig> open_vae(const std::filesystem::path& path);
// ESRGAN / Real-ESRGAN in any of their three namings, .pth or .safetensors; sizes follow from the shapes.
// Names: conv_first, body.N.rdb1.conv1, conv_body, conv_up1, conv_up2, conv_hr, conv_last.
NetworkFile<RrdbNetConfig> open_rrdbnet(const std::filesystem::path& path);

// ESPCN in the namings of PyTorch's examples (conv1 to conv4), of three convolutions (conv1 to conv3), of
// first_part/last_part and of feature_maps/sub_pixel; sizes follow from the shapes. Names: conv1, conv2, ...
NetworkFile<EspcnConfig> open_espcn(const std::filesystem::path& path);

}  // namespace dreamlab
