// The CUDA device against the reference device, and what only it does. Skipped where there is no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "device/cuda_backend.h"
#include "device/op_cases.h"

namespace dreamlab {
namespace {

std::unique_ptr<Device> gpu(DType dtype, CudaOptions options = {}) {
  options.dtype = dtype;
  return make_cuda_device(options);
}

#define SKIP_WITHOUT_GPU() \
  if (const auto why = why_no_cuda_device()) GTEST_SKIP() << *why

class CudaOps : public testing::TestWithParam<OpCase> {};

TEST_P(CudaOps, AgreesWithTheReferenceInF32) {
  SKIP_WITHOUT_GPU();
  expect_agreement(GetParam(), *gpu(DType::f32), 2e-5);
}

TEST_P(CudaOps, AgreesWithTheReferenceInBf16) {
  SKIP_WITHOUT_GPU();
  expect_agreement(GetParam(), *gpu(DType::bf16), 1.0 / 128);
}

// f16 has three bits more; inputs are exact in it, since bf16 holds them and none is tiny.
TEST_P(CudaOps, AgreesWithTheReferenceInF16) {
  SKIP_WITHOUT_GPU();
  expect_agreement(GetParam(), *gpu(DType::f16), 1.0 / 512);
}

TEST_P(CudaOps, GivesTheSameBitsEachTime) {
  SKIP_WITHOUT_GPU();
  std::vector<float> first;
  for (int run = 0; run < 3; ++run) {
    const auto device = gpu(DType::f16);
    Inputs inputs(*device);
    const std::vector<float> values = device->download(GetParam().run(*device, inputs));
    if (first.empty()) first = values;
    EXPECT_EQ(first, values);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaOps, testing::ValuesIn(op_cases()),
                         [](const testing::TestParamInfo<OpCase>& info) { return std::to_string(info.index); });

// An operation on images [N, ...] of full-size networks, whose result must not depend on N.
struct BatchCase {
  std::string name;
  Shape image;  // of one image, without N
  std::function<std::function<Tensor(const Tensor&)>(Device&, Inputs&)> make;
};
void PrintTo(const BatchCase& batch, std::ostream* out) {
  *out << batch.name;
}

BatchCase conv_batch(std::string name, Shape image, int64_t out, ConvGeometry geometry = {}) {
  return {std::move(name), image, [=](Device& device, Inputs& in) {
            const float scale = 1.0f / static_cast<float>(3 * std::sqrt(image[-1]));
            const HostTensor bias = in.host(Shape{out});
            std::shared_ptr<ConvWeights> weights = device.pack_conv(
                in.host(Shape{out, image[-1], geometry.kernel, geometry.kernel}, scale), &bias, geometry);
            return [&device, weights](const Tensor& x) { return device.conv2d(x, *weights); };
          }};
}

BatchCase linear_batch(std::string name, Shape image, int64_t out) {
  return {std::move(name), image, [=](Device& device, Inputs& in) {
            const HostTensor bias = in.host(Shape{out});
            std::shared_ptr<LinearWeights> weights = device.pack_linear(
                in.host(Shape{out, image[-1]}, 1.0f / std::sqrt(static_cast<float>(image[-1]))), &bias);
            return [&device, weights](const Tensor& x) { return device.linear(x, *weights); };
          }};
}

BatchCase attention_batch(std::string name, Shape image, int64_t heads) {
  return {std::move(name), image, [=](Device& device, Inputs&) {
            return [&device, heads](const Tensor& x) { return device.attention(x, x, x, heads); };
          }};
}

std::vector<BatchCase> batch_cases() {
  return {
      conv_batch("3x3 at 32x32", {32, 32, 1280}, 1280),
      conv_batch("3x3 at 128x128", {128, 128, 320}, 320),
      conv_batch("3x3 at 8x8", {8, 8, 1280}, 1280),
      conv_batch("3x3 at 16x16", {16, 16, 640}, 1280),
      conv_batch("3x3 of 4 channels", {64, 64, 4}, 320),
      conv_batch("3x3 to 4 channels", {64, 64, 320}, 4),
      conv_batch("halving", {64, 64, 640}, 640, {3, 2, 1, 1}),
      linear_batch("product of 1,024 tokens", {1024, 1280}, 1280),
      linear_batch("product of 77 tokens", {77, 2048}, 1280),
      linear_batch("product of one row", {1280}, 1280),
      attention_batch("attention of 1,024 tokens", {1024, 1280}, 20),
      attention_batch("attention of 77 tokens", {77, 1280}, 20),
      attention_batch("attention with heads of 40", {256, 320}, 8),
      attention_batch("attention with a head of 512", {256, 512}, 1),
      {"enlarging",
       {24, 24, 320},
       [](Device& device, Inputs& in) {
         std::shared_ptr<ConvWeights> weights =
             device.pack_conv(in.host(Shape{320, 320, 3, 3}, 0.02f), nullptr, {.enlarges = true});
         return [&device, weights](const Tensor& x) { return device.conv2d(x, *weights, {}, Size{48, 48}); };
       }},
      {"geglu",
       {256, 640},
       [](Device& device, Inputs& in) {
         const HostTensor bias = in.host(Shape{5120});
         std::shared_ptr<LinearWeights> weights = device.pack_geglu(in.host(Shape{5120, 640}, 0.04f), &bias);
         return [&device, weights](const Tensor& x) { return device.linear_geglu(x, *weights); };
       }},
      {"group_norm",
       {32, 32, 640},
       [](Device& device, Inputs& in) {
         const NormWeights norm = in.norm(640);
         return [&device, norm](const Tensor& x) { return device.group_norm(x, norm, 32, Activation::silu); };
       }},
      {"layer_norm",
       {1024, 1280},
       [](Device& device, Inputs& in) {
         const NormWeights norm = in.norm(1280);
         return [&device, norm](const Tensor& x) { return device.layer_norm(x, norm); };
       }},
  };
}

class CudaBatches : public testing::TestWithParam<BatchCase> {};

TEST_P(CudaBatches, ChangeNoBitOfAnImage) {
  SKIP_WITHOUT_GPU();
  for (DType dtype : {DType::f16, DType::bf16}) {
    const auto device = gpu(dtype);
    Inputs inputs(*device);
    const auto operation = GetParam().make(*device, inputs);
    std::vector<int64_t> dims = {5};
    dims.insert(dims.end(), GetParam().image.dims().begin(), GetParam().image.dims().end());
    const Tensor images = inputs.tensor(Shape(std::span<const int64_t>(dims)));
    const std::vector<float> together = device->download(operation(images));
    for (int64_t count : {1, 2}) {
      for (int64_t first = 0; first + count <= 5; ++first) {
        const std::vector<float> some = device->download(operation(images.images(first, first + count)));
        const auto begin = together.begin() + static_cast<int64_t>(together.size()) / 5 * first;
        EXPECT_TRUE(std::equal(some.begin(), some.end(), begin))
            << count << " from " << first << " on of 5, in " << name_of(dtype);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaBatches, testing::ValuesIn(batch_cases()),
                         [](const testing::TestParamInfo<BatchCase>& info) { return std::to_string(info.index); });

// Work that is repeated from a recording, on other inputs and between other work.
TEST(CudaRecordings, GiveWhatTheWorkGives) {
  SKIP_WITHOUT_GPU();
  const auto device = gpu(DType::f16), plain = gpu(DType::f16, {.recordings = false});
  const auto run = [](Device& on) {
    Inputs inputs(on);
    const NormWeights norm = inputs.norm(64);
    const auto conv = on.pack_conv(inputs.host(Shape{64, 64, 3, 3}, 0.04f), nullptr, {});
    const auto linear = on.pack_linear(inputs.host(Shape{64, 64}, 0.1f), nullptr);
    const auto work = [&](std::span<const Tensor> x) {
      const Tensor y = on.conv2d(on.group_norm(x[0], norm, 32, Activation::silu), *conv);
      return on.linear(y, *linear, {.addend = &x[1], .residual = &x[0]});
    };
    const Tensor constant = inputs.tensor(Shape{2, 16, 16, 64});
    std::vector<std::vector<float>> results;
    for (int i = 0; i < 6; ++i) {
      const Tensor inputs_now[] = {inputs.tensor(Shape{2, 16, 16, 64}), constant};
      const Tensor result = on.repeat("work", inputs_now, work);
      const Tensor between = work(inputs_now);  // reuses memory that is free
      results.push_back(on.download(result));
      results.push_back(on.download(between));
    }
    return results;
  };
  const auto repeated = run(*device), expected = run(*plain);
  EXPECT_EQ(repeated, expected);
  for (size_t i = 0; i < repeated.size(); i += 2) EXPECT_EQ(repeated[i], repeated[i + 1]) << "repetition " << i / 2;
  EXPECT_EQ(device->operations_issued(), plain->operations_issued());
}

TEST(CudaRecordings, ThatCannotBeMadeAreDoneWithout) {
  SKIP_WITHOUT_GPU();
  const auto device = gpu(DType::f16);
  const auto work = [&](std::span<const Tensor> x) {
    const std::vector<float> ones(8, 1.0f);
    return device->add(x[0], device->upload(ones, Shape{8}));  // an upload cannot be repeated
  };
  for (float start : {1.0f, 2.0f, 3.0f, 4.0f}) {
    const Tensor input[] = {device->upload(std::vector<float>(8, start), Shape{8})};
    EXPECT_EQ(device->download(device->repeat("work", input, work)), std::vector<float>(8, start + 1));
  }
}

// Groups that come and go give what weights give that stay; a group that is away is not used by mistake.
TEST(CudaOffload, GivesTheSameBits) {
  SKIP_WITHOUT_GPU();
  struct Layer {
    std::shared_ptr<WeightGroup> group;
    std::unique_ptr<ConvWeights> conv;
    std::unique_ptr<LinearWeights> linear;
  };
  std::vector<std::vector<float>> results;
  for (Offload offload : {Offload::none, Offload::model, Offload::stream}) {
    const auto device = gpu(DType::f16, {.offload = offload});
    Inputs inputs(*device);
    std::vector<Layer> layers;
    for (int i = 0; i < 6; ++i) {
      Layer layer;
      layer.group = device->begin_group(i == 0 ? WeightGroupKind::network : WeightGroupKind::block);
      layer.conv = device->pack_conv(inputs.host(Shape{64, 64, 3, 3}, 0.04f), nullptr, {});
      layer.linear = device->pack_linear(inputs.host(Shape{64, 64}, 0.1f), nullptr);
      if (layer.group != nullptr) device->end_group();
      layers.push_back(std::move(layer));
    }
    EXPECT_EQ(layers[0].group == nullptr, offload == Offload::none);
    EXPECT_EQ(layers[1].group == nullptr, offload != Offload::stream);
    Tensor x = inputs.tensor(Shape{1, 32, 32, 64});
    for (int pass = 0; pass < 4; ++pass) {
      for (const Layer& layer : layers) {
        if (layer.group != nullptr) device->enter_group(*layer.group);
        x = device->linear(device->conv2d(x, *layer.conv), *layer.linear);
        if (layer.group != nullptr) device->leave_group(*layer.group);
      }
    }
    if (layers[3].group != nullptr) {
      EXPECT_THROW(device->linear(x, *layers[3].linear), Error);
    }
    results.push_back(device->download(x));
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(CudaDevice, OfAnotherPrecisionSharesItsTensors) {
  SKIP_WITHOUT_GPU();
  const auto device = gpu(DType::f16);
  const auto wide = device->with_dtype(DType::bf16);
  EXPECT_EQ(wide->compute_dtype(), DType::bf16);
  const Tensor x = device->upload(std::vector<float>{1, 2, 3, 4}, Shape{2, 2});
  EXPECT_EQ(wide->download(wide->cast(x, DType::bf16)), (std::vector<float>{1, 2, 3, 4}));
}

TEST(CudaDevice, RefusesWhatGoesPastItsLimitAndGoesOn) {
  SKIP_WITHOUT_GPU();
  const auto device = gpu(DType::f16, {.memory_limit = size_t{256} << 20});
  try {
    device->empty(Shape{1 << 28}, DType::f16);
    FAIL() << "512 MiB of 256";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
  }
  const Tensor x = device->upload(std::vector<float>{1, 2}, Shape{2});
  EXPECT_EQ(device->download(device->activate(x, Activation::relu)), (std::vector<float>{1, 2}));
}

TEST(CudaDevice, ThatIsNotThereIsRefused) {
  SKIP_WITHOUT_GPU();
  try {
    make_cuda_device({.device = 999});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    EXPECT_THAT(error.what(), testing::HasSubstr("999"));
  }
}

#if DREAMLAB_HAS_CUDA_LIBRARY
TEST(CudaBackend, OpensItsLibraryWithOrWithoutGpu) {
  EXPECT_EQ(why_no_cuda_library(), std::nullopt);
}
#endif

TEST(CudaBackend, SaysWhyThereIsNoDevice) {
  const auto why = why_no_cuda_device();
  if (!why) GTEST_SKIP() << "there is one";
  EXPECT_THAT(*why, testing::StartsWith("no CUDA device: "));
  EXPECT_THAT(*why, testing::Not(testing::HasSubstr("\n")));
  try {
    make_cuda_device({});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    EXPECT_EQ(error.what(), *why);
  }
}

TEST(CudaBackend, ReadsNamesOfDevices) {
  EXPECT_EQ(parse_cuda_devices("cuda"), std::vector<int>{0});
  EXPECT_EQ(parse_cuda_devices("cuda:3"), std::vector<int>{3});
  EXPECT_EQ(parse_cuda_devices("cuda:1, cuda:0"), (std::vector<int>{1, 0}));
  for (const char* name : {"", "cpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:0 cuda:1", "cuda:99999999999"}) {
    SCOPED_TRACE(name);
    EXPECT_THROW(parse_cuda_devices(name), Error);
  }
}

}  // namespace
}  // namespace dreamlab
