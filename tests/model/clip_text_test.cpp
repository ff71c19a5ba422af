#include "model/clip_text.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "device/reference/reference_device.h"
#include "golden_network.h"
#include "weights/checkpoint.h"

namespace dreamlab {
namespace {

class ClipTextRecords : public testing::TestWithParam<std::string> {};

// The record's name of a model's text encoder: a refiner's only one is the second kind.
std::string record_name(const ModelConfig& config, size_t index) {
  const size_t number = config.family == Family::sdxl_refiner ? 2 : index + 1;
  return "te" + std::to_string(number);
}

TEST_P(ClipTextRecords, AgreeAtEveryLayerAndOutput) {
  const auto device = make_reference_device();
  const auto checkpoint = Checkpoint::open(model_path(GetParam()));
  const GoldenRecord record(GetParam() + "/text_encoder.safetensors");
  double worst = 0.0;
  for (size_t index = 0; index < checkpoint->config().text_encoders.size(); ++index) {
    const ClipTextEncoder encoder(*device, checkpoint->config().text_encoders[index], checkpoint->text_encoder(index));
    const std::string name = record_name(checkpoint->config(), index);
    const std::vector<int32_t> ids = record.ids(name + "/input_ids");
    Context context{*device, nullptr, nullptr, nullptr};
    const auto compare = [&](const Tensor& tensor, const std::string& output) {
      worst = std::max(worst, expect_matches(*device, tensor, record, name + "/" + output));
    };

    const TextStates states = encoder.forward(context, ids);
    compare(states.last_hidden_state, "last_hidden_state");
    compare(states.hidden_state, "penultimate");
    compare(encoder.final_norm(context, states.hidden_state), "penultimate_final_ln");
    compare(states.pooled, "pooler_output");
    EXPECT_EQ(states.text_embeds.defined(), record.contains(name + "/text_embeds"));
    if (states.text_embeds.defined()) compare(states.text_embeds, "text_embeds");

    int64_t layers = 0;
    context.tap = [&](std::string_view path, const Tensor& tensor) {
      const std::string number(path.substr(path.rfind('.') + 1));
      const std::string recorded = "hidden_states_prompt0/" + number;
      if (!record.contains(name + "/" + recorded)) return;
      compare(tensor, recorded);
      ++layers;
    };
    encoder.forward(context, std::span(ids).first(77));
    EXPECT_EQ(layers, encoder.config().layers + 1);
  }
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
}

INSTANTIATE_TEST_SUITE_P(Golden, ClipTextRecords, testing::ValuesIn(models_with("text_encoder.safetensors")),
                         test_name);

class ClipTextTest : public testing::Test {
 protected:
  ClipTextTest()
      : device(make_reference_device()),
        checkpoint(Checkpoint::open(model_path("tiny-sd15"))),
        encoder(*device, checkpoint->config().text_encoders[0], checkpoint->text_encoder(0)),
        ids(GoldenRecord("tiny-sd15/text_encoder.safetensors").ids("te1/input_ids")) {}

  void expect_refusal(std::span<const int32_t> changed, int64_t skipped, const std::string& message) {
    try {
      encoder.forward({*device, nullptr, nullptr, nullptr}, changed, skipped);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_THAT(error.what(), testing::HasSubstr(message));
    }
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Checkpoint> checkpoint;
  ClipTextEncoder encoder;
  std::vector<int32_t> ids;
};

TEST_F(ClipTextTest, EncodesAWindowTheSameAloneAndInABatch) {
  const Context context{*device, nullptr, nullptr, nullptr};
  const std::vector<float> all = device->download(encoder.forward(context, ids).last_hidden_state);
  const std::vector<float> third =
      device->download(encoder.forward(context, std::span(ids).subspan(2 * 77, 77)).last_hidden_state);
  for (size_t i = 0; i < third.size(); ++i) ASSERT_EQ(third[i], all[2 * third.size() + i]) << "value " << i;
}

TEST_F(ClipTextTest, GivesTheStateBeforeTheFinalNormWhenNoBlockIsSkipped) {
  const Context context{*device, nullptr, nullptr, nullptr};
  const TextStates states = encoder.forward(context, ids, 0);
  EXPECT_EQ(device->download(encoder.final_norm(context, states.hidden_state)),
            device->download(states.last_hidden_state));
}

TEST_F(ClipTextTest, RefusesHalfAWindow) {
  expect_refusal(std::span(ids).first(40), 1, "40 token ids; the text encoder takes windows of 77");
}

TEST_F(ClipTextTest, RefusesAnIdOutsideOfTheVocabulary) {
  ids[3] = 49408;
  expect_refusal(ids, 1, "token id 49408; the text encoder knows 0 to 49407");
}

TEST_F(ClipTextTest, RefusesToSkipMoreBlocksThanThereAre) {
  expect_refusal(ids, 4, "4 skipped blocks; the text encoder has 3");
}

}  // namespace
}  // namespace dreamlab
