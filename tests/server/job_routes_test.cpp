// /api/jobs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "server/base64.h"
#include "server/test_server.h"

namespace dreamlab {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

TestServer& job_server() {
  static TestServer& server = start_shared_server();
  static const bool ready = server.wait_until_ready();
  if (!ready) throw std::runtime_error("the model was not loaded");
  return server;
}

struct Event {
  std::string name;
  json data;
};

// Reads a stream of server-sent events to its end.
std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  std::istringstream lines(text);
  Event event;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("event: ", 0) == 0) event.name = line.substr(7);
    if (line.rfind("data: ", 0) == 0) event.data = json::parse(line.substr(6));
    if (line.empty() && !event.name.empty()) {
      events.push_back(event);
      event = {};
    }
  }
  return events;
}

std::string submit(const json& body) {
  const Answer answer = job_server().post("/api/jobs", body);
  EXPECT_EQ(answer.status, 202) << answer.body;
  const std::string id = answer.json().at("id");
  EXPECT_EQ(answer.header("location"), "/api/jobs/" + id);
  return id;
}

TEST(Jobs, LeadToThePictureOfGenerate) {
  const std::string id = submit(small_body());
  const Answer stream = job_server().get("/api/jobs/" + id + "/events");
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(stream.header("content-type"), "text/event-stream");
  const std::vector<Event> events = events_of(stream.body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().name, "done");
  EXPECT_EQ(events.back().data.at("seed"), 42);

  const json job = job_server().get("/api/jobs/" + id).json();
  EXPECT_EQ(job.at("state"), "done");
  EXPECT_EQ(job.at("image"), "/api/jobs/" + id + "/image");
  EXPECT_EQ(job.at("error"), nullptr);
  const Answer image = job_server().get("/api/jobs/" + id + "/image");
  const Answer generated = job_server().post("/generate", small_body());
  EXPECT_EQ(image.status, 200);
  EXPECT_EQ(image.header("content-type"), "image/png");
  EXPECT_EQ(image.header("x-seed"), "42");
  EXPECT_EQ(image.header("x-model"), "tiny-sd15");
  EXPECT_EQ(image.body, generated.body);
}

TEST(Jobs, TellEachStepWithAPreview) {
  json body = small_body();
  body.update({{"num_inference_steps", 12}, {"size", "256x256"}, {"latents", true}});
  const std::string id = submit(body);
  const std::vector<Event> events = events_of(job_server().get("/api/jobs/" + id + "/events").body);
  int last = 0, previews = 0;
  for (const Event& event : events) {
    if (event.name == "step") {
      EXPECT_GE(event.data.at("step").get<int>(), last);
      last = event.data.at("step");
      EXPECT_EQ(event.data.at("state"), "running");
    }
    if (event.name != "preview") continue;
    ++previews;
    const std::string url = event.data.at("image");
    EXPECT_THAT(url, StartsWith("data:image/jpeg;base64,"));
    const auto bytes = decode_base64(std::string_view(url).substr(url.find(',') + 1));
    ASSERT_TRUE(bytes);
    const Image preview = decode_image(*bytes, "preview").image;
    EXPECT_LE(preview.width, 128);
    EXPECT_GT(preview.width, 0);
  }
  EXPECT_GT(previews, 0);
  EXPECT_EQ(events.back().name, "done");
  EXPECT_EQ(decode_base64(job_server().get("/api/jobs/" + id + "/image").header("x-latent-fingerprint"))->size(), 512u);
}

TEST(Jobs, AreFollowedByLatecomersAndSeveralListeners) {
  const std::string id = submit(small_body());
  job_server().get("/api/jobs/" + id + "/events");
  const Answer late = ask(job_server().port(), "GET", "/api/jobs/" + id + "/events", "", {{"Last-Event-ID", "3"}});
  const std::vector<Event> events = events_of(late.body);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].name, "done");
}

