#include "verify/network_records.h"

#include "base/error.h"
#include "verify/recorded_models.h"

namespace dreamlab {

std::vector<float> Taps::at(const std::string& path) const {
  const auto found = seen_.find(path);
  if (found == seen_.end()) fail(ErrorKind::invalid_file, "nothing of the network passes under the name \"{}\"", path);
  return download_channels_first(device_, found->second);
}

void Taps::compare(RecordCase& record_case, const RecordFile& record, const std::string& prefix) const {
  for (const std::string& name : record.names(prefix)) {
    record_case.compare(record, name, at(name.substr(prefix.size())), BoundKind::network);
  }
}

void for_each_layout(RecordRun& run, const RecordFile& record,
                     const std::function<void(const std::string& layout, const Checkpoint& checkpoint)>& body) {
  for (const ModelFile& file : model_layouts(run.folder(), model_of_record(record.name()))) {
    try {
      body(file.name, *Checkpoint::open(file.path));
    } catch (const Error& error) {
      run.run_case(record.name(), "", file.name,
                   [&](RecordCase& record_case) { record_case.expect(false, "{}", error.what()); });
    }
  }
}

RecordedConditions recorded_conditions(Device& device, const RecordFile& record, const std::string& prefix,
                                       int64_t images) {
  RecordedConditions conditions;
  conditions.timesteps = record.floats(prefix + "timestep");
  if (conditions.timesteps.size() == 1)
    conditions.timesteps.resize(static_cast<size_t>(images), conditions.timesteps[0]);
  if (record.contains(prefix + "text_embeds")) conditions.added.pooled = upload(device, record, prefix + "text_embeds");
  if (record.contains(prefix + "time_ids")) conditions.added.time_ids = record.floats(prefix + "time_ids");
  return conditions;
}

std::vector<float> run_unet(const Context& context, const UNet& unet, const RecordFile& record,
                            const std::string& prefix, const UNetExtras& extras) {
  UNetInput input;
  input.sample = upload_image(context.device, record, prefix + "sample");
  const TextContext text = unet.project_text(context, upload(context.device, record, prefix + "encoder_hidden_states"));
  input.text = &text;
  RecordedConditions conditions = recorded_conditions(context.device, record, prefix, input.sample.dim(0));
  input.timesteps = std::move(conditions.timesteps);
  input.added = std::move(conditions.added);
  input.guidance_embedding = extras.guidance_embedding;
  input.control_residuals = extras.control_residuals;
  return download_channels_first(context.device, unet.forward(context, input));
}

}  // namespace dreamlab
