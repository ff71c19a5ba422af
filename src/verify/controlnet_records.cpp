// controlnet.safetensors: the embedded condition picture, a ControlNet's residuals "scale<S>/down_res.<I>" and
// "scale<S>/mid_res", and the UNet's output under them, "scale<S>/unet_out".
#include "base/error.h"
#include "model/controlnet.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

// 0.6 of "scale0.6".
float scale_of(const std::string& name) {
  return std::stof(name.substr(std::string("scale").size()));
}

ControlResiduals run_controlnet(const Context& context, const ControlNet& network, const RecordFile& record,
                                const Tensor& condition, float scale) {
  ControlNetInput input;
  input.sample = upload_image(context.device, record, "sample");
  const TextContext text = network.project_text(context, upload(context.device, record, "encoder_hidden_states"));
  input.text = &text;
  RecordedConditions conditions = recorded_conditions(context.device, record, "", input.sample.dim(0));
  input.timesteps = std::move(conditions.timesteps);
  input.added = std::move(conditions.added);
  input.condition = condition;
  input.scale = scale;
  return network.forward(context, input);
}

void compare_residuals(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                       const ControlResiduals& residuals) {
  const std::vector<std::string> recorded = record.names(prefix + "down_res.");
  record_case.expect(recorded.empty() || recorded.size() == residuals.down.size(), "{} residuals, expected {}",
                     residuals.down.size(), recorded.size());
  for (size_t i = 0; i < residuals.down.size(); ++i) {
    const std::string name = fmt::format("{}down_res.{}", prefix, i);
    if (!record.contains(name)) continue;
    record_case.compare(record, name, download_channels_first(device, residuals.down[i]), BoundKind::network);
  }
  if (!record.contains(prefix + "mid_res")) return;
  record_case.compare(record, prefix + "mid_res", download_channels_first(device, residuals.mid), BoundKind::network);
}

}  // namespace

void run_controlnet_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  Device& device = run.device();
  const Context context{.device = device};
  const std::string model = model_of_record(record_name);
  for (const ModelFile& control_file : model_layouts(run.folder(), model + "-controlnet")) {
    const auto control = open_controlnet(control_file.path);
    const ControlNet network(device, control.config, *control.weights);
    Tensor condition;
    run.run_case(record_name, "cond_embedding", control_file.name, [&](RecordCase& record_case) {
      condition = network.embed_condition(context, upload_image(device, record, "controlnet_cond"));
      record_case.compare(record, "cond_embedding", download_channels_first(device, condition), BoundKind::network);
    });
    for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
      const UNet unet(device, checkpoint.config().unet, checkpoint.unet());
      for (const std::string& name : record.cases("scale")) {
        run.run_case(record_name, name, layout, [&](RecordCase& record_case) {
          const ControlResiduals residuals = run_controlnet(context, network, record, condition, scale_of(name));
          compare_residuals(record_case, device, record, name + "/", residuals);
          UNetExtras extras;
          extras.control_residuals = &residuals;
          const std::vector<float> out = run_unet(context, unet, record, "", extras);
          record_case.compare(record, name + "/unet_out", out, BoundKind::network);
        });
      }
    });
  }
  run.expect_all_taken(record);
}

}  // namespace dreamlab
