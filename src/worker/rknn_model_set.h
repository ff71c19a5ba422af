#pragma once

// The files of a model that was compiled for Rockchip's NPUs:
//   text_encoder/model.rknn
//   unet/model.rknn, vae_decoder/model.rknn       of one size of pictures
//   ANY_NAME/unet/model.rknn, ...                 of further sizes: 384x384/, ...
//   scheduler/scheduler_config.json               where there is none: as SD 1.5 was trained
//   taesd_decoder/model.rknn                      in place of a vae_decoder that is not there
// Instead of NAME/model.rknn there may be NAME.rknn.
#include <filesystem>
#include <vector>

namespace dreamlab {

struct RknnModelSet {
  struct Size {
    std::filesystem::path unet, decoder;
    bool tiny_decoder = false;  // TAESD: takes latents as they are
  };
  std::filesystem::path text_encoder;
  std::filesystem::path schedule;  // empty: none
  std::vector<Size> sizes;         // at least one; the root's own first
};

// Whether the directory has a UNet for the NPU, in it or one folder below.
bool is_rknn_model(const std::filesystem::path& root);
// Throws Error(unavailable), which says what is missing.
RknnModelSet find_rknn_models(const std::filesystem::path& root);

}  // namespace dreamlab
