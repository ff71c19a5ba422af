#include "worker/rknn_model_set.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>

#include "base/error.h"

namespace dreamlab {

namespace fs = std::filesystem;

namespace {

std::optional<fs::path> find_model(const fs::path& folder, const std::string& name) {
  std::error_code error;
  for (const fs::path& candidate : {folder / name / "model.rknn", folder / (name + ".rknn")})
    if (fs::is_regular_file(candidate, error)) return candidate;
  return std::nullopt;
}

// The root and what lies in it, in the order of their names.
std::vector<fs::path> folders_of(const fs::path& root) {
  std::vector<fs::path> below;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(root, error))
    if (entry.is_directory(error)) below.push_back(entry.path());
  std::sort(below.begin(), below.end());
  below.insert(below.begin(), root);
  return below;
}

}  // namespace

bool is_rknn_model(const fs::path& root) {
  if (root.empty()) return false;
  const std::vector<fs::path> folders = folders_of(root);
  return std::any_of(folders.begin(), folders.end(),
                     [](const fs::path& folder) { return find_model(folder, "unet").has_value(); });
}

RknnModelSet find_rknn_models(const fs::path& root) {
  RknnModelSet found;
  const auto text_encoder = find_model(root, "text_encoder");
  if (!text_encoder) fail(ErrorKind::unavailable, "{}: there is no text_encoder/model.rknn in it", root.string());
  found.text_encoder = *text_encoder;
  std::error_code error;
  if (const fs::path schedule = root / "scheduler" / "scheduler_config.json"; fs::exists(schedule, error))
    found.schedule = schedule;
  for (const fs::path& folder : folders_of(root)) {
    const auto unet = find_model(folder, "unet");
    if (!unet) continue;
    const auto decoder = find_model(folder, "vae_decoder"), tiny = find_model(folder, "taesd_decoder");
    if (!decoder && !tiny)
      fail(ErrorKind::unavailable, "{}: there is a unet in it, but no vae_decoder/model.rknn", folder.string());
    found.sizes.push_back({*unet, decoder ? *decoder : *tiny, !decoder});
  }
  if (found.sizes.empty()) fail(ErrorKind::unavailable, "{}: there is no unet/model.rknn in it", root.string());
  return found;
}

}  // namespace dreamlab
