#pragma once

// Finds the model files that records were made with, by the names they have under models/.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

// One file layout of a model.
struct ModelFile {
  std::string name;  // "models/tiny-sd15.ckpt"
  std::filesystem::path path;
};

// The model that a record "tiny-sd15/unet.safetensors" belongs to: its folder's name.
std::string model_of_record(std::string_view record);

// models/<model> in each of its layouts: directory, .safetensors, .ckpt, .pt, .pth, .bin; in this order. Throws
// Error(unavailable) when there is none.
std::vector<ModelFile> model_layouts(const std::filesystem::path& folder, const std::string& model);

// A model that has a UNet only ("tiny-sd15-inpaint") takes the rest from the one whose name it extends ("tiny-sd15").
// Throws Error(unavailable) when there is none.
std::string base_model(const std::filesystem::path& folder, const std::string& model);

// Everything under models/ whose name contains `part`, sorted; sidecars (.json) left out.
std::vector<ModelFile> model_files_with(const std::filesystem::path& folder, std::string_view part);

// models/<model>-lora-<name>.*; throws Error(unavailable) when it is not there.
ModelFile lora_file(const std::filesystem::path& folder, const std::string& model, const std::string& name);

}  // namespace dreamlab
