// text_encoder.safetensors: "te1/..." of a model's first text encoder, "te2/..." of its last.
#include "model/clip_text.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/text_encoders.h"

namespace dreamlab {
namespace {

void check_states(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                  const ClipTextEncoder& encoder) {
  Taps taps(device);
  const Context context = taps.context();
  const std::vector<int64_t> ids = record.integers(prefix + "input_ids");
  const TextStates states = encoder.forward(context, std::vector<int32_t>(ids.begin(), ids.end()));
  compare_states(record_case, device, record, prefix, states);
  if (record.contains(prefix + "penultimate_final_ln")) {
    record_case.compare(record, prefix + "penultimate_final_ln",
                        device.download(encoder.final_norm(context, states.hidden_state)), BoundKind::network);
  }
  // Every state of the first prompt.
  for (const std::string& name : record.names(prefix + "hidden_states_prompt0/")) {
    std::vector<float> all = taps.at("hidden_states." + name.substr(name.rfind('/') + 1));
    all.resize(static_cast<size_t>(record.tensor(name).shape.elements()));
    record_case.compare(record, name, all, BoundKind::network);
  }
}

}  // namespace

TextEncoderPlace text_encoder_place(const std::string& name, const Checkpoint& checkpoint) {
  const size_t encoders = checkpoint.config().text_encoders.size();
  if (name == "te1") return {0, "text_encoder"};
  if (name == "te2" && encoders > 0) return {encoders - 1, encoders > 1 ? "text_encoder_2" : "text_encoder"};
  fail(ErrorKind::invalid_file, "there is no text encoder \"{}\"", name);
}

std::unique_ptr<ClipTextEncoder> make_text_encoder(Device& device, const Checkpoint& checkpoint,
                                                   const std::string& name) {
  const TextEncoderPlace place = text_encoder_place(name, checkpoint);
  return std::make_unique<ClipTextEncoder>(device, checkpoint.config().text_encoders.at(place.index),
                                           checkpoint.text_encoder(place.index), place.network);
}

void compare_states(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                    const TextStates& states, const std::string& suffix) {
  const std::pair<const char*, const Tensor&> kinds[] = {{"last_hidden_state", states.last_hidden_state},
                                                         {"penultimate", states.hidden_state},
                                                         {"pooler_output", states.pooled},
                                                         {"text_embeds", states.text_embeds}};
  for (const auto& [name, tensor] : kinds) {
    const std::string recorded = prefix + name + suffix;
    if (!record.contains(recorded)) continue;
    record_case.expect(tensor.defined(), "the network has no {}", name);
    if (tensor.defined()) record_case.compare(record, recorded, device.download(tensor), BoundKind::network);
  }
}

void run_text_encoder_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    for (const std::string& name : record.cases("te")) {
      run.run_case(record_name, name, layout, [&](RecordCase& record_case) {
        const auto encoder = make_text_encoder(run.device(), checkpoint, name);
        check_states(record_case, run.device(), record, name + "/", *encoder);
      });
    }
  });
  run.expect_all_taken(record);
}

}  // namespace dreamlab
