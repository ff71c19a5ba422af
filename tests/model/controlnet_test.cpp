#include "model/controlnet.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "weights/checkpoint.h"
#include "weights/networks.h"

namespace dreamlab {
namespace {

// A ControlNet, its UNet and the inputs of its record.
struct ControlNetFixture {
  explicit ControlNetFixture(const std::string& model)
      : device(make_reference_device()),
        context{*device, nullptr, nullptr, nullptr},
        checkpoint(Checkpoint::open(model_path(model))),
        file(open_controlnet(golden_dir() / "models" / (model + "-controlnet"))),
        record(model + "/controlnet.safetensors"),
        unet(*device, checkpoint->config().unet, checkpoint->unet()),
        controlnet(*device, file.config, *file.weights) {
    const Tensor states = record.upload(*device, "encoder_hidden_states");
    control_text = controlnet.project_text(context, states);
    unet_text = unet.project_text(context, states);
    input.sample = unet_input.sample = record.upload(*device, "sample");
    input.timesteps = unet_input.timesteps = {static_cast<float>(record.ids("timestep")[0])};
    if (record.contains("text_embeds")) {
      input.added = {record.upload(*device, "text_embeds"), record.values("time_ids")};
      unet_input.added = input.added;
    }
    input.condition = controlnet.embed_condition(context, record.upload(*device, "controlnet_cond"));
    input.text = &control_text;
    unet_input.text = &unet_text;
  }

  std::unique_ptr<Device> device;
  Context context;
  std::unique_ptr<Checkpoint> checkpoint;
  NetworkFile<ControlNetConfig> file;
  GoldenRecord record;
  UNet unet;
  ControlNet controlnet;
  TextContext control_text, unet_text;
  ControlNetInput input;
  UNetInput unet_input;
};

class ControlNetRecords : public testing::TestWithParam<std::string> {};

TEST_P(ControlNetRecords, AgreeInEveryResidualAndSteerTheUNet) {
  ControlNetFixture f(GetParam());
  double worst = expect_matches(*f.device, f.input.condition, f.record, "cond_embedding");
  const ControlResiduals full = f.controlnet.forward(f.context, f.input);
  for (size_t i = 0; i < full.down.size(); ++i)
    worst =
        std::max(worst, expect_matches(*f.device, full.down[i], f.record, "scale1.0/down_res." + std::to_string(i)));
  EXPECT_FALSE(f.record.contains("scale1.0/down_res." + std::to_string(full.down.size())));
  worst = std::max(worst, expect_matches(*f.device, full.mid, f.record, "scale1.0/mid_res"));

  for (const float scale : {1.0f, 0.6f}) {
    f.input.scale = scale;
    const ControlResiduals residuals = f.controlnet.forward(f.context, f.input);
    f.unet_input.control_residuals = &residuals;
    const std::string name = scale == 1.0f ? "scale1.0/unet_out" : "scale0.6/unet_out";
    worst = std::max(worst, expect_matches(*f.device, f.unet.forward(f.context, f.unet_input), f.record, name));
  }
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, ControlNetRecords, testing::ValuesIn(models_with("controlnet.safetensors")),
                         test_name);

TEST(ControlNet, AddsUpWithAnother) {
  ControlNetFixture f("tiny-sd15");
  f.input.scale = 0.5f;
  ControlResiduals sum = f.controlnet.forward(f.context, f.input);
  sum.add(*f.device, ControlResiduals(sum));
  expect_matches(*f.device, sum.mid, f.record, "scale1.0/mid_res");
  expect_matches(*f.device, sum.down[4], f.record, "scale1.0/down_res.4");
}

TEST(ControlNet, RefusesAPictureOfAnotherSizeThanTheLatents) {
  ControlNetFixture f("tiny-sd15");
  const Tensor picture = f.device->upload(std::vector<float>(3 * 64 * 64), Shape{1, 64, 64, 3});
  f.input.condition = f.controlnet.embed_condition(f.context, picture);
  try {
    f.controlnet.forward(f.context, f.input);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_THAT(error.what(), testing::HasSubstr("the picture must have 8 times their size"));
  }
}

TEST(ControlNet, CannotSteerAUNetOfAnotherShape) {
  ControlNetFixture f("tiny-sd15");
  ControlResiduals residuals = f.controlnet.forward(f.context, f.input);
  residuals.down.pop_back();
  f.unet_input.control_residuals = &residuals;
  EXPECT_THROW(f.unet.forward(f.context, f.unet_input), Error);
}

}  // namespace
}  // namespace dreamlab
