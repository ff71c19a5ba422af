// esrgan.safetensors and taesd.safetensors: networks that stand beside the checkpoints. Every file under models/ that
// has the record's name in its own ("esrgan" in "tiny-esrgan.pth") is run, unless another record's longer name claims
// it.
#include <algorithm>

#include "base/error.h"
#include "model/rrdbnet.h"
#include "model/taesd.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"
#include "verify/recorded_models.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

// "esrgan-x2" of "esrgan_x2.safetensors".
std::string network_of(const std::filesystem::path& record) {
  std::string name = record.stem().string();
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::vector<ModelFile> networks_of_record(const std::filesystem::path& folder, const std::string& record) {
  const std::string name = network_of(record);
  std::vector<ModelFile> files = model_files_with(folder, name);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string other = network_of(entry.path());
    if (other.size() <= name.size() || other.find(name) == std::string::npos) continue;
    files.erase(std::remove_if(files.begin(), files.end(),
                               [&](const ModelFile& file) { return file.name.find(other) != std::string::npos; }),
                files.end());
  }
  if (files.empty()) fail(ErrorKind::unavailable, "there is no model with \"{}\" in its name", name);
  return files;
}

using CheckCase = std::function<void(RecordCase&, const RecordFile&, const std::string& prefix)>;

// Calls what `open` gives for each network with every case.
void run_networks(RecordRun& run, const std::string& record_name,
                  const std::function<CheckCase(const std::filesystem::path&)>& open) {
  const RecordFile record(run.folder(), record_name);
  for (const ModelFile& file : networks_of_record(run.folder(), record_name)) {
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
  run_networks(run, record_name, [&](const std::filesystem::path& path) -> CheckCase {
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
  run_networks(run, record_name, [&](const std::filesystem::path& path) -> CheckCase {
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
