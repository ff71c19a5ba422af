#include "weights/config_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "file_writers.h"
#include "golden_dir.h"

namespace dreamlab {
namespace {

using nlohmann::json;

UNetConfig unet(const char* text) {
  return parse_unet_config(json::parse(text));
}

TEST(ConfigJson, ReadsTheGoldenUNets) {
  const UNetConfig sd15 = parse_unet_config(read_json_file(golden_dir() / "models/tiny-sd15/unet/config.json"));
  const int64_t channels = sd15.block_out_channels[0];
  EXPECT_EQ(sd15.block_out_channels, (std::vector<int64_t>{channels, 2 * channels, 2 * channels, 2 * channels}));
  EXPECT_EQ(sd15.heads, std::vector<int64_t>(4, sd15.heads[0]));
  EXPECT_EQ(sd15.transformer_layers, (std::vector<int64_t>{1, 1, 1, 0}));
  EXPECT_EQ(sd15.mid_transformer_layers, 1);
  const UNetConfig sdxl = parse_unet_config(read_json_file(golden_dir() / "models/tiny-sdxl/unet/config.json"));
  EXPECT_EQ(sdxl.heads, (std::vector<int64_t>{2, 4, 4}));
  EXPECT_EQ(sdxl.transformer_layers, (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(sdxl.mid_transformer_layers, 4);
  EXPECT_EQ(sdxl.projection_class_embeddings_input_dim, 256);
  EXPECT_TRUE(sdxl.use_linear_projection);
}

TEST(ConfigJson, TakesOverOnlyTheKeysThatAreThere) {
  UNetConfig base;
  base.cross_attention_dim = 1024;
  base.use_linear_projection = true;
  const UNetConfig config = parse_unet_config(json::parse(R"({"in_channels": 9, "cross_attention_dim": null})"), base);
  EXPECT_EQ(config.in_channels, 9);
  EXPECT_EQ(config.cross_attention_dim, 1024);
  EXPECT_TRUE(config.use_linear_projection);
}

TEST(ConfigJson, PrefersNumAttentionHeads) {
  EXPECT_EQ(unet(R"({"num_attention_heads": 4, "attention_head_dim": 8})").heads, (std::vector<int64_t>{4, 4, 4, 4}));
}

TEST(ConfigJson, ReadsAMiddleBlockWithoutAttention) {
  EXPECT_EQ(unet(R"({"mid_block_type": "UNetMidBlock2D"})").mid_transformer_layers, 0);
}

struct BadConfig {
  const char* name;
  const char* text;
  ErrorKind kind;
  const char* message;
};

const std::vector<BadConfig> kBadConfigs{
    {"NoObject", "[]", kInvalid, "unet: a JSON object is expected"},
    {"Negative", R"({"norm_num_groups": -1})", kInvalid, "unet: norm_num_groups is -1; 1 to 65536 is allowed"},
    {"Fraction", R"({"in_channels": 4.5})", kInvalid, "in_channels is 4.5"},
    {"Text", R"({"in_channels": "four"})", kInvalid, "in_channels is \"four\""},
    {"Huge", R"({"layers_per_block": 1000000000000})", kInvalid, "layers_per_block is 1000000000000; 1 to 16"},
    {"HugeUnsigned", R"({"in_channels": 18446744073709551615})", kInvalid, "in_channels is 18446744073709551615"},
    {"NoLevels", R"({"block_out_channels": []})", kInvalid, "a list of 1 to 8 is expected"},
    {"TooManyLevels", R"({"block_out_channels": [32,32,32,32,32,32,32,32,32]})", kInvalid, "a list of 1 to 8"},
    {"LevelsDoNotFit", R"({"block_out_channels": [32, 64]})", kInvalid, "4 numbers of heads for 2 block_out_channels"},
    {"TypesDoNotFit", R"({"down_block_types": ["DownBlock2D"]})", kInvalid,
     "1 down_block_types for 4 block_out_channels"},
    {"HeadsDoNotFit", R"({"attention_head_dim": [8, 8]})", kInvalid, "attention_head_dim has 2 numbers for 4 levels"},
    {"HeadsDoNotDivide", R"({"attention_head_dim": 7})", kInvalid, "320 channels do not divide into 7 heads"},
    {"GroupsDoNotDivide", R"({"norm_num_groups": 33})", kInvalid, "320 channels do not divide into norm_num_groups 33"},
    {"UnknownBlock", R"({"down_block_types": ["KDownBlock2D","DownBlock2D","DownBlock2D","DownBlock2D"]})",
     kUnsupported, "down_block_types has KDownBlock2D; CrossAttnDownBlock2D and DownBlock2D are supported"},
    {"UpDoesNotMirror",
     R"({"down_block_types": ["DownBlock2D","DownBlock2D","DownBlock2D","DownBlock2D"],
         "up_block_types": ["CrossAttnUpBlock2D","UpBlock2D","UpBlock2D","UpBlock2D"]})",
     kUnsupported, "up_block_types do not mirror"},
    {"ClassEmbedding", R"({"class_embed_type": "timestep"})", kUnsupported,
     "class_embed_type is \"timestep\"; it is not supported"},
    {"ScaleShift", R"({"resnet_time_scale_shift": "scale_shift"})", kUnsupported, "only \"default\" is supported"},
    {"ConditionsWithoutSizes", R"({"addition_embed_type": "text_time"})", kInvalid,
     "text_time conditions without their sizes"},
};

class BadUNetConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadUNetConfig, EndsInAOneLineError) {
  expect_error(GetParam().kind, GetParam().message, [] { unet(GetParam().text); });
}

INSTANTIATE_TEST_SUITE_P(Configs, BadUNetConfig, testing::ValuesIn(kBadConfigs),
                         [](const testing::TestParamInfo<BadConfig>& info) { return info.param.name; });

TEST(ConfigJson, CountsAProjectionOnlyForTheArchitectureThatHasOne) {
  EXPECT_EQ(parse_text_encoder_config(json::parse(R"({"architectures": ["CLIPTextModel"], "projection_dim": 768})"))
                .projection_dim,
            0);
  EXPECT_EQ(parse_text_encoder_config(
                json::parse(R"({"architectures": ["CLIPTextModelWithProjection"], "projection_dim": 64})"))
                .projection_dim,
            64);
}

TEST(ConfigJson, PadsByTheActivationOfATextEncoder) {
  EXPECT_EQ(parse_text_encoder_config(json::parse(R"({"hidden_act": "gelu"})")).pad_id, 0);
  EXPECT_EQ(parse_text_encoder_config(json::parse(R"({"hidden_act": "quick_gelu"})")).pad_id, 49407);
  expect_error(kUnsupported, "hidden_act is relu",
               [] { parse_text_encoder_config(json::parse(R"({"hidden_act": "relu"})")); });
}

TEST(ConfigJson, ReadsASchedule) {
  const NoiseScheduleConfig config = parse_schedule_config(
      json::parse(R"({"beta_schedule": "linear", "prediction_type": "v_prediction", "timestep_spacing": "trailing",
                      "trained_betas": [0.1, 0.2], "rescale_betas_zero_snr": true, "steps_offset": 0})"));
  EXPECT_EQ(config.beta_schedule, "linear");
  EXPECT_EQ(config.prediction_type, PredictionType::v_prediction);
  EXPECT_EQ(config.timestep_spacing, "trailing");
  EXPECT_EQ(config.trained_betas, (std::vector<double>{0.1, 0.2}));
  EXPECT_TRUE(config.rescale_betas_zero_snr);
  EXPECT_EQ(config.steps_offset, 0);
  expect_error(kUnsupported, "prediction_type is sample",
               [] { parse_schedule_config(json::parse(R"({"prediction_type": "sample"})")); });
  expect_error(kInvalid, "trained_betas has \"x\"",
               [] { parse_schedule_config(json::parse(R"({"trained_betas": ["x"]})")); });
}

TEST(ConfigJson, RefusesAVaeThatShiftsItsLatents) {
  expect_error(kUnsupported, "vae: shift_factor is 0.1159",
               [] { parse_vae_config(json::parse(R"({"shift_factor": 0.1159})")); });
}

TEST(ConfigJson, RefusesATaesdOfUnequalWidths) {
  expect_error(kUnsupported, "encoder_block_out_channels differ",
               [] { parse_taesd_config(json::parse(R"({"encoder_block_out_channels": [64, 64, 64, 128]})")); });
}

TEST(ConfigJson, RefusesASidecarWithAnotherNumberOfTextEncoders) {
  expect_error(kInvalid, "text_encoders is no list of 1",
               [] { parse_sidecar(json::parse(R"({"text_encoders": [{}, {}]})"), published_config(Family::sd1)); });
}

TEST(Json, RefusesAKeyThatStandsTwice) {
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": {"a": 2}})", "x.json"));
  expect_error(kInvalid, "x.json: a stands twice", [] { parse_json(R"({"a": 1, "a": 2})", "x.json"); });
}

TEST(Json, RefusesDeepNesting) {
  expect_error(kInvalid, "nested deeper than 64", [] { parse_json(std::string(100000, '['), "x.json"); });
  expect_error(kInvalid, "nested deeper than 64", [] {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += "{\"a\":";
    parse_json(text, "x.json");
  });
}

TEST(Json, NamesThePlaceOfAnError) {
  expect_error(kInvalid, "x.json: not valid JSON at byte 7", [] { parse_json("{\"a\": }", "x.json"); });
}

TEST(Json, RefusesANumberOutOfRange) {
  expect_error(kInvalid, "a number out of range", [] { parse_json("{\"a\": 1e999}", "x.json"); });
}

}  // namespace
}  // namespace dreamlab
