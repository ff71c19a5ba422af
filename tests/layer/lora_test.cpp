#include "layer/lora.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "layer/conv2d.h"
#include "layer/linear.h"
#include "layer/resnet.h"
#include "test_weights.h"

namespace dreamlab {
namespace {

constexpr int64_t kRank = 2;
constexpr float kAlpha = 3.0f;
constexpr float kStrength = 0.5f;

void expect_near(const std::vector<float>& found, const std::vector<float>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(found[i], wanted[i], 1e-5) << "value " << i;
}

// weight + strength * alpha / rank * up * down, for matrices and for convolutions flattened to matrices.
HostTensor merged(const HostTensor& weight, const LoraLayer& layer) {
  std::vector<float> out = weight.to_f32();
  const std::vector<float> down = layer.down.to_f32(), up = layer.up.to_f32();
  const int64_t columns = weight.shape.elements() / weight.shape[0];
  for (int64_t o = 0; o < weight.shape[0]; ++o)
    for (int64_t i = 0; i < columns; ++i)
      for (int64_t r = 0; r < kRank; ++r)
        out[static_cast<size_t>(o * columns + i)] += kStrength * kAlpha / kRank *
                                                     up[static_cast<size_t>(o * kRank + r)] *
                                                     down[static_cast<size_t>(r * columns + i)];
  return HostTensor::from_f32(std::move(out), weight.shape);
}

LoraLayer linear_layer(const std::string& module, int64_t in, int64_t out, uint32_t seed) {
  return {module, random_tensor({kRank, in}, seed), random_tensor({out, kRank}, seed + 1), kAlpha};
}

class LoraTest : public testing::Test {
 protected:
  LoraTest() : device(make_reference_device()) {}

  // Adapters that hold these layers, at kStrength.
  LoraSet set_of(std::vector<LoraLayer> layers) {
    LoraSet set;
    set.add(std::make_shared<LoraAdapter>(*device, layers), kStrength);
    return set;
  }
  Context with(const LoraSet* loras) { return {*device, loras, nullptr, nullptr}; }

