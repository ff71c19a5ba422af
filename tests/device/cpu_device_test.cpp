// Every operation of the CPU device against the reference device.
#include <gtest/gtest.h>

#include "device/op_cases.h"

namespace dreamlab {
namespace {

class DeviceOps : public testing::TestWithParam<OpCase> {};

TEST_P(DeviceOps, AgreesWithTheReferenceInF32) {
  const auto device = make_cpu_device({.threads = 2, .dtype = DType::f32});
  expect_agreement(GetParam(), *device, 2e-5);
}

// One rounding to bf16 is 2^-9 of a value; products of rounded operands are exact in f32, so a result carries little
// more than the rounding of its own storage and of intermediate tensors.
TEST_P(DeviceOps, AgreesWithTheReferenceInBf16) {
  const auto device = make_cpu_device({.threads = 2, .dtype = DType::bf16});
  expect_agreement(GetParam(), *device, 1.0 / 128);
}

TEST_P(DeviceOps, GivesTheSameBitsForAnyNumberOfThreads) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      const auto device = make_cpu_device({.threads = threads, .dtype = dtype});
      Inputs inputs(*device);
      const std::vector<float> values = device->download(GetParam().run(*device, inputs));
      if (first.empty()) first = values;
      EXPECT_EQ(first, values) << GetParam().name << " with " << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceOps, testing::ValuesIn(op_cases()),
                         [](const testing::TestParamInfo<OpCase>& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace dreamlab
