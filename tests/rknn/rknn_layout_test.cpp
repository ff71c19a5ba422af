#include "device/rknn/rknn_layout.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "tensor/dtype.h"

namespace dreamlab::rknn {
namespace {

TensorAttributes picture(TensorFormat format, TensorType type, uint32_t stride = 0) {
  // One image of 2 x 3 pixels and 4 channels.
  TensorAttributes port{};
  port.dim_count = 4;
  const uint32_t first[] = {1, 4, 2, 3}, last[] = {1, 2, 3, 4};
  std::copy_n(format == TensorFormat::nchw ? first : last, 4, port.dims);
  port.format = format;
  port.type = type;
  port.elements = 24;
  port.width_stride = stride;
  return port;
}

std::vector<float> counted() {
  std::vector<float> values(24);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(RknnLayout, ChannelsLastStayWhereTheyAre) {
  const TensorAttributes port = picture(TensorFormat::nhwc, TensorType::f32);
  std::vector<float> memory(24);
  EXPECT_EQ(memory_size(port), sizeof(float) * 24);
  write_values(port, counted(), memory.data());
  EXPECT_EQ(memory, counted());
  EXPECT_EQ(read_values(port, memory.data()), counted());
}

TEST(RknnLayout, ChannelsGoFirstWhereTheModelWantsThat) {
  const TensorAttributes port = picture(TensorFormat::nchw, TensorType::f32);
  std::vector<float> memory(24);
  write_values(port, counted(), memory.data());
  EXPECT_EQ(memory[0], 0) << "channel 0 of the first pixel";
  EXPECT_EQ(memory[1], 4) << "channel 0 of the second";
  EXPECT_EQ(memory[6], 1) << "channel 1 of the first";
  EXPECT_EQ(memory[23], 23);
  EXPECT_EQ(read_values(port, memory.data()), counted());
}

TEST(RknnLayout, RowsBeginWhereTheStrideSays) {
  const TensorAttributes port = picture(TensorFormat::nhwc, TensorType::f16, 8);
  ASSERT_EQ(memory_size(port), 2u * 8 * 4 * 2);
  std::vector<Float16> memory(2 * 8 * 4, Float16::from_float(-1));
  write_values(port, counted(), memory.data());
  EXPECT_EQ(static_cast<float>(memory[11]), 11);
  EXPECT_EQ(static_cast<float>(memory[12]), -1) << "between the rows";
  EXPECT_EQ(static_cast<float>(memory[32]), 12) << "the second row";
  EXPECT_EQ(read_values(port, memory.data()), counted());
}

TEST(RknnLayout, WholeNumbersAreRoundedAndKeptInRange) {
  TensorAttributes port{};
  port.dim_count = 1;
  port.dims[0] = port.elements = 5;
  const std::vector<float> values = {0.4f, -1.6f, 999.0f, 300.0f, -300.0f};
  const auto through = [&](TensorType type) {
    port.type = type;
    std::vector<uint8_t> memory(memory_size(port));
    EXPECT_EQ(memory.size(), 5 * size_of(type));
    write_values(port, values, memory.data());
    return read_values(port, memory.data());
  };
  for (const TensorType type : {TensorType::i64, TensorType::i32, TensorType::i16})
    EXPECT_EQ(through(type), (std::vector<float>{0, -2, 999, 300, -300})) << static_cast<int>(type);
  EXPECT_EQ(through(TensorType::i8), (std::vector<float>{0, -2, 127, 127, -128}));
  EXPECT_EQ(through(TensorType::u8), (std::vector<float>{0, 0, 255, 255, 0}));
  EXPECT_EQ(through(TensorType::u16), (std::vector<float>{0, 0, 999, 300, 0}));
  EXPECT_EQ(through(TensorType::u32), (std::vector<float>{0, 0, 999, 300, 0}));
}

TEST(RknnLayout, RefusesAnotherNumberOfValuesAndUnknownTypes) {
  TensorAttributes port = picture(TensorFormat::nhwc, TensorType::f32);
  std::vector<float> memory(24);
  EXPECT_THROW(write_values(port, std::vector<float>(23), memory.data()), Error);
  EXPECT_THROW(size_of(static_cast<TensorType>(99)), Error);
}

}  // namespace
}  // namespace dreamlab::rknn
