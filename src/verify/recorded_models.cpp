#include "verify/recorded_models.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace dreamlab {
namespace {

namespace fs = std::filesystem;

// A directory's is "".
constexpr std::array<std::string_view, 6> kExtensions = {"", ".safetensors", ".ckpt", ".pt", ".pth", ".bin"};

bool is_model(const fs::path& path, std::string_view extension) {
  return extension.empty() ? fs::is_directory(path) : fs::is_regular_file(path);
}

std::vector<ModelFile> layouts(const fs::path& folder, const std::string& model) {
  std::vector<ModelFile> found;
  for (const std::string_view extension : kExtensions) {
    const std::string name = "models/" + model + std::string(extension);
    if (is_model(folder / name, extension)) found.push_back({name, folder / name});
  }
  return found;
}

}  // namespace

std::string model_of_record(std::string_view record) {
  return fs::path(record).parent_path().string();
}

std::vector<ModelFile> model_layouts(const fs::path& folder, const std::string& model) {
  std::vector<ModelFile> found = layouts(folder, model);
  if (found.empty()) fail(ErrorKind::unavailable, "there is no models/{} in any layout", model);
  return found;
}

std::string base_model(const fs::path& folder, const std::string& model) {
  for (size_t end = model.rfind('-'); end != std::string::npos && end > 0; end = model.rfind('-', end - 1)) {
    std::string base = model.substr(0, end);
    if (!layouts(folder, base).empty()) return base;
  }
  fail(ErrorKind::unavailable, "models/{} has no VAE and text encoder, and there is no model whose name it extends",
       model);
}

std::vector<ModelFile> model_files_with(const fs::path& folder, std::string_view part) {
  std::vector<ModelFile> found;
  if (!fs::is_directory(folder / "models")) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder / "models")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".json" || name.find(part) == std::string::npos) continue;
    found.push_back({"models/" + name, entry.path()});
  }
  std::sort(found.begin(), found.end(), [](const ModelFile& a, const ModelFile& b) { return a.name < b.name; });
  return found;
}

ModelFile lora_file(const fs::path& folder, const std::string& model, const std::string& name) {
  const std::vector<ModelFile> found = layouts(folder, model + "-lora-" + name);
  if (found.empty()) fail(ErrorKind::unavailable, "there is no models/{}-lora-{}.safetensors", model, name);
  return found.front();
}

}  // namespace dreamlab
