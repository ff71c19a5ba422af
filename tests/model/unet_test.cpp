#include "model/unet.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "layer/timestep_embedding.h"
#include "weights/checkpoint.h"
#include "weights/tensor_map.h"

namespace dreamlab {
namespace {

using testing::HasSubstr;

// What one case of a unet record holds.
struct Inputs {
  UNetInput input;
  TextContext text;
};

Inputs read_inputs(const Context& context, const UNet& unet, const GoldenRecord& record, const std::string& prefix) {
  Inputs out;
  out.input.sample = record.upload(context.device, prefix + "sample");
  const auto timestep = static_cast<float>(record.ids(prefix + "timestep")[0]);
  out.input.timesteps.assign(static_cast<size_t>(out.input.sample.dim(0)), timestep);
  out.text = unet.project_text(context, record.upload(context.device, prefix + "encoder_hidden_states"));
  if (record.contains(prefix + "text_embeds")) {
    out.input.added.pooled = record.upload(context.device, prefix + "text_embeds");
    out.input.added.time_ids = record.values(prefix + "time_ids");
  }
  return out;
}

Tensor run(const Context& context, const UNet& unet, Inputs& inputs) {
  inputs.input.text = &inputs.text;
  return unet.forward(context, inputs.input);
}

class UNetRecords : public testing::TestWithParam<std::string> {};

TEST_P(UNetRecords, AgreeWithDiffusersAtEveryTap) {
  const auto device = make_reference_device();
  const auto checkpoint = Checkpoint::open(model_path(GetParam()));
  const UNet unet(*device, checkpoint->config().unet, checkpoint->unet());
  const GoldenRecord record(GetParam() + "/unet.safetensors");
  double worst = 0.0;
  std::set<std::string> seen;
  for (const std::string& name : record.cases_with("out")) {
    Context context{*device, nullptr, nullptr, nullptr};
    context.tap = [&](std::string_view path, const Tensor& tensor) {
      const std::string tap = name + "/tap/" + std::string(path);
      if (!record.contains(tap)) return;
      worst = std::max(worst, expect_matches(*device, tensor, record, tap));
      seen.insert(tap);
    };
    Inputs inputs = read_inputs(context, unet, record, name + "/");
    worst = std::max(worst, expect_matches(*device, run(context, unet, inputs), record, name + "/out"));
  }
  for (const std::string& name : record.names())
    if (name.find("/tap/") != std::string::npos) {
      EXPECT_TRUE(seen.contains(name)) << name << " was not reached";
    }
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, UNetRecords, testing::ValuesIn(models_with("unet.safetensors")), test_name);

class UNetTest : public testing::Test {
 protected:
  UNetTest()
      : device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path("tiny-sd15"))),
        unet(*device, checkpoint->config().unet, checkpoint->unet()),
        record("tiny-sd15/unet.safetensors") {}

  Inputs inputs(const std::string& name) { return read_inputs(context(), unet, record, name + "/"); }
  Context context() { return {*device, nullptr, nullptr, nullptr}; }