  std::unique_ptr<Device> device;
};

TEST_F(LoraTest, OfOnePartChangesOnlyThatPartOfAFusedLayer) {
  TestWeights base, changed;
  for (const char* part : {"to_q.weight", "to_k.weight", "to_v.weight"}) base.add_random(part, {4, 6});
  const LoraLayer layer = linear_layer("unet.attn1.to_k", 6, 4, 20);
  for (const auto& [name, entry] : base.entries())
    changed.add(name, name == "to_k.weight" ? merged(entry.tensor, layer) : entry.tensor, name);

  const Tensor x = random_input(*device, {2, 3, 6}, 9);
  const auto build = [&](const WeightSource& source) {
    // the module's name comes from the scope, so the tensors are laid below the same path
    TestWeights placed;
    for (const char* part : {"to_q.weight", "to_k.weight", "to_v.weight"})
      placed.add(std::string("attn1.") + part, source.get(part, {4, 6}), part);
    return FusedLinear(LayerScope{*device, WeightScope(placed), "unet"} / "attn1", {"to_q", "to_k", "to_v"}, 6, 4,
                       Bias::none);
  };
  const LoraSet loras = set_of({layer});
  const Tensor found = build(base).forward(with(&loras), x), wanted = build(changed).forward(with(nullptr), x);
  expect_near(device->download(found), device->download(wanted));
  EXPECT_EQ(device->download(found.columns(0, 4)), device->download(wanted.columns(0, 4)));
}

TEST_F(LoraTest, OfADownsamplerFollowsItsStride) {
  const std::string module = "down_blocks.0.downsamplers.0";
  TestWeights base, changed;
  base.add_random(module + ".conv.weight", {4, 4, 3, 3});
  base.add_random(module + ".conv.bias", {4});
  const LoraLayer layer{"unet." + module + ".conv", random_tensor({kRank, 4, 3, 3}, 30),
                        random_tensor({4, kRank, 1, 1}, 31), kAlpha};
  for (const auto& [name, entry] : base.entries())
    changed.add(name, name.ends_with(".weight") ? merged(entry.tensor, layer) : entry.tensor, name);
  const auto build = [&](const WeightSource& source) {
    return Downsample(LayerScope{*device, WeightScope(source), "unet"} / module, 4, DownsamplePadding::both_sides);
  };
  const Tensor x = random_input(*device, {1, 5, 6, 4}, 32);
  const LoraSet loras = set_of({layer});
  expect_near(device->download(build(base).forward(with(&loras), x)),
              device->download(build(changed).forward(with(nullptr), x)));
}

TEST_F(LoraTest, OfAnUpsamplerSeesTheEnlargedInput) {
  const std::string module = "up_blocks.0.upsamplers.0";
  TestWeights base, changed;
  base.add_random(module + ".conv.weight", {4, 4, 3, 3});
  base.add_random(module + ".conv.bias", {4});
  const LoraLayer layer{"unet." + module + ".conv", random_tensor({kRank, 4, 3, 3}, 40),
                        random_tensor({4, kRank, 1, 1}, 41), kAlpha};
  for (const auto& [name, entry] : base.entries())
    changed.add(name, name.ends_with(".weight") ? merged(entry.tensor, layer) : entry.tensor, name);
  const auto build = [&](const WeightSource& source) {
    return Upsample(LayerScope{*device, WeightScope(source), "unet"} / module, 4);
  };
  const Tensor x = random_input(*device, {1, 3, 2, 4}, 42);
  const LoraSet loras = set_of({layer});
  const Size size{3, 5};
  expect_near(device->download(build(base).forward(with(&loras), x, size)),
              device->download(build(changed).forward(with(nullptr), x, size)));
}

TEST_F(LoraTest, FollowsTheScaleOfTheProductItIsPartOf) {
  TestWeights base, changed;
  base.add_random("m.weight", {4, 6});
  const LoraLayer layer = linear_layer("unet.m", 6, 4, 50);
  changed.add("m.weight", merged(base.get("m.weight", {4, 6}), layer), "m.weight");
  const Tensor x = random_input(*device, {2, 6}, 51), addend = random_input(*device, {2, 4}, 52);
  Epilogue epilogue;
  epilogue.scale = 0.25f;
  epilogue.addend = &addend;
  const auto run = [&](const WeightSource& source, const LoraSet* loras) {
    const Linear linear(LayerScope{*device, WeightScope(source), "unet"} / "m", 6, 4, Bias::none);
    return device->download(linear.forward(with(loras), x, epilogue));
  };
  const LoraSet loras = set_of({layer});
  expect_near(run(base, &loras), run(changed, nullptr));
}

TEST_F(LoraTest, OfSeveralAdaptersReachesEachTheirOwnImages) {
  TestWeights base;
  base.add_random("m.weight", {4, 6});
  const Linear linear(LayerScope{*device, WeightScope(base), "unet"} / "m", 6, 4, Bias::none);
  const Tensor x = random_input(*device, {4, 3, 6}, 60);
  const auto first = std::make_shared<LoraAdapter>(*device, std::vector{linear_layer("unet.m", 6, 4, 61)});
  const auto second = std::make_shared<LoraAdapter>(*device, std::vector{linear_layer("unet.m", 6, 4, 63)});
  LoraSet batch;
  batch.add(first, 0.5f, 0, 2);   // images 0 and 1
  batch.add(second, 0.7f, 1, 3);  // images 1 and 2
  const Tensor together = linear.forward(with(&batch), x);
  for (int64_t image = 0; image < 4; ++image) {
    LoraSet alone;
    if (image < 2) alone.add(first, 0.5f);
    if (image == 1 || image == 2) alone.add(second, 0.7f);
    EXPECT_EQ(device->download(together.images(image, image + 1)),
              device->download(linear.forward(with(&alone), x.images(image, image + 1))))
        << "image " << image;
  }
}

// --- LoHa ---

struct HadamardCase {
  const char* name;
  Shape weight;
  const char* module;
  bool factored;  // whether the joint factors are less work than the plain matrix
};

void PrintTo(const HadamardCase& c, std::ostream* out) {
  *out << c.name;
}

constexpr int64_t kSecondRank = 3;

LoraLayer hadamard_layer(const HadamardCase& c, uint32_t seed) {
  const auto down = [&](int64_t rank, uint32_t number) {
    Shape shape = c.weight;
    shape.set(0, rank);
    return random_tensor(shape, seed + number);
  };
  LoraLayer layer{std::string("unet.") + c.module, down(kRank, 0), random_tensor({c.weight[0], kRank}, seed + 1),
                  kAlpha};
  layer.second_down = down(kSecondRank, 2);
  layer.second_up = random_tensor({c.weight[0], kSecondRank}, seed + 3);
  return layer;
}

// weight + strength * alpha / rank * (up * down) o (second_up * second_down), number by number.
HostTensor merged_hadamard(const HostTensor& weight, const LoraLayer& layer) {
  std::vector<float> out = weight.to_f32();
  const int64_t columns = weight.shape.elements() / weight.shape[0];
  const auto number_of = [&](const HostTensor& up, const HostTensor& down, int64_t row, int64_t column) {
    const int64_t rank = up.shape[1];
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r)
      sum += double{up.to_f32()[static_cast<size_t>(row * rank + r)]} *
             double{down.to_f32()[static_cast<size_t>(r * columns + column)]};
    return sum;
  };
  for (int64_t o = 0; o < weight.shape[0]; ++o)
    for (int64_t i = 0; i < columns; ++i)
      out[static_cast<size_t>(o * columns + i)] +=
          static_cast<float>(kStrength * kAlpha / kRank * number_of(layer.up, layer.down, o, i) *
                             number_of(layer.second_up, layer.second_down, o, i));
  return HostTensor::from_f32(std::move(out), weight.shape);
}

class HadamardTest : public LoraTest, public testing::WithParamInterface<HadamardCase> {
 protected:
  using Forward = std::function<Tensor(const Context& context, const Tensor& x)>;

