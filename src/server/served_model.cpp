#include "server/served_model.h"

#include <algorithm>

namespace dreamlab {

std::vector<ServedModel> served_models(const ServerContext& context) {
  std::vector<ServedModel> models;
  const std::string current = context.sd->current_mode();
  for (const Mode& mode : context.modes->modes()) {
    if (mode.model.empty()) continue;
    const std::string name = context.modes->named() ? mode.name : "";
    models.push_back({name.empty() ? mode.model.stem().string() : name, mode.model, name, context.sd});
  }
  std::stable_partition(models.begin(), models.end(), [&](const ServedModel& model) { return model.mode == current; });
  const auto sdxl = context.sdxl ? context.sdxl->worker() : nullptr;
  if (sdxl) models.push_back({sdxl->info().model, {}, "", context.sdxl});
  return models;
}

ServedModel find_served_model(const ServerContext& context, std::string_view name) {
  if (name.empty()) return {"", {}, "", context.sd};
  const std::vector<ServedModel> models = served_models(context);
  std::string ids;
  for (const ServedModel& model : models) {
    if (model.id == name) return model;
    ids += (ids.empty() ? "" : ", ") + model.id;
  }
  for (const ServedModel& model : models) {
    if (model.path.filename() == name || model.path.stem() == name) return model;
  }
  fail(ErrorKind::not_found, "there is no model \"{}\"; allowed: {}", name, ids);
}

}  // namespace dreamlab