  void expect_refusal(Inputs& changed, const std::string& message) {
    try {
      run(context(), unet, changed);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  UNet unet;
  GoldenRecord record;
};

TEST_F(UNetTest, ComputesAnImageTheSameAloneAndInABatch) {
  Inputs both = inputs("case2");
  both.input.timesteps = {1.0f, 900.0f};
  const std::vector<float> batch = device->download(run(context(), unet, both));
  for (int64_t image = 0; image < 2; ++image) {
    Inputs one;
    one.input.sample = both.input.sample.images(image, image + 1);
    one.input.timesteps = {both.input.timesteps[static_cast<size_t>(image)]};
    one.text.images = 1;
    for (const Tensor& tensor : both.text.keys_values) one.text.keys_values.push_back(tensor.images(image, image + 1));
    const std::vector<float> alone = device->download(run(context(), unet, one));
    const size_t first = static_cast<size_t>(image) * alone.size();
    for (size_t i = 0; i < alone.size(); ++i)
      ASSERT_EQ(alone[i], batch[first + i]) << "image " << image << ", value " << i;
  }
}

TEST_F(UNetTest, TakesTheGuidanceEmbeddingOfDistilledModels) {
  const GoldenRecord distilled("tiny-sd15/unet_lcm_cond.safetensors");
  UNetConfig config = checkpoint->config().unet;
  config.time_cond_proj_dim = 64;

  // The model's weights and the one tensor that only the record has.
  struct WithGuidance : WeightSource {
    const WeightSource& base;
    HostTensor extra;
    WithGuidance(const WeightSource& source, HostTensor tensor) : base(source), extra(std::move(tensor)) {}
    static bool is_extra(std::string_view name) { return name == "time_embedding.cond_proj.weight"; }
    HostTensor get(std::string_view name, const Shape& shape) const override {
      return is_extra(name) ? extra : base.get(name, shape);
    }
    bool contains(std::string_view name) const override { return is_extra(name) || base.contains(name); }
    std::optional<Shape> shape_of(std::string_view name) const override {
      return is_extra(name) ? extra.shape : base.shape_of(name);
    }
  };
  const WithGuidance weights(checkpoint->unet(), distilled.host("time_embedding.cond_proj.weight"));
  const UNet guided(*device, config, weights);
  double worst = 0.0;
  for (const std::string name : {"guidance1.0", "guidance8.0"}) {
    Inputs inputs = read_inputs(context(), guided, distilled, "");
    inputs.input.guidance_embedding = guidance_scale_embedding(distilled.values(name + "/w"), 64);
    expect_matches(inputs.input.guidance_embedding, distilled, name + "/timestep_cond");
    worst = std::max(worst, expect_matches(*device, run(context(), guided, inputs), distilled, name + "/out"));
  }
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

TEST_F(UNetTest, RefusesLatentsWithOtherChannels) {
  Inputs changed = inputs("case0");
  changed.input.sample = device->concat_channels(changed.input.sample, changed.input.sample);
  expect_refusal(changed, "latents of [1, 16, 16, 8]; the UNet takes [N, H, W, 4]");
}

TEST_F(UNetTest, RefusesAnotherNumberOfTimestepsThanImages) {
  Inputs changed = inputs("case0");
  changed.input.timesteps.push_back(1.0f);
  expect_refusal(changed, "2 timesteps for 1 images");
}

TEST_F(UNetTest, RefusesTextOfAnotherNumberOfImages) {
  Inputs changed = inputs("case0");
  changed.text = inputs("case2").text;
  expect_refusal(changed, "text states of 2 images for 1 images");
}

TEST_F(UNetTest, RefusesTextStatesOfAnotherModel) {
  const Tensor states = device->upload(std::vector<float>(77 * 48), Shape{1, 77, 48});
  try {
    unet.project_text(context(), states);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("text states of [1, 77, 48]; the UNet takes [N, tokens, 32]"));
  }
}

TEST_F(UNetTest, RefusesAGuidanceEmbeddingItHasNoPlaceFor) {
  Inputs changed = inputs("case0");
  changed.input.guidance_embedding.assign(256, 0.0f);
  expect_refusal(changed, "guidance embedding");
}

TEST_F(UNetTest, StopsWhenCancelled) {
  CancelToken token;
  Context cancelled = context();
  cancelled.cancel = &token;
  Inputs inputs_of_case = inputs("case0");
  token.cancel();
  try {
    run(cancelled, unet, inputs_of_case);
    FAIL() << "went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
  }
}

TEST_F(UNetTest, NamesTheTensorThatIsMissing) {
  const TensorMap nothing("empty.safetensors (UNet)");
  try {
    const UNet broken(*device, checkpoint->config().unet, nothing);
    FAIL() << "built";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_file);
    EXPECT_THAT(error.what(), HasSubstr("time_embedding"));
  }
}

}  // namespace
}  // namespace dreamlab
