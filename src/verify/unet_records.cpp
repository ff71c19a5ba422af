// unet.safetensors: passes through a whole UNet, with what its blocks give on the way. unet_lcm_cond.safetensors: the
// same UNet with the guidance embedding of LCM-distilled models, whose one additional weight is in the record.
#include "layer/timestep_embedding.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

constexpr const char* kGuidanceWeight = "time_embedding.cond_proj.weight";

// The weights of a network and one more.
class WithTensor : public WeightSource {
 public:
  WithTensor(const WeightSource& others, std::string name, HostTensor tensor)
      : others_(others), name_(std::move(name)), tensor_(std::move(tensor)) {}

  HostTensor get(std::string_view name, const Shape& shape) const override {
    return name == name_ ? tensor_.reshape(shape) : others_.get(name, shape);
  }
  bool contains(std::string_view name) const override { return name == name_ || others_.contains(name); }
  std::optional<Shape> shape_of(std::string_view name) const override {
    return name == name_ ? tensor_.shape : others_.shape_of(name);
  }

 private:
  const WeightSource& others_;
  std::string name_;
  HostTensor tensor_;
};

void check_pass(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                const UNet& unet) {
  Taps taps(device);
  const std::vector<float> out = run_unet(taps.context(), unet, record, prefix);
  record_case.compare(record, prefix + "out", out, BoundKind::network);
  taps.compare(record_case, record, prefix + "tap/");
}

void check_guidance_pass(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                         const UNet& unet) {
  UNetExtras extras;
  extras.guidance_embedding = guidance_scale_embedding(record.floats(prefix + "w"), unet.config().time_cond_proj_dim);
  record_case.compare(record, prefix + "timestep_cond", extras.guidance_embedding, BoundKind::guidance_embedding);
  // All guidance scales share one input.
  const std::vector<float> out = run_unet({.device = device}, unet, record, "", extras);
  record_case.compare(record, prefix + "out", out, BoundKind::network);
}

void check_embeddings(RecordCase& record_case, const RecordFile& record) {
  const std::string prefix = "guidance_scale_embedding/";
  const std::vector<float> w = record.floats(prefix + "w");
  for (const std::string& name : record.names(prefix + "dim")) {
    record_case.compare(record, name, guidance_scale_embedding(w, record.tensor(name).shape[-1]),
                        BoundKind::guidance_embedding);
  }
}

}  // namespace

void run_unet_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    const UNet unet(run.device(), checkpoint.config().unet, checkpoint.unet());
    for (const std::string& name : record.cases("case")) {
      run.run_case(record_name, name, layout,
                   [&](RecordCase& record_case) { check_pass(record_case, run.device(), record, name + "/", unet); });
    }
  });
  run.expect_all_taken(record);
}

void run_guidance_embedding_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  run.run_case(record_name, "guidance_scale_embedding", "",
               [&](RecordCase& record_case) { check_embeddings(record_case, record); });
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    const HostTensor weight = aligned(record.tensor(kGuidanceWeight));
    UNetConfig config = checkpoint.config().unet;
    config.time_cond_proj_dim = weight.shape[1];
    const UNet unet(run.device(), config, WithTensor(checkpoint.unet(), kGuidanceWeight, weight));
    for (const std::string& name : record.cases("guidance")) {
      if (name == "guidance_scale_embedding") continue;
      run.run_case(record_name, name, layout, [&](RecordCase& record_case) {
        check_guidance_pass(record_case, run.device(), record, name + "/", unet);
      });
    }
  });
  run.expect_all_taken(record);
}

}  // namespace dreamlab
