// /generate, /generate_sdxl, /superres and the storage of what they make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "server/base64.h"
#include "server/test_server.h"

namespace dreamlab {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

// One server for all tests of the process.
TestServer& generation_server() {
  static TestServer& server =
      start_shared_server({.environment = {{"STORAGE", "file:"}, {"SR_MAX_PIXELS", "60000"}}, .sdxl = true});
  static const bool ready = server.wait_until_ready();
  if (!ready) throw std::runtime_error("the models were not loaded");
  return server;
}

json with(json body, const json& more) {
  body.update(more);
  return body;
}

std::string file_of(const Image& image, ImageFormat format = ImageFormat::png) {
  const auto bytes = encode_image(image, format);
  return {bytes.begin(), bytes.end()};
}

TEST(Generate, AnswersThePictureWithTheHeadersOfTheContract) {
  const Answer answer = generation_server().post("/generate", small_body());
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.header("content-type"), "image/png");
  EXPECT_EQ(answer.header("cache-control"), "no-store");
  EXPECT_EQ(answer.header("x-seed"), "42");
  EXPECT_EQ(answer.header("x-superres"), "0");
  EXPECT_EQ(answer.header("x-model"), "tiny-sd15");
  EXPECT_EQ(answer.header("x-mode"), "");
  EXPECT_EQ(answer.header("x-latent-fingerprint"), "");
  EXPECT_EQ(answer.picture().width, 64);
  EXPECT_EQ(answer.picture().height, 64);
  const DecodedImage decoded = decode_image(std::vector<uint8_t>(answer.body.begin(), answer.body.end()), "answer");
  ASSERT_EQ(decoded.texts.size(), 1u);
  EXPECT_THAT(decoded.texts[0].text, HasSubstr("Seed: 42"));
}

TEST(Generate, GivesTheSameBytesForTheSameRequest) {
  EXPECT_EQ(generation_server().post("/generate", small_body()).body,
            generation_server().post("/generate", small_body()).body);
}

TEST(Generate, DrawsASeedWhereNoneIsGiven) {
  json body = small_body();
  body["seed"] = nullptr;
  const Answer first = generation_server().post("/generate", body),
               second = generation_server().post("/generate", body);
  EXPECT_NE(first.header("x-seed"), second.header("x-seed"));
  EXPECT_NE(first.body, second.body);
  EXPECT_LT(std::stoll(first.header("x-seed")), 100'000'000);
  body["seed"] = std::stoll(first.header("x-seed"));
  EXPECT_EQ(generation_server().post("/generate", body).body, first.body);
}

TEST(Generate, GivesTheLatentFingerprintOfTheSamePass) {
  const Answer answer = generation_server().post("/generate", with(small_body(), {{"latents", true}}));
  ASSERT_EQ(answer.status, 200);
  const auto fingerprint = decode_base64(answer.header("x-latent-fingerprint"));
  ASSERT_TRUE(fingerprint);
  EXPECT_EQ(fingerprint->size(), 512u);
  EXPECT_EQ(answer.body, generation_server().post("/generate", small_body()).body);
}

TEST(Generate, StoresThePictureUnderTheKeyInItsHeader) {
  const Answer answer = generation_server().post("/generate", small_body());
  const std::string key = answer.header("x-lcm-image-key");
  ASSERT_FALSE(key.empty());
  const Answer stored = generation_server().get("/storage/" + key);
  EXPECT_EQ(stored.status, 200);
  EXPECT_EQ(stored.header("content-type"), "image/png");
  EXPECT_EQ(stored.body, answer.body);
}

TEST(Generate, UpscalesAndSaysHow) {
  const Answer answer = generation_server().post(
      "/generate",
      with(small_body(),
           {{"superres", true}, {"superres_magnitude", 1}, {"superres_format", "jpeg"}, {"superres_quality", 80}}));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const int scale = std::stoi(answer.header("x-sr-scale-per-pass"));
  EXPECT_EQ(answer.header("content-type"), "image/jpeg");
  EXPECT_EQ(answer.header("x-superres"), "1");
  EXPECT_EQ(answer.header("x-sr-model"), generation_server().context().super_resolution->model());
  EXPECT_EQ(answer.header("x-sr-passes"), "1");
  EXPECT_EQ(answer.header("x-sr-format"), "jpeg");
  EXPECT_EQ(answer.header("x-seed"), "42");
  EXPECT_EQ(answer.picture().width, 64 * scale);
}

TEST(Generate, RefusesAnUpscaledPictureThatIsTooLargeBeforeItIsMade) {
  const uint64_t before = generation_server().context().sd->statistics().submitted;
  const Answer answer =
      generation_server().post("/generate", with(small_body(), {{"superres", true}, {"superres_magnitude", 3}}));
  EXPECT_EQ(answer.status, 422);
  EXPECT_THAT(answer.detail(), HasSubstr("superres_magnitude is 3"));
  EXPECT_THAT(answer.detail(), HasSubstr("over 60000 pixels"));
  EXPECT_EQ(generation_server().context().sd->statistics().submitted, before);
}

