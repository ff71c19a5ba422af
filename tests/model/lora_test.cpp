#include "layer/lora.h"

#include <gmock/gmock.h>

#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "layer/batch.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "weights/checkpoint.h"
#include "weights/lora_file.h"

namespace dreamlab {
namespace {

constexpr float kStrength = 0.7f;  // of the records

struct LoraFixture {
  explicit LoraFixture(const std::string& model)
      : name(model),
        device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path(model))),
        record(model + "/lora.safetensors"),
        unet(*device, checkpoint->config().unet, checkpoint->unet()) {}

  std::shared_ptr<const LoraAdapter> adapter(const std::string& kind) {
    const auto path = golden_dir() / "models" / (name + "-lora-" + kind + ".safetensors");
    const LoraFile file = LoraFile::open(path, &checkpoint->config());
    EXPECT_TRUE(file.unknown_tensors().empty());
    return std::make_shared<LoraAdapter>(*device, file.layers());
  }

  Tensor run_unet(const LoraSet* loras, int64_t copies = 1) {
    const Context context{*device, loras, nullptr, nullptr};
    const std::vector<Tensor> samples(static_cast<size_t>(copies), record.upload(*device, "sample"));
    const std::vector<Tensor> states(static_cast<size_t>(copies), record.upload(*device, "encoder_hidden_states"));
    const TextContext text = unet.project_text(context, join_images(*device, states));
    UNetInput input;
    input.sample = join_images(*device, samples);
    input.timesteps.assign(static_cast<size_t>(copies), static_cast<float>(record.ids("timestep")[0]));
    input.text = &text;
    if (record.contains("text_embeds"))
      input.added = {record.upload(*device, "text_embeds"), record.values("time_ids")};
    return unet.forward(context, input);
  }

  std::string name;
  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  GoldenRecord record;
  UNet unet;
};

class LoraRecords : public testing::TestWithParam<std::string> {};

TEST_P(LoraRecords, SideBranchesGiveWhatMergedWeightsGive) {
  LoraFixture f(GetParam());
  double worst = expect_matches(*f.device, f.run_unet(nullptr), f.record, "base/out");
  int kinds = 0;
  for (const std::string kind : {"kohya", "peft", "locon"}) {
    if (!f.record.contains(kind + "/unet_out_scale0.7")) continue;
    ++kinds;
    LoraSet loras;
    loras.add(f.adapter(kind), kStrength);
    worst = std::max(worst, expect_matches(*f.device, f.run_unet(&loras), f.record, kind + "/unet_out_scale0.7"));
    for (size_t index = 0; index < f.checkpoint->config().text_encoders.size(); ++index) {
      const std::string te = "te" + std::to_string(index + 1);
      if (!f.record.contains(kind + "/" + te + "/penultimate_scale0.7")) continue;
      const ClipTextEncoder encoder(*f.device, f.checkpoint->config().text_encoders[index],
                                    f.checkpoint->text_encoder(index), index == 0 ? "text_encoder" : "text_encoder_2");
      const TextStates states = encoder.forward({*f.device, &loras, nullptr, nullptr}, f.record.ids(te + "/input_ids"));
      const auto compare = [&](const Tensor& tensor, const std::string& output) {
        worst = std::max(worst, expect_matches(*f.device, tensor, f.record, kind + "/" + te + "/" + output));
      };
      compare(states.last_hidden_state, "last_hidden_state_scale0.7");
      compare(states.hidden_state, "penultimate_scale0.7");
    }
  }
  EXPECT_GT(kinds, 0);
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, LoraRecords, testing::ValuesIn(models_with("lora.safetensors")), test_name);

TEST(Lora, AtStrengthZeroLeavesEveryByteAsItWas) {
  LoraFixture f("tiny-sd15");
  LoraSet off;
  off.add(f.adapter("locon"), 0.0f);
  EXPECT_EQ(f.device->download(f.run_unet(&off)), f.device->download(f.run_unet(nullptr)));
}

TEST(Lora, ChangesOnlyTheImagesItIsMeantFor) {
  LoraFixture f("tiny-sd15");
  LoraSet third_of_three, for_all;
  third_of_three.add(f.adapter("locon"), kStrength, 2, 3);
  for_all.add(f.adapter("locon"), kStrength);
  const std::vector<float> mixed = f.device->download(f.run_unet(&third_of_three, 3));
  const std::vector<float> base = f.device->download(f.run_unet(nullptr));
  const std::vector<float> adapted = f.device->download(f.run_unet(&for_all));
  ASSERT_NE(base, adapted);
  for (size_t image = 0; image < 3; ++image) {
    const std::vector<float>& wanted = image == 2 ? adapted : base;
    const std::vector<float> found(mixed.begin() + static_cast<std::ptrdiff_t>(image * base.size()),
                                   mixed.begin() + static_cast<std::ptrdiff_t>((image + 1) * base.size()));
    EXPECT_EQ(found, wanted) << "image " << image;
  }
}

TEST(Lora, AddsUpWithAnother) {
  LoraFixture f("tiny-sd15");
  LoraSet halves;
  halves.add(f.adapter("kohya"), 0.5f * kStrength);
  halves.add(f.adapter("kohya"), 0.5f * kStrength);
  expect_matches(*f.device, f.run_unet(&halves), f.record, "kohya/unet_out_scale0.7");
}

}  // namespace
}  // namespace dreamlab
