#include "model/rrdbnet.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "weights/expected_tensors.h"
#include "weights/networks.h"
#include "weights/random_weights.h"

namespace dreamlab {
namespace {

class RrdbNetRecords : public testing::TestWithParam<std::string> {};

TEST_P(RrdbNetRecords, AgreeInEveryNaming) {
  const auto device = make_reference_device();
  const NetworkFile<RrdbNetConfig> file = open_rrdbnet(golden_dir() / "models" / GetParam());
  const RrdbNet network(*device, file.config, *file.weights);
  const GoldenRecord record("esrgan.safetensors");
  double worst = 0.0;
  for (const std::string name : {"case0", "case1"})
    worst = std::max(
        worst, expect_matches(
                   *device, network.forward({*device, nullptr, nullptr, nullptr}, record.upload(*device, name + "/x")),
                   record, name + "/out"));
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, RrdbNetRecords,
                         testing::Values("tiny-esrgan.safetensors", "tiny-esrgan-old.safetensors", "tiny-esrgan.pth"),
                         test_name);

class UnshufflingRrdbNet : public testing::Test {
 protected:
  UnshufflingRrdbNet()
      : device(make_reference_device()),
        weights(7, DType::f32, expected_tensors(config)),
        network(*device, config, weights) {}

  Tensor run(int64_t height, int64_t width) {
    std::vector<float> values(static_cast<size_t>(height * width * 3));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17) / 17.0f;
    return network.forward({*device, nullptr, nullptr, nullptr}, device->upload(values, Shape{1, height, width, 3}));
  }

  const RrdbNetConfig config{.features = 8, .blocks = 1, .growth = 4, .scale = 2, .unshuffle = 2};
  std::unique_ptr<Device> device;
  RandomWeights weights;
  RrdbNet network;
};

TEST_F(UnshufflingRrdbNet, DoublesTheSize) {
  EXPECT_EQ(run(6, 4).shape(), (Shape{1, 12, 8, 3}));
}

TEST_F(UnshufflingRrdbNet, RefusesSidesThatItCannotDivide) {
  try {
    run(5, 4);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("a picture of 4x5; this upscaler takes multiples of 2"));
  }
}

}  // namespace
}  // namespace dreamlab