TEST(Generate, StartsFromAPicture) {
  Image picture = Image::blank(64, 64);
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(i);
  const json body = with(small_body(), {{"init_image", encode_base64(encode_image(picture, ImageFormat::webp))},
                                        {"strength", 0.6},
                                        {"num_inference_steps", 4}});
  const Answer answer = generation_server().post("/generate", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_NE(answer.body, generation_server().post("/generate", with(small_body(), {{"num_inference_steps", 4}})).body);
  // Bright everywhere: all is painted anew.
  Image mask = Image::blank(64, 64);
  std::fill(mask.pixels.begin(), mask.pixels.end(), uint8_t{0});
  const Answer kept = generation_server().post(
      "/generate",
      with(body, {{"mask", "data:image/png;base64," + encode_base64(encode_image(mask, ImageFormat::png))}}));
  ASSERT_EQ(kept.status, 200) << kept.body;
  EXPECT_NE(kept.body, answer.body);
}

TEST(Generate, RefusesPicturesThatAreNone) {
  const Answer base64 = generation_server().post("/generate", with(small_body(), {{"init_image", "%%%"}}));
  EXPECT_EQ(base64.status, 422);
  EXPECT_THAT(base64.detail(), StartsWith("init_image is not base64"));
  const Answer picture = generation_server().post("/generate", with(small_body(), {{"init_image", "AAAA"}}));
  EXPECT_EQ(picture.status, 422);
  EXPECT_THAT(picture.detail(), StartsWith("init_image: not an image"));
  const Answer mask = generation_server().post("/generate", with(small_body(), {{"mask", "AAAA"}}));
  EXPECT_EQ(mask.status, 422);
  EXPECT_THAT(mask.detail(), StartsWith("mask is given without init_image"));
}

TEST(Generate, AnswersBadRequestsByTheFieldThatIsWrong) {
  struct Bad {
    const char* body;
    int status;
    const char* detail;
  };
  const Bad kBad[] = {
      {"", 400, "the body is empty"},
      {"{", 400, "not valid JSON at line 1, column 2"},
      {R"({"prompt":"a","prompt":"b"})", 400, "stands twice"},
      {R"([])", 422, "a JSON object is expected"},
      {R"({})", 422, "prompt is missing"},
      {R"({"prompt":"p","num_inference_steps":51})", 422, "num_inference_steps is 51; allowed: an integer in 1..50"},
      {R"({"prompt":"p","size":"60x64"})", 422, "Invalid size"},
      {R"({"prompt":"p","steps":4})", 422, "\"steps\" is no field"},
      {R"({"prompt":"p","style_lora":{"style":"nope","level":1}})", 422, "nope"},
      {R"({"prompt":"p","mode":"nope"})", 422, "nope"},
      {R"({"prompt":"p","scheduler":"nope"})", 422, "scheduler: "},
  };
  for (const Bad& bad : kBad) {
    SCOPED_TRACE(bad.body);
    const Answer answer = generation_server().post_text("/generate", bad.body);
    EXPECT_EQ(answer.status, bad.status);
    EXPECT_EQ(answer.header("content-type"), "application/json");
    EXPECT_THAT(answer.detail(), HasSubstr(bad.detail));
  }
}

TEST(Generate, AnswersOtherMethodsAndLargeBodies) {
  EXPECT_EQ(generation_server().get("/generate").status, 405);
  EXPECT_EQ(generation_server().post_text("/generate", std::string((48 << 20) + 1, ' ')).status, 413);
  EXPECT_EQ(generation_server().get("/nowhere").status, 404);
}

TEST(Generate, StopsWhenItsTimeIsUp) {
  json body = small_body();
  body.update({{"num_inference_steps", 50}, {"size", "512x512"}, {"timeout", 0.05}});
  const Answer answer = generation_server().post("/generate", body);
  EXPECT_EQ(answer.status, 504);
  EXPECT_FALSE(answer.detail().empty());
  EXPECT_EQ(generation_server().post("/generate", small_body()).status, 200);
}

TEST(Generate, StopsWhenItsClientLeaves) {
  json body = small_body();
  body.update({{"num_inference_steps", 50}, {"size", "512x512"}});
  const uint64_t before = generation_server().context().sd->statistics().cancelled;
  ask_and_leave(generation_server().port(), "POST", "/generate", body.dump());
  EXPECT_EQ(generation_server().post("/generate", small_body()).status, 200);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (generation_server().context().sd->statistics().cancelled == before && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(generation_server().context().sd->statistics().cancelled, before + 1);
}

TEST(GenerateSdxl, IsTheSameForTheModelBeside) {
  const Answer answer = generation_server().post("/generate_sdxl", small_body());
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.header("x-model"), "SDXL");
  EXPECT_EQ(answer.header("x-seed"), "42");
  EXPECT_EQ(answer.picture().width, 64);
  EXPECT_NE(answer.body, generation_server().post("/generate", small_body()).body);
  EXPECT_EQ(generation_server().post_text("/generate_sdxl", "{}").status, 422);
}

// --- /superres ---

TEST(SuperRes, UpscalesAnUpload) {
  Image picture = Image::blank(24, 16);
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(i * 7);
  for (const char* route : {"/superres", "/v1/superres"}) {
    const Answer answer = generation_server().post_form(
        route, {{"file", file_of(picture)}, {"magnitude", "1"}, {"out_format", "jpeg"}, {"quality", "90"}});
    ASSERT_EQ(answer.status, 200) << answer.body;
    const int scale = std::stoi(answer.header("x-sr-scale-per-pass"));
    EXPECT_EQ(answer.header("content-type"), "image/jpeg");
    EXPECT_EQ(answer.header("cache-control"), "no-store");
    EXPECT_EQ(answer.header("x-superres"), "1");
    EXPECT_EQ(answer.header("x-sr-passes"), "1");
    EXPECT_EQ(answer.header("x-sr-format"), "jpeg");
    EXPECT_EQ(answer.header("x-sr-model"), generation_server().context().super_resolution->model());
    EXPECT_EQ(answer.picture().width, 24 * scale);
    EXPECT_EQ(answer.picture().height, 16 * scale);
    EXPECT_EQ(generation_server().get("/storage/" + answer.header("x-lcm-image-key")).body, answer.body);
  }
}

TEST(SuperRes, TwoPassesToPngAreTheDefault) {
  const Answer answer =
      generation_server().post_form("/superres", {{"file", file_of(Image::blank(8, 8), ImageFormat::jpeg)}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const int scale = std::stoi(answer.header("x-sr-scale-per-pass"));
  EXPECT_EQ(answer.header("x-sr-passes"), "2");
  EXPECT_EQ(answer.header("x-sr-format"), "png");
  EXPECT_EQ(answer.picture().width, 8 * scale * scale);
}

TEST(SuperRes, RefusesBadForms) {
  const std::string picture = file_of(Image::blank(8, 8));
  const Answer other = generation_server().post_text("/superres", "{}");
  EXPECT_EQ(other.status, 400);
  EXPECT_THAT(other.detail(), HasSubstr("multipart/form-data"));
  EXPECT_EQ(
      ask(generation_server().port(), "POST", "/superres", "x", {{"Content-Type", "multipart/form-data; boundary=b"}})
          .status,
      400);
  struct Bad {
    std::vector<std::pair<std::string, std::string>> fields;
    const char* detail;
  };
  const Bad kBad[] = {{{}, "file is missing"},
                      {{{"file", ""}}, "file is empty"},
                      {{{"file", "no picture"}}, "file: not an image"},
                      {{{"file", picture.substr(0, picture.size() / 2)}}, "file: damaged or truncated PNG"},
                      {{{"file", picture}, {"magnitude", "4"}}, "magnitude is 4; allowed: an integer in 1..3"},
                      {{{"file", picture}, {"quality", "0"}}, "quality is 0; allowed: an integer in 1..100"},
                      {{{"file", picture}, {"out_format", "gif"}}, "out_format is \"gif\"; allowed: png, jpeg"},
                      {{{"file", picture}, {"more", "1"}}, "\"more\" is no field"},
                      {{{"file", file_of(Image::blank(400, 200))}}, "60000"}};
  for (const Bad& bad : kBad) {
    const Answer answer = generation_server().post_form("/superres", bad.fields);
    EXPECT_EQ(answer.status, 422) << bad.detail;
    EXPECT_THAT(answer.detail(), HasSubstr(bad.detail));
  }
}

// --- what is not enabled ---

TEST(Disabled, IsAnsweredBy503) {
  TestServer bare({.environment = {{"SR_ENABLED", "0"}}, .model = ""});
  for (const char* route : {"/generate_sdxl", "/generate"}) {
    const Answer answer = bare.post(route, small_body());
    EXPECT_EQ(answer.status, 503) << route;
    EXPECT_FALSE(answer.detail().empty());
  }
  const Answer upscaled = bare.post_form("/superres", {{"file", file_of(Image::blank(8, 8))}});
  EXPECT_EQ(upscaled.status, 503);
  EXPECT_THAT(upscaled.detail(), HasSubstr("SR_ENABLED"));
  EXPECT_EQ(bare.post("/generate", with(small_body(), {{"superres", true}})).status, 503);
  EXPECT_EQ(bare.get("/ready").status, 503);
  EXPECT_EQ(bare.get("/health").status, 200);
}

}  // namespace
}  // namespace dreamlab
