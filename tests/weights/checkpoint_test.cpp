#include "weights/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "golden_dir.h"
#include "weights/expected_tensors.h"

namespace dreamlab {
namespace {

std::unique_ptr<Checkpoint> open_model(const std::string& name) {
  return Checkpoint::open(golden_dir() / "models" / name);
}

// Every tensor that the network needs is in both sources, with the same dtype and the same bytes.
void expect_same(const WeightSource& a, const WeightSource& b, const ExpectedTensors& tensors) {
  ASSERT_FALSE(tensors.empty());
  for (const ExpectedTensor& expected : tensors) {
    SCOPED_TRACE(expected.name);
    ASSERT_EQ(a.shape_of(expected.name), std::optional(expected.shape));
    ASSERT_EQ(b.shape_of(expected.name), std::optional(expected.shape));
    const HostTensor left = a.get(expected.name, expected.shape), right = b.get(expected.name, expected.shape);
    ASSERT_EQ(left.dtype, right.dtype);
    ASSERT_EQ(std::memcmp(left.data, right.data, left.bytes()), 0);
  }
}

void expect_same_model(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.config().family, b.config().family);
  EXPECT_EQ(a.config().unet, b.config().unet);
  EXPECT_EQ(a.config().vae, b.config().vae);
  EXPECT_EQ(a.config().text_encoders, b.config().text_encoders);
  EXPECT_EQ(a.config().schedule, b.config().schedule);
  EXPECT_EQ(a.config().native_size, b.config().native_size);
  expect_same(a.unet(), b.unet(), expected_tensors(a.config().unet));
  expect_same(a.vae(), b.vae(), expected_tensors(a.config().vae));
  for (size_t i = 0; i < a.config().text_encoders.size(); ++i)
    expect_same(a.text_encoder(i), b.text_encoder(i), expected_tensors(a.config().text_encoders[i]));
  EXPECT_TRUE(a.unknown_tensors().empty()) << a.unknown_tensors()[0];
  EXPECT_TRUE(b.unknown_tensors().empty()) << b.unknown_tensors()[0];
}

TEST(Checkpoint, GivesTheSameSd15FromASingleFileAndADirectory) {
  expect_same_model(*open_model("tiny-sd15.safetensors"), *open_model("tiny-sd15"));
}

TEST(Checkpoint, GivesTheSameSd15FromAPickle) {
  const auto pickle = open_model("tiny-sd15.ckpt");
  EXPECT_EQ(pickle->format(), "PyTorch zip");
  expect_same_model(*pickle, *open_model("tiny-sd15.safetensors"));
}

TEST(Checkpoint, GivesTheSameSdxlFromASingleFileAndADirectory) {
  const auto file = open_model("tiny-sdxl.safetensors"), directory = open_model("tiny-sdxl");
  expect_same_model(*file, *directory);
  EXPECT_EQ(file->config().family, Family::sdxl);
}

}  // namespace
}  // namespace dreamlab
