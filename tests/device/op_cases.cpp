#include "device/op_cases.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "device/reference/reference_device.h"

namespace dreamlab {
namespace {

OpCase conv_case(std::string name, Shape x, int64_t out, ConvGeometry g, std::optional<Size> upsample = std::nullopt) {
  return {std::move(name), [=](Device& device, Inputs& in) {
            const HostTensor bias = in.host(Shape{out});
            const auto w = device.pack_conv(in.host(Shape{out, x[-1], g.kernel, g.kernel},
                                                    1.0f / std::sqrt(static_cast<float>(x[-1] * g.kernel * g.kernel))),
                                            &bias, g);
            return device.conv2d(in.tensor(x), *w, {}, upsample);
          }};
}

OpCase conv_epilogue_case(std::string name, Shape x, int64_t out_channels, float weight_scale) {
  return {std::move(name), [=](Device& device, Inputs& in) {
            const HostTensor bias = in.host(Shape{out_channels});
            const auto w = device.pack_conv(in.host(Shape{out_channels, x[-1], 3, 3}, weight_scale), &bias, {});
            const Shape out{x[0], x[1], x[2], out_channels};
            const Tensor addend = in.tensor(out), image_bias = in.tensor(Shape{x[0], out_channels}),
                         residual = in.tensor(out);
            return device.conv2d(in.tensor(x), *w,
                                 {.scale = 0.7f,
                                  .addend = &addend,
                                  .image_bias = &image_bias,
                                  .activation = Activation::silu,
                                  .residual = &residual});
          }};
}

OpCase linear_case(std::string name, Shape x, int64_t out) {
  return {std::move(name), [=](Device& device, Inputs& in) {
            const HostTensor bias = in.host(Shape{out});
            const auto w =
                device.pack_linear(in.host(Shape{out, x[-1]}, 1.0f / std::sqrt(static_cast<float>(x[-1]))), &bias);
            return device.linear(in.tensor(x), *w);
          }};
}

OpCase attention_case(std::string name, Shape q, int64_t keys, int64_t heads, bool causal = false) {
  return {std::move(name), [=](Device& device, Inputs& in) {
            const Shape kv{q[0], keys, q[2]};
            return device.attention(in.tensor(q, 1.5f), in.tensor(kv, 1.5f), in.tensor(kv), heads, causal);
          }};
}

OpCase activation_case(std::string name, Activation activation) {
  return {std::move(name), [=](Device& device, Inputs& in) {
            return device.activate(in.tensor(Shape{2, 5, 37}, 3.0f), activation);
          }};
}

}  // namespace

std::vector<OpCase> op_cases() {
  std::vector<OpCase> cases = {
      conv_case("conv 3x3 by Winograd", {1, 16, 20, 64}, 96, {3, 1, 1, 1}),
      conv_case("conv 3x3 by Winograd, sizes that are no multiple of anything", {2, 13, 11, 37}, 45, {3, 1, 1, 1}),
      conv_case("conv 3x3 by Winograd, one pixel", {3, 1, 1, 8}, 8, {3, 1, 1, 1}),
      conv_case("conv 3x3 of 4 to 320 channels", {1, 24, 16, 4}, 320, {3, 1, 1, 1}),
      conv_case("conv 3x3 of 320 to 4 channels", {1, 24, 16, 320}, 4, {3, 1, 1, 1}),
      conv_case("conv 3x3 with nearest upsampling", {2, 6, 7, 32}, 48, {3, 1, 1, 1}, Size{14, 12}),
      conv_case("conv 3x3 with upsampling to an odd size", {1, 3, 2, 40}, 24, {3, 1, 1, 1}, Size{4, 5}),
      conv_case("conv 3x3 that expects twice the size", {2, 6, 7, 32}, 48, {3, 1, 1, 1, true}, Size{14, 12}),
      conv_case("conv 3x3 that expects twice the size and gets another", {1, 3, 2, 40}, 24, {3, 1, 1, 1, true},
                Size{4, 5}),
      conv_case("conv 3x3 of few pixels and many channels", {2, 8, 8, 640}, 320, {3, 1, 1, 1}),
      conv_case("conv 3x3 of many tiles", {1, 96, 96, 64}, 320, {3, 1, 1, 1}),
      conv_case("conv 3x3 by columns", {2, 9, 10, 48}, 704, {3, 1, 1, 1}),
      conv_case("conv 3x3 by columns with upsampling", {1, 3, 2, 24}, 704, {3, 1, 1, 1}, Size{4, 5}),
      conv_case("conv 3x3 of stride 2", {2, 9, 12, 33}, 40, {3, 2, 1, 1}),
      conv_case("conv 3x3 of stride 2 padded right and bottom", {1, 12, 10, 32}, 32, {3, 2, 0, 1}),
      conv_case("conv 1x1", {2, 7, 5, 96}, 40, {1, 1, 0, 0}),
      linear_case("linear", {2, 77, 320}, 640),
      linear_case("linear of one row", {3, 1280}, 1280),
      linear_case("linear of odd sizes", {2, 130, 37}, 41),
      linear_case("linear of many rows", {1, 700, 64}, 2048),
      attention_case("attention, head size 40", {1, 130, 8 * 40}, 130, 8),
      attention_case("attention, head size 64", {2, 256, 10 * 64}, 256, 10),
      attention_case("attention, head size 64, over several blocks", {1, 700, 2 * 64}, 650, 2),
      attention_case("attention, head size 64 to text", {2, 200, 3 * 64}, 77, 3),
      attention_case("attention, head size 80 to text", {2, 64, 8 * 80}, 77, 8),
      attention_case("attention, head size 160", {1, 30, 2 * 160}, 154, 2),
      attention_case("attention, one head of 512", {1, 400, 512}, 400, 1),
      attention_case("attention, head size 8", {1, 24, 4 * 8}, 77, 4),
      attention_case("causal attention", {3, 77, 12 * 64}, 77, 12, true),
      attention_case("causal attention over several blocks of keys", {1, 400, 2 * 32}, 400, 2, true),
      attention_case("causal attention, head size 64, over several blocks", {1, 400, 2 * 64}, 400, 2, true),
      conv_epilogue_case("conv with every part of an epilogue", {2, 6, 9, 24}, 40, 0.1f),
      conv_epilogue_case("conv of few pixels with every part of an epilogue", {2, 6, 7, 320}, 168, 0.02f),
      activation_case("silu", Activation::silu),
      activation_case("gelu", Activation::gelu),
      activation_case("quick gelu", Activation::quick_gelu),
      activation_case("relu", Activation::relu),
      activation_case("leaky relu", Activation::leaky_relu),
      activation_case("tanh", Activation::tanh),
      activation_case("sigmoid", Activation::sigmoid),
  };
  cases.push_back(
      {"linear with every part of an epilogue", [](Device& device, Inputs& in) {
         const auto w = device.pack_linear(in.host(Shape{72, 48}, 0.2f), nullptr);
         const Shape out{2, 150, 72};
         const Tensor addend = in.tensor(out), image_bias = in.tensor(Shape{2, 72}), residual = in.tensor(out);
         return device.linear(in.tensor(Shape{2, 150, 48}), *w,
                              {.scale = 1.3f,
                               .addend = &addend,
                               .image_bias = &image_bias,
                               .activation = Activation::quick_gelu,
                               .residual = &residual});
       }});
  for (int64_t inner : {int64_t{128}, int64_t{2560}, int64_t{50}}) {
    cases.push_back({fmt::format("linear_geglu, inner {}", inner), [inner](Device& device, Inputs& in) {
                       const HostTensor bias = in.host(Shape{2 * inner});
                       const auto w = device.pack_geglu(in.host(Shape{2 * inner, 320}, 0.06f), &bias);
                       const Tensor addend = in.tensor(Shape{2, 131, 2 * inner});
                       return device.linear_geglu(in.tensor(Shape{2, 131, 320}), *w, &addend);
                     }});
  }
  cases.push_back({"linear_geglu by itself", [](Device& device, Inputs& in) {
                     const HostTensor bias = in.host(Shape{2 * 320});
                     const auto w = device.pack_geglu(in.host(Shape{2 * 320, 80}, 0.1f), &bias);
                     return device.linear_geglu(in.tensor(Shape{2, 131, 80}), *w);
                   }});
  cases.push_back({"attention on column views", [](Device& device, Inputs& in) {
                     const Tensor qkv = in.tensor(Shape{2, 40, 3 * 64});
                     return device.attention(qkv.columns(0, 64), qkv.columns(64, 128), qkv.columns(128, 192), 2, false);
                   }});
  for (const auto& [shape, groups] : {std::pair<Shape, int64_t>{{2, 17, 13, 96}, 32},
                                      {{1, 64, 64, 320}, 32},
                                      {{3, 5, 32}, 32},
                                      {{2, 33, 31, 640}, 32},
                                      {{1, 256, 1280}, 32},
                                      {{1, 24, 24, 128}, 32},
                                      {{1, 9, 9, 960}, 32},
                                      {{1, 200, 200, 256}, 32}})
    cases.push_back({fmt::format("group_norm of {}", shape.to_string()),
                     [shape = shape, groups = groups](Device& device, Inputs& in) {
                       const NormWeights norm = in.norm(shape[-1]);
                       // Far from zero, where a careless variance loses its digits.
                       std::vector<float> values = in.values(shape.elements());
                       for (float& v : values) v = static_cast<float>(BFloat16::from_float(v + 5.0f));
                       return device.group_norm(device.upload(values, shape), norm, groups, Activation::silu);
                     }});
  cases.push_back({"group_norm of a tensor that is kept", [](Device& device, Inputs& in) {
                     const NormWeights norm = in.norm(96);
                     const Tensor x = in.tensor(Shape{2, 17, 13, 96});
                     const Tensor y = device.group_norm(x, norm, 32, Activation::silu);
                     return device.concat_channels(x, y);  // x is as it was
                   }});
  cases.push_back({"group_norm of an image whose batch is kept", [](Device& device, Inputs& in) {
                     const NormWeights norm = in.norm(96);
                     const Tensor x = in.tensor(Shape{2, 17, 13, 96});
                     const Tensor y = device.group_norm(x.images(1, 2), norm, 32);
                     return device.concat_channels(x.images(1, 2), y);
                   }});
  cases.push_back({"layer_norm", [](Device& device, Inputs& in) {
                     const NormWeights norm = in.norm(333);
                     return device.layer_norm(in.tensor(Shape{2, 50, 333}, 4.0f), norm);
                   }});
  cases.push_back({"concat_channels", [](Device& device, Inputs& in) {
                     return device.concat_channels(in.tensor(Shape{2, 5, 6, 24}), in.tensor(Shape{2, 5, 6, 40}));
                   }});
  cases.push_back({"add", [](Device& device, Inputs& in) {
                     return device.add(in.tensor(Shape{2, 5, 61}), in.tensor(Shape{2, 5, 61}), -0.37f);
                   }});
  cases.push_back({"embed_tokens", [](Device& device, Inputs& in) {
                     const std::vector<int32_t> ids = {0, 5, 9, 9, 3, 1};
                     return device.embed_tokens(ids, 2, in.tensor(Shape{10, 33}), in.tensor(Shape{4, 33}));
                   }});
  return cases;
}

namespace {

double largest_difference(const std::vector<float>& a, const std::vector<float>& b, double& largest_value) {
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return INFINITY;
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i]));
    largest_value = std::max(largest_value, std::abs(static_cast<double>(b[i])));
  }
  return difference;
}

}  // namespace

void expect_agreement(const OpCase& op, Device& device, double tolerance) {
  const auto reference = make_reference_device();
  Inputs device_inputs(device), reference_inputs(*reference);
  const Tensor got = op.run(device, device_inputs), expected = op.run(*reference, reference_inputs);
  ASSERT_EQ(got.shape(), expected.shape());
  double largest = 0;
  const double difference = largest_difference(device.download(got), reference->download(expected), largest);
  EXPECT_LE(difference, tolerance * largest)
      << op.name << " on " << device.description() << ": off by " << difference << " of " << largest;
}

}  // namespace dreamlab