  // The module over these weights.
  Forward module_over(const HostTensor& weight) {
    auto source = std::make_shared<TestWeights>();
    const std::string module = GetParam().module;
    const bool downsampler = module.ends_with(".conv");
    source->add(module + ".weight", weight, "weight");
    if (downsampler) source->add(module + ".bias", random_tensor({weight.shape[0]}, 7), "bias");
    const LayerScope scope{*device, WeightScope(*source), "unet"};
    const int64_t out = weight.shape[0], in = weight.shape[1];
    if (downsampler) {
      auto layer =
          std::make_shared<Downsample>(scope / module.substr(0, module.rfind('.')), in, DownsamplePadding::both_sides);
      return [layer, source](const Context& context, const Tensor& x) { return layer->forward(context, x); };
    }
    if (weight.shape.rank() == 2) {
      auto layer = std::make_shared<Linear>(scope / module, in, out, Bias::none);
      return [layer, source](const Context& context, const Tensor& x) { return layer->forward(context, x); };
    }
    ConvGeometry geometry;
    geometry.kernel = weight.shape[2];
    geometry.pad_before = geometry.pad_after = geometry.kernel / 2;
    auto layer = std::make_shared<Conv2d>(scope / module, in, out, geometry, Bias::none);
    return [layer, source](const Context& context, const Tensor& x) { return layer->forward(context, x); };
  }
  Tensor input(int64_t images = 1) {
    const Shape& weight = GetParam().weight;
    return weight.rank() == 2 ? random_input(*device, {images, 5, weight[1]}, 5)
                              : random_input(*device, {images, 5, 6, weight[1]}, 5);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Layers, HadamardTest,
    testing::Values(HadamardCase{"SmallMatrix", {4, 6}, "m", false}, HadamardCase{"LargeMatrix", {24, 30}, "m", true},
                    HadamardCase{"PointwiseConvolution", {4, 6, 1, 1}, "m", false},
                    HadamardCase{"SmallConvolution", {4, 3, 3, 3}, "m", false},
                    HadamardCase{"LargeConvolution", {20, 4, 3, 3}, "m", true},
                    HadamardCase{"DownsamplerOfStride2", {4, 4, 3, 3}, "down_blocks.0.downsamplers.0.conv", false},
                    HadamardCase{
                        "LargeDownsamplerOfStride2", {16, 16, 3, 3}, "down_blocks.0.downsamplers.0.conv", true}),
    [](const auto& info) { return info.param.name; });

TEST_P(HadamardTest, GivesWhatThePlainChangeOfTheWeightGives) {
  const HostTensor weight = random_tensor(GetParam().weight, 1);
  const LoraLayer layer = hadamard_layer(GetParam(), 90);
  const LoraSet loras = set_of({layer});
  const Tensor x = input();
  expect_near(device->download(module_over(weight)(with(&loras), x)),
              device->download(module_over(merged_hadamard(weight, layer))(with(nullptr), x)));
}

TEST_P(HadamardTest, IsMultipliedOutWhereThatIsLessWork) {
  const LoraAdapter adapter(*device, std::vector{hadamard_layer(GetParam(), 90)});
  const LoraAdapter::Branch* branch = adapter.find(std::string("unet.") + GetParam().module);
  ASSERT_NE(branch, nullptr);
  EXPECT_EQ(branch->up != nullptr, GetParam().factored);
}

TEST_P(HadamardTest, ChangesItsOwnImagesOfABatchOnly) {
  const HostTensor weight = random_tensor(GetParam().weight, 1);
  const auto adapter = std::make_shared<LoraAdapter>(*device, std::vector{hadamard_layer(GetParam(), 90)});
  const auto other = std::make_shared<LoraAdapter>(*device, std::vector{hadamard_layer(GetParam(), 190)});
  const Forward forward = module_over(weight);
  LoraSet batch;
  batch.add(adapter, 0.5f, 1, 3);
  batch.add(other, 0.25f, 2, 4);
  const Tensor x = input(4), together = forward(with(&batch), x);
  for (int64_t image = 0; image < 4; ++image) {
    LoraSet alone;
    if (image == 1 || image == 2) alone.add(adapter, 0.5f);
    if (image >= 2) alone.add(other, 0.25f);
    EXPECT_EQ(device->download(together.images(image, image + 1)),
              device->download(forward(with(&alone), x.images(image, image + 1))))
        << "image " << image;
  }
}

TEST_F(LoraTest, LeavesOtherModulesAlone) {
  TestWeights base;
  base.add_random("m.weight", {4, 6});
  const Linear linear(LayerScope{*device, WeightScope(base), "controlnet"} / "m", 6, 4, Bias::none);
  const Tensor x = random_input(*device, {1, 6}, 70);
  const LoraSet loras = set_of({linear_layer("unet.m", 6, 4, 71)});
  EXPECT_EQ(device->download(linear.forward(with(&loras), x)), device->download(linear.forward(with(nullptr), x)));
}

TEST_F(LoraTest, ThatChangesAModuleTwiceIsRefused) {
  const std::vector<LoraLayer> layers = {linear_layer("unet.m", 6, 4, 80), linear_layer("unet.m", 6, 4, 82)};
  EXPECT_THROW(LoraAdapter(*device, layers), Error);
}

}  // namespace
}  // namespace dreamlab
