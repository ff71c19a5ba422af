#include "model/submodule.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "layer/timestep_embedding.h"
#include "weights/checkpoint.h"

namespace dreamlab {
namespace {

class LayerRecords : public testing::TestWithParam<std::string> {
 protected:
  LayerRecords()
      : device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path(GetParam()))),
        record(GetParam() + "/layers.safetensors") {}

  SubmoduleInput read_input(const std::string& name) {
    SubmoduleInput input;
    const auto read = [&](const std::string& tensor) {
      return record.contains(name + tensor) ? record.upload(*device, name + tensor) : Tensor();
    };
    input.x = read("/x");
    input.temb = read("/temb");
    input.encoder_hidden_states = read("/encoder_hidden_states");
    if (record.contains(name + "/timesteps")) input.timesteps = record.values(name + "/timesteps");
    return input;
  }

  // name: "unet/PATH" or "unet/PATH@sizeHxW"
  Tensor run(const std::string& name) {
    const Context context{*device, nullptr, nullptr, nullptr};
    SubmoduleInput input = read_input(name);
    std::string path = name.substr(name.find('/') + 1);
    if (const size_t at = path.find("@size"); at != std::string::npos) {
      const size_t cross = path.find('x', at + 5);
      input.size = Size{std::stoll(path.substr(cross + 1)), std::stoll(path.substr(at + 5, cross - at - 5))};
      path.resize(at);
    }
    if (name.starts_with("vae/"))
      return run_submodule(context, checkpoint->vae(), checkpoint->config().vae, path, input);
    return run_submodule(context, checkpoint->unet(), checkpoint->config().unet, path, input);
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  GoldenRecord record;
};

TEST_P(LayerRecords, AgreeModuleByModule) {
  double worst = 0.0;
  int modules = 0;
  for (const std::string& name : record.cases_with("out")) {
    if (name.starts_with("timestep_embedding/")) continue;
    worst = std::max(worst, expect_matches(*device, run(name), record, name + "/out"));
    ++modules;
  }
  EXPECT_GE(modules, 25);
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

TEST_P(LayerRecords, AgreeInTheSinusoidsOfTimesteps) {
  const std::vector<float> timesteps = record.values("timestep_embedding/timesteps");
  for (const int64_t dim : {32, 256, 320})
    expect_matches(sinusoidal_embedding(timesteps, dim), record,
                   "timestep_embedding/dim" + std::to_string(dim) + "/out");
}

INSTANTIATE_TEST_SUITE_P(Golden, LayerRecords, testing::ValuesIn(models_with("layers.safetensors")), test_name);

TEST(Submodule, IsRefusedByNameWhereThereIsNone) {
  const auto device = make_reference_device();
  const auto checkpoint = Checkpoint::open(model_path("tiny-sd15"));
  try {
    run_submodule({*device, nullptr, nullptr, nullptr}, checkpoint->unet(), checkpoint->config().unet,
                  "down_blocks.0.frobnicator", {});
    FAIL() << "ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("down_blocks.0.frobnicator"));
  }
}

}  // namespace
}  // namespace dreamlab
