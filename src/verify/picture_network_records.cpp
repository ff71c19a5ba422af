// esrgan.safetensors and taesd.safetensors: networks that stand beside the checkpoints. Every file under models/ that
// has the record's name in its own is run.
#include "base/error.h"
#include "model/rrdbnet.h"
#include "model/taesd.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

// Calls `check` for every case of every such file.
void run_networks(RecordRun& run, const std::string& record_name, std::string_view part,
                  const std::function<std::function<void(RecordCase&, const RecordFile&, const std::string&)>(
                      const std::filesystem::path&)>& open) {
  const RecordFile record(run.folder(), record_name);
  const std::vector<ModelFile> files = model_files_with(run.folder(), part);
  if (files.empty()) fail(ErrorKind::unavailable, "there is no model with \"{}\" in its name", part);
  for (const ModelFile& file : files) {
    for (const std::string& name : record.cases()) {
      run.run_case(record_name, name, file.name,
                   [&](RecordCase& record_case) { open(file.path)(record_case, record, name + "/"); });
    }
  }
  run.expect_all_taken(record);
}

}  // namespace

void run_esrgan_record(RecordRun& run, const std::string& record_name) {
  Device& device = run.device();
  run_networks(run, record_name, "esrgan", [&](const std::filesystem::path& path) {
    const auto file = open_rrdbnet(path);
    const auto network = std::make_shared<RrdbNet>(device, file.config, *file.weights);
    return [&device, network](RecordCase& record_case, const RecordFile& record, const std::string& prefix) {
      const Tensor out = network->forward({.device = device}, upload_image(device, record, prefix + "x"));
      record_case.compare(record, prefix + "out", download_channels_first(device, out), BoundKind::network);
    };
  });
}

void run_taesd_record(RecordRun& run, const std::string& record_name) {
  Device& device = run.device();
  run_networks(run, record_name, "taesd", [&](const std::filesystem::path& path) {
    const auto file = open_taesd(path);
    const auto decoder = std::make_shared<TaesdDecoder>(device, file.config, *file.weights);
    const auto encoder = std::make_shared<TaesdEncoder>(device, file.config, *file.weights);
    return [&device, decoder, encoder](RecordCase& record_case, const RecordFile& record, const std::string& prefix) {
      const Context context{.device = device};
      if (matches("decode*", prefix)) {
        const Tensor out = decoder->decode(context, upload_image(device, record, prefix + "z"));
        record_case.compare(record, prefix + "out", download_channels_first(device, out), BoundKind::network);
      } else {
        const Tensor latents = encoder->encode(context, upload_image(device, record, prefix + "x"));
        record_case.compare(record, prefix + "latents", download_channels_first(device, latents), BoundKind::network);
      }
    };
  });
}

}  // namespace dreamlab
