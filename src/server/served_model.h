#pragma once

// The models that the compatible APIs list and choose by name: the modes, or the only model, and the SDXL model beside.
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/server_context.h"

namespace dreamlab {

struct ServedModel {
  std::string id;              // a mode's name, or the checkpoint's without folder and extension
  std::filesystem::path path;  // of the checkpoint; "" for the one beside
  std::string mode;            // for JobRequest; "" where modes are not used
  std::shared_ptr<PipelineService> service;
};

// The current one first.
std::vector<ServedModel> served_models(const ServerContext& context);
// By id, or by the checkpoint's name with or without its extension. "": the current one. Throws Error(not_found) that
// lists the ids.
ServedModel find_served_model(const ServerContext& context, std::string_view name);

}  // namespace dreamlab
