// vae.safetensors: decode<N>, encode<N> with their inner results, and tiled_decode<N>, tiled_encode<N> with the seams
// as diffusers blends them.
#include "model/vae.h"
#include "verify/network_records.h"
#include "verify/record_kinds.h"

namespace dreamlab {
namespace {

constexpr int64_t kDefaultLatentTile = 8;

VaeTiling recorded_tiling(const RecordFile& record, const std::string& prefix) {
  const std::string tile = prefix + "tile_latent_min_size";
  return {.latent_tile = record.contains(tile) ? record.integers(tile).at(0) : kDefaultLatentTile};
}

void check_decode(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                  const VaeDecoder& decoder, bool tiled) {
  Taps taps(device);
  const Context context = taps.context();
  const Tensor latents = upload_image(device, record, prefix + "z");
  const Tensor picture = tiled ? decoder.decode_tiled(context, latents, recorded_tiling(record, prefix))
                               : decoder.decode(context, latents);
  record_case.compare(record, prefix + "out", download_channels_first(device, picture), BoundKind::network);
  taps.compare(record_case, record, prefix + "tap/");
}

void check_encode(RecordCase& record_case, Device& device, const RecordFile& record, const std::string& prefix,
                  const VaeEncoder& encoder, bool tiled) {
  Taps taps(device);
  const Context context = taps.context();
  const Tensor picture = upload_image(device, record, prefix + "x");
  const LatentDistribution found = tiled ? encoder.encode_tiled(context, picture, recorded_tiling(record, prefix))
                                         : encoder.encode(context, picture);
  const auto compare = [&](const std::string& tensor, std::span<const float> values) {
    if (!record.contains(prefix + tensor)) return;
    record_case.compare(record, prefix + tensor, channels_first(values, found.shape), BoundKind::network);
  };
  compare("mean", found.mean);
  compare("logvar", found.logvar);
  if (record.contains(prefix + "sample")) {
    const Shape nchw = record.tensor(prefix + "sample_noise").shape;
    compare("sample", found.sample(channels_last(record.floats(prefix + "sample_noise"), nchw)));
  }
  taps.compare(record_case, record, prefix + "tap/");
}

}  // namespace

void run_vae_record(RecordRun& run, const std::string& record_name) {
  const RecordFile record(run.folder(), record_name);
  for_each_layout(run, record, [&](const std::string& layout, const Checkpoint& checkpoint) {
    const VaeDecoder decoder(run.device(), checkpoint.config().vae, checkpoint.vae());
    const VaeEncoder encoder(run.device(), checkpoint.config().vae, checkpoint.vae());
    for (const std::string& name : record.cases()) {
      const bool tiled = name.rfind("tiled_", 0) == 0;
      const bool decodes = name.rfind(tiled ? "tiled_decode" : "decode", 0) == 0;
      if (!decodes && name.rfind(tiled ? "tiled_encode" : "encode", 0) != 0) continue;
      run.run_case(record_name, name, layout, [&](RecordCase& record_case) {
        if (decodes) {
          check_decode(record_case, run.device(), record, name + "/", decoder, tiled);
        } else {
          check_encode(record_case, run.device(), record, name + "/", encoder, tiled);
        }
      });
    }
  });
  run.expect_all_taken(record);
}

}  // namespace dreamlab
