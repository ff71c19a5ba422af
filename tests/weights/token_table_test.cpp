#include "weights/token_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"

namespace dreamlab {
namespace {

constexpr const char* kTable = "text_model.embeddings.token_embedding.weight";
constexpr const char* kIds = "text_model.embeddings.token_embedding.token_ids";

HostTensor list_of(const std::vector<int32_t>& ids) {
  auto bytes = std::make_shared<std::vector<int32_t>>(ids);
  HostTensor tensor;
  tensor.data = reinterpret_cast<const std::byte*>(bytes->data());
  tensor.dtype = DType::i32;
  tensor.shape = {static_cast<int64_t>(ids.size())};
  tensor.owner = bytes;
  return tensor;
}

// Rows of two, numbered from 0: row i is {i, i + 0.5}.
TensorMap encoder_with(int64_t rows, const std::vector<int32_t>& ids) {
  std::vector<float> values;
  for (int64_t i = 0; i < rows; ++i) values.insert(values.end(), {static_cast<float>(i), static_cast<float>(i) + 0.5f});
  TensorMap map("text encoder 1");
  map.add(kTable, HostTensor::from_f32(values, {rows, 2}), kTable);
  map.add(kIds, list_of(ids), kIds);
  return map;
}

TEST(TokenTable, GivesEveryTokenItsRowOrTheLastOne) {
  TensorMap map = encoder_with(4, {0, 2, 5});
  expand_token_table(map, 7);
  EXPECT_FALSE(map.contains(kIds));
  const std::vector<float> values = map.get(kTable, {7, 2}).to_f32();
  EXPECT_THAT(values, ::testing::ElementsAre(0, 0.5, 3, 3.5, 1, 1.5, 3, 3.5, 3, 3.5, 2, 2.5, 3, 3.5));
}

TEST(TokenTable, LeavesAWholeTableAlone) {
  TensorMap map("text encoder 1");
  map.add(kTable, HostTensor::from_f32(std::vector<float>{1, 2, 3, 4}, {2, 2}), kTable);
  expand_token_table(map, 2);
  EXPECT_THAT(map.get(kTable, {2, 2}).to_f32(), ::testing::ElementsAre(1, 2, 3, 4));
}

TEST(TokenTable, RefusesAListThatDoesNotFit) {
  const auto refused = [](TensorMap map, const char* why) {
    try {
      expand_token_table(map, 7);
      ADD_FAILURE() << "taken; expected: " << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
      EXPECT_THAT(error.what(), ::testing::AllOf(::testing::StartsWith("text encoder 1: "), ::testing::HasSubstr(why)));
    }
  };
  refused(encoder_with(3, {0, 2, 5}), "a token table of one row more");
  refused(encoder_with(4, {0, 5, 2}), "2 after 5");
  refused(encoder_with(4, {0, 2, 2}), "2 after 2");
  refused(encoder_with(4, {0, 2, 7}), "below 7");
  refused(encoder_with(4, {-1, 2, 3}), "-1 after -1");
  TensorMap floats("text encoder 1");
  floats.add(kTable, HostTensor::from_f32(std::vector<float>{1, 2}, {2, 1}), kTable);
  floats.add(kIds, HostTensor::from_f32(std::vector<float>{0}, {1}), kIds);
  refused(std::move(floats), "a list of i32");
}

}  // namespace
}  // namespace dreamlab
