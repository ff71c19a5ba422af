#include "server/metrics_routes.h"

#include <gmock/gmock.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "server/http_statistics.h"
#include "server/route_client.h"
#include "service/scripted_worker.h"
#include "service/submitted_job.h"

namespace dreamlab {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;

// "name{labels}" -> value. Fails where the text is not what Prometheus reads.
std::map<std::string, double> samples_of(const std::string& text) {
  static const std::regex kSample(R"re(([a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z_]+="[^"\n]*",?)*\})?) (\S+))re");
  static const std::regex kComment(R"re(# (HELP [a-z_]+ .+|TYPE [a-z_]+ (gauge|counter|histogram)))re");
  std::map<std::string, double> samples;
  std::set<std::string> comments;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (line.starts_with("#")) {
      EXPECT_TRUE(std::regex_match(line, kComment)) << line;
      EXPECT_TRUE(comments.insert(line).second) << line << ": twice";
    } else if (std::regex_match(line, parts, kSample)) {
      EXPECT_TRUE(samples.emplace(parts[1], std::stod(parts[4])).second) << line << ": twice";
    } else {
      ADD_FAILURE() << "not a sample: " << line;
    }
  }
  return samples;
}

class Metrics : public ::testing::Test {
 protected:
  Metrics() {
    context_->version = "1.2.3";
    context_->http = std::make_shared<HttpStatistics>();
    register_metrics_routes(router_, context_);
  }
  ~Metrics() override { script_.let_steps_go(); }

  std::shared_ptr<PipelineService> make_service(size_t queue_max) {
    ServiceOptions options;
    options.name = "SD";
    options.queue_max = queue_max;
    options.batch_max = 1;
    auto service = std::make_shared<PipelineService>(options, ModeRegistry::single({}), script_.factory());
    EXPECT_TRUE(wait_until_ready(*service));
    return service;
  }
  std::map<std::string, double> samples() const {
    const HttpResponse response = ask(router_, "GET", "/metrics");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(header_of(response, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    return samples_of(response.body);
  }

  Script script_;
  std::shared_ptr<ServerContext> context_ = std::make_shared<ServerContext>();
  Router router_;
};

TEST_F(Metrics, TellOfTheProcess) {
  auto found = samples();
  EXPECT_EQ(found["dreamlab_build_info{version=\"1.2.3\"}"], 1);
  EXPECT_GT(found["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(found["process_cpu_seconds_total"], 0);
  EXPECT_GE(found["dreamlab_uptime_seconds"], 0);
  EXPECT_THAT(found, Not(Contains(Key("dreamlab_queue_depth{service=\"sdxl\"}")))) << "which is not there";
}

TEST_F(Metrics, CountJobsByTheirEnd) {
  context_->sd = make_service(1);
  script_.hold_steps();
  SubmittedJob running(*context_->sd, request_of("a", 2));
  ASSERT_TRUE(script_.wait_for_held_step());
  SubmittedJob waiting(*context_->sd, request_of("b"));
  EXPECT_THROW(SubmittedJob(*context_->sd, request_of("c")), Error);

  auto found = samples();
  EXPECT_EQ(found["dreamlab_ready{service=\"sd\"}"], 1);
  EXPECT_EQ(found["dreamlab_queue_depth{service=\"sd\"}"], 1);
  EXPECT_EQ(found["dreamlab_queue_limit{service=\"sd\"}"], 1);
  EXPECT_EQ(found["dreamlab_active_jobs{service=\"sd\"}"], 1);
  EXPECT_EQ(found["dreamlab_jobs_submitted_total{service=\"sd\"}"], 2);
  EXPECT_EQ(found["dreamlab_jobs_total{service=\"sd\",outcome=\"turned_away\"}"], 1);

  waiting.ticket().cancel();
  EXPECT_EQ(waiting.error(), ErrorKind::cancelled);
  script_.let_steps_go();
  running.result();
  EXPECT_EQ(SubmittedJob(*context_->sd, request_of("oom")).error(), ErrorKind::out_of_memory);

  found = samples();
  EXPECT_EQ(found["dreamlab_queue_depth{service=\"sd\"}"], 0);
  EXPECT_EQ(found["dreamlab_jobs_total{service=\"sd\",outcome=\"succeeded\"}"], 1);
  EXPECT_EQ(found["dreamlab_jobs_total{service=\"sd\",outcome=\"failed\"}"], 1);
  EXPECT_EQ(found["dreamlab_jobs_total{service=\"sd\",outcome=\"cancelled\"}"], 1);
  EXPECT_EQ(found["dreamlab_jobs_total{service=\"sd\",outcome=\"timed_out\"}"], 0);
  EXPECT_EQ(found["dreamlab_stage_seconds_total{service=\"sd\",stage=\"text\"}"], 2);
  EXPECT_EQ(found["dreamlab_stage_seconds_total{service=\"sd\",stage=\"decode\"}"], 3);
  EXPECT_GE(found["dreamlab_steps_total{service=\"sd\"}"], 2);
  EXPECT_EQ(found["dreamlab_model_info{service=\"sd\",worker=\"SD\",model=\"scripted\",dtype=\"\"}"], 1);
}

TEST_F(Metrics, CountRequests) {
  context_->http->count(200, 0.03, 1000);
  context_->http->count(200, 3, 2000);
  context_->http->count(429, 0.001, 30);
  auto found = samples();
  EXPECT_EQ(found["dreamlab_http_requests_total{code=\"200\"}"], 2);
  EXPECT_EQ(found["dreamlab_http_requests_total{code=\"429\"}"], 1);
  EXPECT_EQ(found["dreamlab_http_response_bytes_total"], 3030);
  EXPECT_EQ(found["dreamlab_http_request_duration_seconds_count"], 3);
  EXPECT_EQ(found["dreamlab_http_request_duration_seconds_bucket{le=\"0.1\"}"], 2);
  EXPECT_EQ(found["dreamlab_http_request_duration_seconds_bucket{le=\"+Inf\"}"], 3);
}

}  // namespace
}  // namespace dreamlab
