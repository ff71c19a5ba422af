// The shapes of other APIs: OpenAI's and AUTOMATIC1111's; modes and states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "scheduler/sampler.h"
#include "server/base64.h"
#include "server/test_server.h"

namespace dreamlab {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TestServer& compatible_server() {
  static TestServer& server = start_shared_server({.environment = {{"STORAGE", "file:"}}, .sdxl = true, .modes = true});
  static const bool ready = server.wait_until_ready();
  if (!ready) throw std::runtime_error("the models were not loaded");
  return server;
}

Image picture_of(const json& base64) {
  return decode_image(decode_base64(base64.get<std::string>()).value(), "answer").image;
}

// --- OpenAI ---

json images_body() {
  return {{"prompt", "a cat"}, {"size", "64x64"}, {"seed", 7}};
}

TEST(OpenAi, MakesPicturesInBase64) {
  json body = images_body();
  body["n"] = 3;
  const Answer answer = compatible_server().post("/v1/images/generations", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json document = answer.json();
  EXPECT_GT(document.at("created").get<int64_t>(), 1'600'000'000);
  ASSERT_EQ(document.at("data").size(), 3u);
  EXPECT_EQ(document.at("size"), "64x64");
  EXPECT_EQ(picture_of(document.at("data")[0].at("b64_json")).width, 64);
  // Seeds count up.
  EXPECT_NE(document.at("data")[0], document.at("data")[1]);
  body.update({{"n", 1}, {"seed", 8}});
  EXPECT_EQ(compatible_server().post("/v1/images/generations", body).json().at("data")[0], document.at("data")[1]);
}

TEST(OpenAi, GivesUrlsOfStoredPictures) {
  json body = images_body();
  body.update({{"response_format", "url"}, {"output_format", "webp"}, {"output_compression", 50}});
  const Answer answer = compatible_server().post("/v1/images/generations", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string url = answer.json().at("data")[0].at("url");
  const std::string origin = "http://127.0.0.1";
  ASSERT_EQ(url.substr(0, origin.size()), origin);
  const Answer stored = compatible_server().get(url.substr(origin.size()));
  EXPECT_EQ(stored.status, 200);
  EXPECT_EQ(stored.header("content-type"), "image/webp");
  EXPECT_EQ(stored.picture().width, 64);
}

TEST(OpenAi, ChoosesTheModelByName) {
  json body = images_body();
  for (const char* current : {"photo", "tiny-sd15", "tiny-sd15.safetensors", "dall-e-3", "gpt-image-1"}) {
    body["model"] = current;
    EXPECT_EQ(compatible_server().post("/v1/images/generations", body).status, 200) << current;
  }
  body.update({{"size", "auto"}, {"model", "wide"}});
  EXPECT_EQ(compatible_server().post("/v1/images/generations", body).json().at("size"), "96x64");
  body.update({{"size", "64x64"}, {"model", "tiny-sdxl"}});
  EXPECT_EQ(compatible_server().post("/v1/images/generations", body).status, 200);
}

TEST(OpenAi, AnswersErrorsInItsOwnShape) {
  struct Bad {
    json body;
    int status;
    json param, code;
  };
  const Bad kBad[] = {{{{"size", "64x64"}}, 422, "prompt", nullptr},
                      {{{"prompt", "p"}, {"n", 11}}, 422, "n", nullptr},
                      {{{"prompt", "p"}, {"size", "1x1"}}, 422, "size", nullptr},
                      {{{"prompt", "p"}, {"stream", true}}, 422, "stream", nullptr},
                      {{{"prompt", "p"}, {"background", "transparent"}}, 422, "background", nullptr},
                      {{{"prompt", "p"}, {"model", "nope"}}, 404, "model", "model_not_found"}};
  for (const Bad& bad : kBad) {
    SCOPED_TRACE(bad.body.dump());
    const Answer answer = compatible_server().post("/v1/images/generations", bad.body);
    EXPECT_EQ(answer.status, bad.status);
    const json error = answer.json().at("error");
    EXPECT_EQ(error.at("type"), "invalid_request_error");
    EXPECT_EQ(error.at("param"), bad.param);
    EXPECT_EQ(error.at("code"), bad.code);
    EXPECT_FALSE(error.at("message").get<std::string>().empty());
  }
  EXPECT_EQ(compatible_server().post_text("/v1/images/generations", "{").status, 400);
}

TEST(OpenAi, UrlsNeedAStorage) {
  TestServer bare;
  json body = images_body();
  body["response_format"] = "url";
  const Answer answer = bare.post("/v1/images/generations", body);
  EXPECT_EQ(answer.status, 422);
  EXPECT_THAT(answer.json().at("error").at("message").get<std::string>(), HasSubstr("STORAGE"));
}

TEST(OpenAi, ListsModels) {
  const json models = compatible_server().get("/v1/models").json();
  EXPECT_EQ(models.at("object"), "list");
  std::vector<std::string> ids;
  for (const json& model : models.at("data")) {
    EXPECT_EQ(model.at("object"), "model");
    ids.push_back(model.at("id"));
  }
  EXPECT_THAT(ids, testing::UnorderedElementsAre("photo", "wide", "gone", "tiny-sdxl"));
  EXPECT_EQ(compatible_server().get("/v1/models/wide").json().at("id"), "wide");
  EXPECT_EQ(compatible_server().get("/v1/models/nope").status, 404);
}

// --- AUTOMATIC1111 ---

TEST(Sdapi, MakesBatches) {
  const Answer answer = compatible_server().post("/sdapi/v1/txt2img", {{"prompt", "a cat"},
                                                                       {"negative_prompt", "a dog"},
                                                                       {"steps", 3},
                                                                       {"width", 64},
                                                                       {"height", 96},
                                                                       {"cfg_scale", 2},
                                                                       {"sampler_name", "Euler a"},
                                                                       {"seed", 5},
                                                                       {"batch_size", 2},
                                                                       {"n_iter", 2},
                                                                       {"restore_faces", false},
                                                                       {"alwayson_scripts", json::object()}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json document = answer.json();
  ASSERT_EQ(document.at("images").size(), 4u);
  EXPECT_EQ(picture_of(document.at("images")[0]).height, 96);
  EXPECT_EQ(document.at("parameters").at("steps"), 3);
  const json info = json::parse(document.at("info").get<std::string>());
  EXPECT_EQ(info.at("seed"), 5);
  EXPECT_EQ(info.at("all_seeds"), json::array({5, 6, 7, 8}));
  EXPECT_EQ(info.at("sampler_name"), "Euler a");
  EXPECT_EQ(info.at("sd_model_name"), "tiny-sd15");
  EXPECT_THAT(info.at("infotexts")[3].get<std::string>(), HasSubstr("Seed: 8"));
  EXPECT_THAT(info.at("infotexts")[0].get<std::string>(), HasSubstr("Negative prompt: a dog"));
}

TEST(Sdapi, DrawsSeedsForMinusOne) {
  const json body = {{"prompt", "p"}, {"width", 64}, {"height", 64}, {"seed", -1}, {"send_images", false}};
  const json first = compatible_server().post("/sdapi/v1/txt2img", body).json(),
             second = compatible_server().post("/sdapi/v1/txt2img", body).json();
  EXPECT_TRUE(first.at("images").empty());
  const json one = json::parse(first.at("info").get<std::string>()),
             other = json::parse(second.at("info").get<std::string>());
  EXPECT_GE(one.at("seed").get<int64_t>(), 0);
  EXPECT_NE(one.at("seed"), other.at("seed"));
}

TEST(Sdapi, JoinsSamplerAndSchedule) {
  json body = {{"prompt", "p"},        {"width", 64}, {"height", 64}, {"steps", 2}, {"sampler_name", "DPM++ 2M"},
               {"scheduler", "Karras"}};
  const json info =
      json::parse(compatible_server().post("/sdapi/v1/txt2img", body).json().at("info").get<std::string>());
  EXPECT_EQ(info.at("sampler_name"), "DPM++ 2M Karras");
  body["scheduler"] = "Nope";
  EXPECT_EQ(compatible_server().post("/sdapi/v1/txt2img", body).status, 422);
  body.update({{"scheduler", "Automatic"}, {"sampler_name", "Nope"}});
  EXPECT_THAT(compatible_server().post("/sdapi/v1/txt2img", body).detail(), HasSubstr("sampler_name"));
}

TEST(Sdapi, TakesLorasOutOfThePrompt) {
  json body = {{"prompt", "a cat<lora:ink:0.75>"}, {"width", 64}, {"height", 64}, {"seed", 1}};
  const json styled = compatible_server().post("/sdapi/v1/txt2img", body).json();
  EXPECT_EQ(styled.at("parameters").at("prompt"), "a cat");
  const Answer generated = compatible_server().post(
      "/generate",
      {{"prompt", "a cat"}, {"size", "64x64"}, {"seed", 1}, {"style_lora", {{"style", "ink"}, {"level", 2}}}});
  ASSERT_EQ(generated.status, 200) << generated.body;
  EXPECT_EQ(picture_of(styled.at("images")[0]), generated.picture());
  body["prompt"] = "a cat<lora:nope:1>";
  EXPECT_EQ(compatible_server().post("/sdapi/v1/txt2img", body).status, 422);
  body["prompt"] = "<lora:ink><lora:ink>";
  EXPECT_EQ(compatible_server().post("/sdapi/v1/txt2img", body).status, 422);
}

TEST(Sdapi, ChangesPictures) {
  const std::string picture = encode_base64(encode_image(Image::blank(64, 64), ImageFormat::png));
  json body = {
      {"prompt", "p"}, {"init_images", json::array({picture})}, {"denoising_strength", 0.6}, {"seed", 3}, {"steps", 4}};
  const Answer answer = compatible_server().post("/sdapi/v1/img2img", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(picture_of(answer.json().at("images")[0]).width, 64);
  EXPECT_EQ(answer.json().at("parameters").at("denoising_strength"), 0.6);
  body["init_images"] = json::array();
  EXPECT_EQ(compatible_server().post("/sdapi/v1/img2img", body).status, 422);
  body["init_images"] = json::array({"AAAA"});
  EXPECT_THAT(compatible_server().post("/sdapi/v1/img2img", body).detail(), HasSubstr("init_images"));
}

TEST(Sdapi, ListsWhatThereIs) {
  const json models = compatible_server().get("/sdapi/v1/sd-models").json();
  EXPECT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0].at("title"), "photo");
  EXPECT_EQ(models[0].at("filename"), "tiny-sd15.safetensors");
  EXPECT_EQ(compatible_server().get("/sdapi/v1/samplers").json().size(), samplers().size());
  EXPECT_EQ(compatible_server().get("/sdapi/v1/schedulers").json()[1].at("label"), "Karras");
  const json loras = compatible_server().get("/sdapi/v1/loras").json();
  ASSERT_EQ(loras.size(), 1u);
  EXPECT_EQ(loras[0].at("name"), "ink");
  EXPECT_EQ(loras[0].at("alias"), "Ink");
}

TEST(Sdapi, ShowsProgress) {
  const json idle = compatible_server().get("/sdapi/v1/progress").json();
  EXPECT_EQ(idle.at("progress"), 0);
  EXPECT_EQ(idle.at("state").at("job_count"), 0);
  EXPECT_EQ(idle.at("current_image"), nullptr);
  std::thread request([] {
    compatible_server().post("/sdapi/v1/txt2img", {{"prompt", "p"}, {"width", 256}, {"height", 256}, {"steps", 50}});
  });
  json seen;
  for (int i = 0; i < 10'000 && (seen.is_null() || seen.at("progress") == 0); ++i)
    seen = compatible_server().get("/sdapi/v1/progress?skip_current_image=true").json();
  request.join();
  EXPECT_GT(seen.at("progress").get<double>(), 0);
  EXPECT_EQ(seen.at("state").at("job_count"), 1);
  EXPECT_EQ(seen.at("state").at("sampling_steps"), 50);
  EXPECT_EQ(compatible_server().get("/sdapi/v1/progress").json().at("state").at("job_count"), 0);
}

TEST(Sdapi, SwitchesTheModelByItsOptions) {
  TestServer switched({.modes = true});
  ASSERT_TRUE(switched.wait_until_ready());
  EXPECT_EQ(switched.get("/sdapi/v1/options").json().at("sd_model_checkpoint"), "photo");
  const Answer answer = switched.post("/sdapi/v1/options", {{"sd_model_checkpoint", "wide"}, {"other", 1}});
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json(), nullptr);
  EXPECT_EQ(switched.get("/sdapi/v1/options").json().at("sd_model_checkpoint"), "wide");
  EXPECT_EQ(switched.post("/sdapi/v1/options", {{"sd_model_checkpoint", "nope"}}).status, 404);
}

// --- modes ---

TEST(Modes, AreListedSwitchedAndReloaded) {
  TestServer modes({.modes = true});
  ASSERT_TRUE(modes.wait_until_ready());
  const json listed = modes.get("/api/modes").json();
  EXPECT_EQ(listed.at("current"), "photo");
  EXPECT_EQ(listed.at("default"), "photo");
  ASSERT_EQ(listed.at("modes").size(), 3u);
  EXPECT_EQ(listed.at("modes")[0].at("name"), "photo");
  EXPECT_EQ(listed.at("modes")[0].at("size"), "64x64");
  EXPECT_EQ(listed.at("modes")[0].at("styles")[0].at("style"), "ink");

  const Answer generated = modes.post("/generate", {{"prompt", "p"}});
  EXPECT_EQ(generated.header("x-mode"), "photo");
  EXPECT_EQ(generated.picture().width, 64);
  const Answer other = modes.post("/generate", {{"prompt", "p"}, {"mode", "wide"}});
  EXPECT_EQ(other.header("x-mode"), "wide");
  EXPECT_EQ(other.header("x-model"), "tiny-sd2");

  const Answer switched = modes.post("/api/modes/switch", {{"mode", "wide"}});
  ASSERT_EQ(switched.status, 200) << switched.body;
  EXPECT_EQ(switched.json().at("current"), "wide");
  EXPECT_EQ(modes.post("/generate", {{"prompt", "p"}}).picture().width, 96);

  EXPECT_EQ(modes.post("/api/modes/switch", {{"mode", "nope"}}).status, 404);
  EXPECT_EQ(modes.post("/api/modes/switch", json::object()).status, 422);
  // A mode that cannot be loaded leaves the one before.
  EXPECT_GE(modes.post("/api/modes/switch", {{"mode", "gone"}}).status, 400);
  EXPECT_EQ(modes.get("/api/modes").json().at("current"), "wide");
  EXPECT_EQ(modes.post("/generate", {{"prompt", "p"}}).status, 200);
  EXPECT_EQ(modes.post_text("/api/modes/reload", "").json().at("modes").size(), 3u);
}

TEST(Modes, AreNotThereWithoutAFile) {
  TestServer bare;
  const json listed = bare.get("/api/modes").json();
  EXPECT_EQ(listed.at("current"), nullptr);
  EXPECT_TRUE(listed.at("modes").empty());
  EXPECT_EQ(bare.post("/api/modes/switch", {{"mode", "photo"}}).status, 404);
  EXPECT_EQ(bare.post_text("/api/modes/reload", "").status, 404);
}

// --- states ---

TEST(Status, TellsOfTheProcessAndTheModels) {
  const json health = compatible_server().get("/health").json();
  EXPECT_EQ(health.at("status"), "ok");
  EXPECT_EQ(health.at("version"), "1.2.3");
  EXPECT_EQ(compatible_server().get("/ready").json().at("model"), "tiny-sd15");
  const json models = compatible_server().get("/api/models/status").json();
  EXPECT_EQ(models.at("sd").at("ready"), true);
  EXPECT_EQ(models.at("sd").at("model"), "tiny-sd15");
  EXPECT_EQ(models.at("sd").at("queue").at("max"), 64);
  EXPECT_EQ(models.at("sd").at("defaults"), json({{"steps", 2}, {"guidance_scale", 1.0}, {"scheduler", "lcm"}}));
  EXPECT_EQ(models.at("sdxl").at("model"), "tiny-sdxl");
  EXPECT_EQ(models.at("sdxl").at("cross_attention_dim"),
            compatible_server().context().sdxl->worker()->info().cross_attention_dim);
  EXPECT_EQ(models.at("superres").at("model"), compatible_server().context().super_resolution->model());
  const json memory = compatible_server().get("/api/vram").json();
  EXPECT_GT(memory.at("total_bytes").get<int64_t>(), memory.at("process_bytes").get<int64_t>());
  EXPECT_GE(memory.at("process_peak_bytes").get<int64_t>(), memory.at("process_bytes").get<int64_t>());
  EXPECT_TRUE(memory.at("gpu").is_null()) << "this server computes on the CPU";
}

TEST(Status, TheDocumentsPageAsksNoOtherHost) {
  const Answer docs = compatible_server().get("/docs");
  EXPECT_EQ(docs.status, 200);
  EXPECT_EQ(docs.header("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(docs.body, HasSubstr("openapi.json"));
  EXPECT_THAT(docs.body, testing::Not(HasSubstr("http://")));
  EXPECT_THAT(docs.body, testing::Not(HasSubstr("https://")));
}

}  // namespace
}  // namespace dreamlab
