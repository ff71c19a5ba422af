// `dreamlab serve` with the NPU's worker: what its clients are promised of every worker.
#include <gmock/gmock.h>

#include <fstream>
#include <future>
#include <iterator>
#include <nlohmann/json.hpp>

#include "serve_process.h"
#include "standin.h"
#include "upscaler_files.h"

namespace dreamlab {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RknnHttpTest : public testing::Test {
 protected:
  // Serves the model of standin.h: pictures of 64x64 and 96x64.
  ServeProcess& start(std::map<std::string, std::string> more = {}) {
    write_model(directory_.path() / "models" / "lcm");
    more.merge(std::map<std::string, std::string>{{"BACKEND", "rknn"},
                                                  {"RKNN_LIBRARY", DREAMLAB_RKNN_STANDIN},
                                                  {"MODEL_ROOT", (directory_.path() / "models").string()},
                                                  {"MODEL", "lcm"},
                                                  {"DEFAULT_STEPS", "2"}});
    server_ = std::make_unique<ServeProcess>(DREAMLAB_BINARY, more, log_file());
    EXPECT_TRUE(server_->wait_until_ready()) << log();
    return *server_;
  }
  PlainAnswer generate(json request) const {
    request.emplace("prompt", "a majestic mountain landscape");
    return ask_server(server_->port(), "POST", "/generate", request.dump());
  }
  static std::string size_of(const PlainAnswer& answer) {
    const std::vector<uint8_t> bytes(answer.body.begin(), answer.body.end());
    const Image picture = decode_image(bytes, "the answer").image;
    return to_string(PictureSize{picture.width, picture.height});
  }
  std::string log_file() const { return (directory_.path() / "log").string(); }
  std::string log() const {
    std::ifstream file(log_file());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ServeProcess> server_;
};

TEST_F(RknnHttpTest, IntroducesItself) {
  const ServeProcess& server = start();
  const json ready = json::parse(ask_server(server.port(), "GET", "/ready").body);
  EXPECT_EQ(ready.at("worker"), "RKNN");
  EXPECT_EQ(ready.at("model"), "lcm");
  const std::string status = ask_server(server.port(), "GET", "/api/models/status").body;
  EXPECT_THAT(status, AllOf(HasSubstr("Rockchip NPU, core 0"), HasSubstr("64x64")));
  EXPECT_THAT(log(), HasSubstr("for pictures of 64x64, 96x64"));
}

TEST_F(RknnHttpTest, MakesPicturesWithFingerprintsAlwaysTheSame) {
  start();
  const PlainAnswer first = generate({{"seed", 42}, {"latents", true}});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(size_of(first), "64x64");
  EXPECT_EQ(first.value_of("X-Seed"), "42");
  EXPECT_EQ(first.value_of("X-Model"), "lcm");
  const std::string fingerprint = first.value_of("X-Latent-Fingerprint");
  EXPECT_EQ(fingerprint.size(), 684u) << "512 bytes in base64";
  const PlainAnswer again = generate({{"seed", 42}, {"latents", true}});
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.value_of("X-Latent-Fingerprint"), fingerprint);
  const PlainAnswer other = generate({{"seed", 43}, {"latents", true}});
  EXPECT_NE(other.body, first.body);
  EXPECT_NE(other.value_of("X-Latent-Fingerprint"), fingerprint);
}

TEST_F(RknnHttpTest, DrawsSeedsAtRandomAndTellsThem) {
  start();
  const PlainAnswer one = generate(json::object()), two = generate(json::object());
  ASSERT_EQ(one.status, 200) << one.body;
  EXPECT_NE(one.value_of("X-Seed"), two.value_of("X-Seed"));
  EXPECT_LE(std::stoll(one.value_of("X-Seed")), 99'999'999);
  EXPECT_EQ(generate({{"seed", std::stoll(one.value_of("X-Seed"))}}).body, one.body);
}

TEST_F(RknnHttpTest, KnowsItsSizesAndNamesThemToWhoAsksForAnother) {
  start();
  EXPECT_EQ(size_of(generate({{"size", "96x64"}})), "96x64");
  const PlainAnswer other = generate({{"size", "512x512"}});
  EXPECT_EQ(other.status, 422);
  EXPECT_THAT(json::parse(other.body).at("detail").dump(),
              AllOf(HasSubstr("Invalid size '512x512'"), HasSubstr("64x64, 96x64")));
  for (const char* const rubbish : {"64", "64x", "0x64", "axb", "-64x64"})
    EXPECT_EQ(generate({{"size", rubbish}}).status, 422) << rubbish;
  EXPECT_EQ(generate({{"num_inference_steps", 51}}).status, 422);
  EXPECT_EQ(generate(json::object()).status, 200);
}

TEST_F(RknnHttpTest, HasAsManyWorkersAsTheNpuHasCores) {
  const ServeProcess& server = start({{"NUM_WORKERS", "5"}});
  EXPECT_THAT(log(), HasSubstr("NUM_WORKERS=5: 3 of them here, one for each core of the NPU"));
  std::vector<std::future<PlainAnswer>> answers;
  for (int i = 0; i < 6; ++i)
    answers.push_back(std::async(std::launch::async, [this] { return generate({{"seed", 7}, {"size", "96x64"}}); }));
  const std::string expected = generate({{"seed", 7}, {"size", "96x64"}}).body;
  for (auto& answer : answers) EXPECT_EQ(answer.get().body, expected);
  EXPECT_THAT(ask_server(server.port(), "GET", "/metrics").body,
              HasSubstr("dreamlab_jobs_total{service=\"sd\",outcome=\"succeeded\"} 7"));
}

TEST_F(RknnHttpTest, UpscalesWhatItMakesByACompiledNetwork) {
  const std::string network = write_network(directory_, "espcn.safetensors", EspcnConfig{}).string();
  const auto file = directory_.path() / "upscaler.rknn";
  write_upscaler_manifest(file, network, 224, 224);
  start({{"SR_MODEL_PATH", file.string()}, {"SR_INPUT_SIZE", "224"}});
  const PlainAnswer answer = generate({{"seed", 1}, {"superres", true}, {"superres_magnitude", 1}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const int scale = std::stoi(answer.value_of("X-SR-Scale-Per-Pass"));
  EXPECT_EQ(answer.value_of("X-SR-Model"), "upscaler.rknn");
  EXPECT_EQ(size_of(answer), to_string(PictureSize{64 * scale, 64 * scale}));
}

TEST_F(RknnHttpTest, WithoutItsRuntimeItDoesNotStartAndSaysWhatIsMissing) {
  EXPECT_THROW(start({{"RKNN_LIBRARY", "/nowhere/librknnrt.so"}}), std::runtime_error);
  EXPECT_THAT(log(), AllOf(HasSubstr("BACKEND=rknn: no RKNN device"), HasSubstr("/nowhere/librknnrt.so")));
}

}  // namespace
}  // namespace dreamlab
