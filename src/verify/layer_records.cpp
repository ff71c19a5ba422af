// layers.safetensors: single modules of the UNet and the VAE by their diffusers path, "unet/<path>/x" to
// "unet/<path>/out";
// "@size5x4" after an upsampler's path is the height and width that it enlarges to.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "layer/timestep_embedding.h"
#include "model/submodule.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

constexpr std::string_view kSizeMark = "@size";
constexpr const char* kSinusoids = "timestep_embedding";

// "unet/conv_in" of "unet/conv_in/out".
std::vector<std::string> modules_of(const RecordFile& record, const std::string& network) {
  std::vector<std::string> modules;
  for (const std::string& name : record.names(network + "/")) {
    std::string module = name.substr(0, name.rfind('/'));
    if (modules.empty() || modules.back() != module) modules.push_back(std::move(module));
  }
  std::sort(modules.begin(), modules.end());
  modules.erase(std::unique(modules.begin(), modules.end()), modules.end());
  return modules;
}

int64_t number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorKind::invalid_file, "\"{}\" is not a number", text);
  }
  return value;
}

// Cuts "@size5x4" off the path.
std::optional<Size> take_size(std::string& path) {
  const size_t mark = path.find(kSizeMark);
  if (mark == std::string::npos) return std::nullopt;
  const std::string size = path.substr(mark + kSizeMark.size());
  path.resize(mark);
  const size_t cross = std::min(size.find('x'), size.size() - 1);
  return Size{.width = number(std::string_view(size).substr(cross + 1)),
              .height = number(std::string_view(size).substr(0, cross))};
}

// Pictures are [N, C, H, W] in the record, tokens and vectors have their channels last already.
Tensor upload_any(Device& device, const RecordFile& record, const std::string& tensor) {
  return record.tensor(tensor).shape.rank() == 4 ? upload_image(device, record, tensor)
                                                 : upload(device, record, tensor);
}

void check_module(RecordCase& record_case, Device& device, const RecordFile& record, const Checkpoint& checkpoint,
                  const std::string& module) {
  const std::string prefix = module + "/";
  SubmoduleInput input;
  if (record.contains(prefix + "x")) input.x = upload_any(device, record, prefix + "x");
  if (record.contains(prefix + "temb")) input.temb = upload(device, record, prefix + "temb");
  if (record.contains(prefix + "encoder_hidden_states")) {
    input.encoder_hidden_states = upload(device, record, prefix + "encoder_hidden_states");
  }
  if (record.contains(prefix + "timesteps")) input.timesteps = record.floats(prefix + "timesteps");
  std::string path = module.substr(module.find('/') + 1);
  input.size = take_size(path);
  const Context context{.device = device};
  const Tensor out = matches("unet/*", module)
                         ? run_submodule(context, checkpoint.unet(), checkpoint.config().unet, path, input)
                         : run_submodule(context, checkpoint.vae(), checkpoint.config().vae, path, input);
  record_case.compare(record, prefix + "out", download_channels_first(device, out), BoundKind::layer);
}

void check_sinusoids(RecordCase& record_case, const RecordFile& record) {
  const std::vector<float> timesteps = record.floats(std::string(kSinusoids) + "/timesteps");
  for (const std::string& name : record.names(std::string(kSinusoids) + "/dim")) {
    record_case.compare(record, name, sinusoidal_embedding(timesteps, record.tensor(name).shape[-1]),
                        BoundKind::embedding);
  }
}

}  // namespace

void run_layer_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  if (!record.names(kSinusoids).empty()) {
    run.run_case(record_name, kSinusoids, "", [&](RecordCase& record_case) { check_sinusoids(record_case, record); });
  }
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    for (const char* network : {"unet", "vae"}) {
      for (const std::string& module : modules_of(record, network)) {
        run.run_case(record_name, module, layout, [&](RecordCase& record_case) {
          check_module(record_case, run.device(), record, checkpoint, module);
        });
      }
    }
  });
  run.expect_all_taken(record);
}

}  // namespace dreamlab
