#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/config.h"
#include "weights/model_config.h"

namespace dreamlab {

// Which of a process's models: its first one, or the SDXL model that is served beside it (SDXL_ENABLED).
enum class ModelSlot { main, sdxl };

// The model that the environment names: MODEL in MODEL_ROOT; for the SDXL slot, and for the main one under USE_SDXL=1,
// SDXL_MODEL in SDXL_MODEL_ROOT, each falling back to the former. nullopt where it names none.
std::optional<std::filesystem::path> locate_model(const Config& config, ModelSlot slot = ModelSlot::main);

// The model in the box, a small SDXL model of simple scenes. nullopt where it does not lie beside the program, and
// where SDXL is not wanted (USE_SDXL=0).
std::optional<std::filesystem::path> shipped_model(std::optional<bool> sdxl);
// One line that goes with its use.
constexpr const char* kShippedModelNotice =
    "no model is named: the small one in the box draws simple scenes; a Stable Diffusion checkpoint is named by MODEL "
    "or --model FILE";

// What enlarges pictures: the file that is named; where none is, the upscaler in the box. "": Lanczos, which is called
// "lanczos" and is what there is where the box is not there.
std::string locate_upscaler(const std::optional<std::string>& named);

// `name` in the directory `root`; `name` itself where there is no root, where it is absolute, or where it leads to
// something from here.
std::filesystem::path in_directory(const std::optional<std::string>& root, const std::string& name);

// Throws Error(invalid_file), one line, unless the model is SDXL where that is wanted, or SD 1.x or 2.x where it is
// not.
void check_family(const std::filesystem::path& model, const ModelConfig& config, bool sdxl);

// What a model is called: its file's or directory's name, without folder and extension.
std::string model_name(const std::filesystem::path& model);

}  // namespace dreamlab
