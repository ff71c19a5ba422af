#include "layer/batch.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "test_weights.h"

namespace dreamlab {
namespace {

TEST(JoinImages, PutsBatchesOneAfterTheOther) {
  const auto device = make_reference_device();
  const std::vector<Tensor> parts = {random_input(*device, {1, 2, 3}, 1), random_input(*device, {2, 2, 3}, 2),
                                     random_input(*device, {1, 2, 3}, 3)};
  const Tensor joined = join_images(*device, parts);
  EXPECT_EQ(joined.shape(), (Shape{4, 2, 3}));
  std::vector<float> wanted;
  for (const Tensor& part : parts)
    for (const float value : device->download(part)) wanted.push_back(value);
  EXPECT_EQ(device->download(joined), wanted);
}

TEST(JoinImages, GivesBackASingleBatchAsItIs) {
  const auto device = make_reference_device();
  const std::vector<Tensor> parts = {random_input(*device, {1, 2, 3}, 1)};
  EXPECT_EQ(join_images(*device, parts).data(), parts[0].data());
}

TEST(JoinImages, RefusesImagesOfOtherSizes) {
  const auto device = make_reference_device();
  const std::vector<Tensor> parts = {random_input(*device, {1, 2, 3}, 1), random_input(*device, {1, 3, 2}, 2)};
  EXPECT_THROW(join_images(*device, parts), Error);
}

}  // namespace
}  // namespace dreamlab
