#include "layer/linear.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "test_weights.h"

namespace dreamlab {
namespace {

class LinearTest : public testing::Test {
 protected:
  LinearTest() : device(make_reference_device()), context{*device, nullptr, nullptr, nullptr} {
    for (const char* part : {"to_q", "to_k", "to_v"}) weights.add_linear(part, 6, 4);
  }
  LayerScope scope() { return {*device, WeightScope(weights), "test"}; }

  std::unique_ptr<Device> device;
  Context context;
  TestWeights weights;
};

TEST_F(LinearTest, FusedGivesWhatItsPartsGive) {
  const std::vector<std::string> parts = {"to_q", "to_k", "to_v"};
  const FusedLinear fused(scope(), parts, 6, 4, Bias::present);
  const Tensor x = random_input(*device, {2, 3, 6}, 1);
  const Tensor all = fused.forward(context, x);
  for (int64_t i = 0; i < 3; ++i) {
    const Tensor part = Linear(scope() / parts[static_cast<size_t>(i)], 6, 4).forward(context, x);
    EXPECT_EQ(device->download(all.columns(4 * i, 4 * i + 4)), device->download(part)) << parts[static_cast<size_t>(i)];
  }
}

TEST_F(LinearTest, FusesPartsThatAreStoredInDifferentPrecisions) {
  TestWeights mixed;
  mixed.add("a.weight", random_tensor({2, 3}, 5), "a");
  const HostTensor wide = random_tensor({2, 3}, 6);
  auto halves = std::make_shared<std::vector<Float16>>();
  for (const float value : wide.to_f32()) halves->push_back(Float16::from_float(value));
  mixed.add("b.weight", {reinterpret_cast<const std::byte*>(halves->data()), DType::f16, {2, 3}, halves}, "b");
  const LayerScope mixed_scope{*device, WeightScope(mixed), "test"};
  const Tensor x = random_input(*device, {1, 3}, 7);
  const Tensor fused = FusedLinear(mixed_scope, {"a", "b"}, 3, 2, Bias::none).forward(context, x);
  const Tensor b = Linear(mixed_scope / "b", 3, 2, Bias::none).forward(context, x);
  EXPECT_EQ(device->download(fused.columns(2, 4)), device->download(b));
}

TEST_F(LinearTest, ReadsA1x1ConvolutionAsAMatrix) {
  TestWeights conv;
  conv.add("proj.weight", random_tensor({4, 6, 1, 1}, 3), "proj.weight");
  TestWeights matrix;
  matrix.add("proj.weight", random_tensor({4, 6}, 3), "proj.weight");
  const Tensor x = random_input(*device, {1, 2, 2, 6}, 4);
  const auto run = [&](const WeightSource& source) {
    const LayerScope place = LayerScope{*device, WeightScope(source), "test"} / "proj";
    return device->download(Linear(place, 6, 4, Bias::none).forward(context, x));
  };
  EXPECT_EQ(run(conv), run(matrix));
}

TEST_F(LinearTest, NamesATensorOfTheWrongShape) {
  try {
    const Linear wrong(scope() / "to_q", 8, 4);
    FAIL() << "built";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
    EXPECT_THAT(error.what(), testing::HasSubstr("to_q.weight"));
  }
}

TEST_F(LinearTest, RefusesAnInputOfAnotherWidth) {
  const Linear linear(scope() / "to_q", 6, 4);
  EXPECT_THROW(linear.forward(context, random_input(*device, {2, 5}, 1)), Error);
}

}  // namespace
}  // namespace dreamlab
