#include "worker/model_location.h"

#include <system_error>

#include "base/assets.h"
#include "base/error.h"

namespace dreamlab {

namespace fs = std::filesystem;

std::optional<fs::path> locate_model(const Config& config, ModelSlot slot) {
  const bool sdxl = slot == ModelSlot::sdxl || config.boolean("USE_SDXL").value_or(false);
  const auto text = [&](std::string_view sdxl_setting, std::string_view setting) {
    const auto own = sdxl ? config.text(sdxl_setting) : std::nullopt;
    return own ? own : config.text(setting);
  };
  const auto model = text("SDXL_MODEL", "MODEL");
  if (!model) return std::nullopt;
  return in_directory(text("SDXL_MODEL_ROOT", "MODEL_ROOT"), *model);
}

std::optional<fs::path> shipped_model(std::optional<bool> sdxl) {
  return sdxl.value_or(true) ? find_asset("models/demo") : std::nullopt;
}

std::string locate_upscaler(const std::optional<std::string>& named) {
  if (named) return *named == "lanczos" ? "" : *named;
  const auto shipped = find_asset("models/upscaler.safetensors");
  return shipped ? shipped->string() : "";
}

fs::path in_directory(const std::optional<std::string>& root, const std::string& name) {
  std::error_code error;
  if (!root || fs::path(name).is_absolute() || fs::exists(name, error)) return name;
  return fs::path(*root) / name;
}

void check_family(const fs::path& model, const ModelConfig& config, bool sdxl) {
  if (config.is_sdxl() == sdxl) return;
  fail(ErrorKind::invalid_file, "{}: this is {}, but {}", model.string(), name_of(config.family),
       sdxl ? "USE_SDXL=1 or SDXL_ENABLED=1 expects SDXL" : "USE_SDXL=0 expects SD 1.x or 2.x");
}

std::string model_name(const fs::path& model) {
  const fs::path name = model.has_filename() ? model : model.parent_path();
  std::error_code error;
  return fs::is_directory(model, error) ? name.filename().string() : name.stem().string();
}

}  // namespace dreamlab
