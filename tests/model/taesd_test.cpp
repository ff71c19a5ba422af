#include "model/taesd.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

class TaesdTest : public testing::Test {
 protected:
  TaesdTest()
      : device(make_reference_device()),
        context{*device, nullptr, nullptr, nullptr},
        file(open_taesd(golden_dir() / "models/tiny-taesd")),
        record("taesd.safetensors") {}

  std::unique_ptr<Device> device;
  Context context;
  NetworkFile<TaesdConfig> file;
  GoldenRecord record;
};

TEST_F(TaesdTest, DecodesAsDiffusersDoes) {
  const TaesdDecoder decoder(*device, file.config, *file.weights);
  double worst = 0.0;
  for (const std::string name : {"decode0", "decode1"})
    worst = std::max(worst, expect_matches(*device, decoder.decode(context, record.upload(*device, name + "/z")),
                                           record, name + "/out"));
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

TEST_F(TaesdTest, EncodesAsDiffusersDoes) {
  const TaesdEncoder encoder(*device, file.config, *file.weights);
  double worst = 0.0;
  for (const std::string name : {"encode0", "encode1"})
    worst = std::max(worst, expect_matches(*device, encoder.encode(context, record.upload(*device, name + "/x")),
                                           record, name + "/latents"));
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

TEST_F(TaesdTest, RefusesLatentsWithOtherChannels) {
  const TaesdDecoder decoder(*device, file.config, *file.weights);
  const Tensor latents = device->upload(std::vector<float>(32), Shape{1, 2, 2, 8});
  try {
    decoder.decode(context, latents);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("latents of [1, 2, 2, 8]"));
  }
}

}  // namespace
}  // namespace dreamlab
