#include "model/vae.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "weights/checkpoint.h"

namespace dreamlab {
namespace {

std::vector<std::string> models_with_vae() {
  return models_with("vae.safetensors");
}

// The cases of a record whose names start with `prefix`.
std::vector<std::string> cases(const GoldenRecord& record, const std::string& prefix, const std::string& tensor) {
  std::vector<std::string> out;
  for (const std::string& name : record.cases_with(tensor))
    if (name.starts_with(prefix)) out.push_back(name);
  return out;
}

class VaeRecords : public testing::TestWithParam<std::string> {
 protected:
  VaeRecords()
      : device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path(GetParam()))),
        record(GetParam() + "/vae.safetensors") {}

  // A context that compares the taps of one case.
  Context tapped(const std::string& name) {
    Context context{*device, nullptr, nullptr, nullptr};
    context.tap = [this, name](std::string_view path, const Tensor& tensor) {
      const std::string tap = name + "/tap/" + std::string(path);
      if (!record.contains(tap)) return;
      compare(tensor, tap);
      seen.insert(tap);
    };
    return context;
  }
  void compare(const Tensor& tensor, const std::string& name) {
    worst = std::max(worst, expect_matches(*device, tensor, record, name));
  }
  void compare(const std::vector<float>& values, const std::string& name) {
    worst = std::max(worst, expect_matches(values, record, name));
  }
  void expect_all_taps(const std::string& prefix) {
    for (const std::string& name : record.names())
      if (name.starts_with(prefix) && name.find("/tap/") != std::string::npos) {
        EXPECT_TRUE(seen.contains(name)) << name << " was not reached";
      }
    RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  GoldenRecord record;
  std::set<std::string> seen;
  double worst = 0.0;
};

TEST_P(VaeRecords, DecodeAsDiffusersDoes) {
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  for (const std::string& name : cases(record, "decode", "z"))
    compare(decoder.decode(tapped(name), record.upload(*device, name + "/z")), name + "/out");
  expect_all_taps("decode");
}

TEST_P(VaeRecords, EncodeAsDiffusersDoes) {
  const VaeEncoder encoder(*device, checkpoint->config().vae, checkpoint->vae());
  for (const std::string& name : cases(record, "encode", "x")) {
    const LatentDistribution latents = encoder.encode(tapped(name), record.upload(*device, name + "/x"));
    compare(latents.mean, name + "/mean");
    compare(latents.logvar, name + "/logvar");
    compare(latents.sample(record.values(name + "/sample_noise")), name + "/sample");
  }
  expect_all_taps("encode");
}

TEST_P(VaeRecords, BlendTilesAsDiffusersDoes) {
  const Context context{*device, nullptr, nullptr, nullptr};
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  for (const std::string& name : cases(record, "tiled_decode", "z")) {
    const VaeTiling tiling{record.ids(name + "/tile_latent_min_size")[0], 0.25};
    compare(decoder.decode_tiled(context, record.upload(*device, name + "/z"), tiling), name + "/out");
  }
  const VaeEncoder encoder(*device, checkpoint->config().vae, checkpoint->vae());
  compare(encoder.encode_tiled(context, record.upload(*device, "tiled_encode/x"), {8, 0.25}).mean, "tiled_encode/mean");
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, VaeRecords, testing::ValuesIn(models_with_vae()), test_name);

class VaeTest : public testing::Test {
 protected:
  VaeTest()
      : device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path("tiny-sd15"))),
        record("tiny-sd15/vae.safetensors") {}

  template <typename Call>
  void expect_refusal(Call call, const std::string& message) {
    try {
      call();
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_THAT(error.what(), testing::HasSubstr(message));
    }
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  GoldenRecord record;
};

TEST_F(VaeTest, DecodesAnImageTheSameAloneAndInABatch) {
  const Context context{*device, nullptr, nullptr, nullptr};
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  const Tensor latents = record.upload(*device, "decode2/z");
  ASSERT_EQ(latents.dim(0), 2);
  const std::vector<float> both = device->download(decoder.decode(context, latents));
  const std::vector<float> second = device->download(decoder.decode(context, latents.images(1, 2)));
  for (size_t i = 0; i < second.size(); ++i) ASSERT_EQ(second[i], both[second.size() + i]) << "value " << i;
}

TEST_F(VaeTest, DecodesWhatFitsOneTileWithoutTiles) {
  const Context context{*device, nullptr, nullptr, nullptr};
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  const Tensor latents = record.upload(*device, "decode0/z");
  EXPECT_EQ(device->download(decoder.decode_tiled(context, latents, {8, 0.25})),
            device->download(decoder.decode(context, latents)));
}

TEST_F(VaeTest, RefusesLatentsWithOtherChannels) {
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  const Tensor latents = device->upload(std::vector<float>(3 * 16), Shape{1, 4, 4, 3});
  expect_refusal(
      [&] {
        decoder.decode({*device, nullptr, nullptr, nullptr}, latents);
      },
      "latents of [1, 4, 4, 3]; the VAE takes [N, H, W, 4]");
}

TEST_F(VaeTest, RefusesPicturesWhoseSidesItCannotDivide) {
  const VaeEncoder encoder(*device, checkpoint->config().vae, checkpoint->vae());
  const Tensor picture = device->upload(std::vector<float>(3 * 12 * 16), Shape{1, 12, 16, 3});
  expect_refusal(
      [&] {
        encoder.encode({*device, nullptr, nullptr, nullptr}, picture);
      },
      "a picture of 16x12; the VAE takes multiples of 8");
}

TEST_F(VaeTest, RefusesTilesThatDoNotDivideIntoOverlaps) {
  const VaeDecoder decoder(*device, checkpoint->config().vae, checkpoint->vae());
  const Tensor latents = record.upload(*device, "decode1/z");
  expect_refusal([&] { decoder.decode_tiled({*device, nullptr, nullptr, nullptr}, latents, {9, 0.25}); }, "tiles of 9");
}

}  // namespace
}  // namespace dreamlab