TEST(Jobs, AreUpscaled) {
  json body = small_body();
  body.update({{"superres", true}, {"superres_magnitude", 1}, {"superres_format", "jpeg"}});
  const std::string id = submit(body);
  EXPECT_EQ(events_of(job_server().get("/api/jobs/" + id + "/events").body).back().name, "done");
  const Answer image = job_server().get("/api/jobs/" + id + "/image");
  EXPECT_EQ(image.header("content-type"), "image/jpeg");
  EXPECT_EQ(image.header("x-superres"), "1");
  EXPECT_EQ(image.header("x-sr-passes"), "1");
}

TEST(Jobs, AreCancelledByDelete) {
  json body = small_body();
  body.update({{"num_inference_steps", 50}, {"size", "512x512"}});
  const std::string id = submit(body);
  EXPECT_EQ(job_server().get("/api/jobs/" + id + "/image").status, 409);
  EXPECT_EQ(ask(job_server().port(), "DELETE", "/api/jobs/" + id).status, 200);
  const std::vector<Event> events = events_of(job_server().get("/api/jobs/" + id + "/events").body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().name, "cancelled");
  EXPECT_EQ(job_server().get("/api/jobs/" + id).json().at("state"), "cancelled");
  EXPECT_EQ(ask(job_server().port(), "DELETE", "/api/jobs/" + id).status, 200);
  EXPECT_EQ(job_server().post("/generate", small_body()).status, 200);
}

TEST(Jobs, AListenerWhoLeavesCancelsNothing) {
  json body = small_body();
  body.update({{"num_inference_steps", 12}, {"size", "256x256"}});
  const std::string id = submit(body);
  ask_and_leave(job_server().port(), "GET", "/api/jobs/" + id + "/events", "", 40);
  EXPECT_EQ(events_of(job_server().get("/api/jobs/" + id + "/events").body).back().name, "done");
}

TEST(Jobs, FailWithTheirError) {
  json body = small_body();
  body.update({{"num_inference_steps", 50}, {"size", "512x512"}, {"timeout", 0.05}});
  const std::string id = submit(body);
  const std::vector<Event> events = events_of(job_server().get("/api/jobs/" + id + "/events").body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().name, "failed");
  EXPECT_FALSE(events.back().data.at("error").get<std::string>().empty());
  EXPECT_EQ(job_server().get("/api/jobs/" + id + "/image").status, 504);
}

TEST(Jobs, AreRefusedAtOnceWhereTheyAreWrong) {
  EXPECT_EQ(job_server().post_text("/api/jobs", "{").status, 400);
  const Answer answer = job_server().post("/api/jobs", {{"prompt", "p"}, {"seed", -1}});
  EXPECT_EQ(answer.status, 422);
  EXPECT_THAT(answer.detail(), HasSubstr("seed is -1"));
}

TEST(Jobs, ThatAreUnknownAre404) {
  for (const char* target : {"/api/jobs/nope", "/api/jobs/nope/image", "/api/jobs/nope/events"}) {
    EXPECT_EQ(job_server().get(target).status, 404) << target;
  }
  EXPECT_EQ(ask(job_server().port(), "DELETE", "/api/jobs/nope").status, 404);
}

TEST(Jobs, BeyondTheQueueAreTurnedAwayWithRetryAfter) {
  TestServer narrow({.queue_max = 1});
  ASSERT_TRUE(narrow.wait_until_ready());
  json body = small_body();
  body.update({{"num_inference_steps", 50}, {"size", "512x512"}});
  std::vector<std::string> ids;
  Answer refused;
  for (int i = 0; i < 100 && refused.status != 429; ++i) {
    refused = narrow.post("/api/jobs", body);
    if (refused.status == 202) ids.push_back(refused.json().at("id"));
  }
  EXPECT_EQ(refused.status, 429);
  EXPECT_GT(std::stoi(refused.header("retry-after")), 0);
  for (const std::string& id : ids) ask(narrow.port(), "DELETE", "/api/jobs/" + id);
}

}  // namespace
}  // namespace dreamlab
