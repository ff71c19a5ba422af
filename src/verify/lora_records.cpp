// lora.safetensors: the UNet's output and the text encoders' states without ("base/out") and with each adapter file,
// "<file>/unet_out_scale<S>" and "<file>/te<K>/<state>_scale<S>".
#include "base/error.h"
#include "layer/lora.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "verify/text_encoders.h"
#include "weights/lora_file.h"

namespace dreamlab {
namespace {

constexpr std::string_view kScale = "_scale";

// "_scale0.7" of a tensor's name.
std::string suffix_of(const std::string& tensor) {
  const size_t at = tensor.rfind(kScale);
  if (at == std::string::npos) fail(ErrorKind::invalid_file, "\"{}\" does not end in _scale<number>", tensor);
  return tensor.substr(at);
}

LoraSet adapter_set(Device& device, const LoraFile& file, const std::string& suffix) {
  LoraSet set;
  set.add(std::make_shared<LoraAdapter>(device, file.layers()), std::stof(suffix.substr(kScale.size())));
  return set;
}

void check_text(RecordCase& record_case, Device& device, const RecordFile& record, const Checkpoint& checkpoint,
                const LoraFile& file, const std::string& adapter, const std::string& tensor) {
  const std::string name = tensor.substr(adapter.size() + 1, tensor.find('/', adapter.size() + 1) - adapter.size() - 1);
  const LoraSet set = adapter_set(device, file, suffix_of(tensor));
  const std::vector<int64_t> ids = record.integers(name + "/input_ids");
  const auto encoder = make_text_encoder(device, checkpoint, name);
  const TextStates states =
      encoder->forward({.device = device, .loras = &set}, std::vector<int32_t>(ids.begin(), ids.end()));
  compare_states(record_case, device, record, adapter + "/" + name + "/", states, suffix_of(tensor));
}

void check_adapter(RecordCase& record_case, Device& device, const RecordFile& record, const Checkpoint& checkpoint,
                   const UNet& unet, const std::string& adapter, const std::filesystem::path& path) {
  const LoraFile file = LoraFile::open(path, &checkpoint.config());
  record_case.expect(file.unknown_tensors().empty(), "{} tensors of the adapter have no place in the model: {} ...",
                     file.unknown_tensors().size(),
                     file.unknown_tensors().empty() ? std::string() : file.unknown_tensors().front());
  for (const std::string& tensor : record.names(adapter + "/unet_out" + std::string(kScale))) {
    const LoraSet set = adapter_set(device, file, suffix_of(tensor));
    const std::vector<float> out = run_unet({.device = device, .loras = &set}, unet, record, "");
    record_case.compare(record, tensor, out, BoundKind::network);
  }
  for (const std::string& tensor : record.names(adapter + "/te")) {
    check_text(record_case, device, record, checkpoint, file, adapter, tensor);
  }
}

}  // namespace

void run_lora_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  Device& device = run.device();
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    const UNet unet(device, checkpoint.config().unet, checkpoint.unet());
    run.run_case(record_name, "base", layout, [&](RecordCase& record_case) {
      record_case.compare(record, "base/out", run_unet({.device = device}, unet, record, ""), BoundKind::network);
    });
    for (const std::string& adapter : record.cases()) {
      if (adapter == "base" || matches("te*", adapter)) continue;
      run.run_case(record_name, adapter, layout, [&](RecordCase& record_case) {
        const ModelFile file = lora_file(run.folder(), model_of_record(record_name), adapter);
        check_adapter(record_case, device, record, checkpoint, unet, adapter, file.path);
      });
    }
  });
  run.expect_all_taken(record);
}

}  // namespace dreamlab
