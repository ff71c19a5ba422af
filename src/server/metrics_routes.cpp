#include "server/metrics_routes.h"

#include <prometheus/text_serializer.h>
#include <sys/resource.h>

#include <chrono>
#include <iterator>

#include "server/http_statistics.h"
#include "server/route_modules.h"
#include "service/resident_memory.h"

namespace dreamlab {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

ClientMetric sample(MetricType type, Labels labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return metric;
}

// One sample of a queue's statistics; rows of one name stand together.
template <typename Statistics>
struct Row {
  const char* name;
  MetricType type;
  const char* help;
  double (*read)(const Statistics&);
  const char* label = nullptr;  // beside `service`
  const char* value = nullptr;
};

constexpr MetricType kGauge = MetricType::Gauge;
constexpr MetricType kCounter = MetricType::Counter;
constexpr const char* kJobsHelp = "Ended jobs by how they ended; turned_away: the queue was full.";
constexpr const char* kStageHelp = "Time spent in the stages of a picture.";

// What both kinds of queue count.
template <typename S>
constexpr Row<S> kQueueRows[] = {
    {"dreamlab_queue_depth", kGauge, "Jobs that wait.", [](const S& s) { return double(s.queue_depth); }},
    {"dreamlab_queue_limit", kGauge, "Jobs that may wait before a further one is turned away.",
     [](const S& s) { return double(s.queue_max); }},
    {"dreamlab_active_jobs", kGauge, "Jobs that run.", [](const S& s) { return double(s.active); }},
    {"dreamlab_jobs_total", kCounter, kJobsHelp, [](const S& s) { return double(s.succeeded); }, "outcome",
     "succeeded"},
    {"dreamlab_jobs_total", kCounter, kJobsHelp, [](const S& s) { return double(s.failed); }, "outcome", "failed"},
    {"dreamlab_jobs_total", kCounter, kJobsHelp, [](const S& s) { return double(s.cancelled); }, "outcome",
     "cancelled"},
    {"dreamlab_jobs_total", kCounter, kJobsHelp, [](const S& s) { return double(s.timed_out); }, "outcome",
     "timed_out"},
    {"dreamlab_jobs_total", kCounter, kJobsHelp, [](const S& s) { return double(s.turned_away); }, "outcome",
     "turned_away"},
    {"dreamlab_job_run_seconds_total", kCounter, "Time that ended jobs ran.", [](const S& s) { return s.run_s; }},
};

using P = ServiceStatistics;
constexpr Row<P> kPipelineRows[] = {
    {"dreamlab_ready", kGauge, "Whether a model is loaded.", [](const P& s) { return double(s.ready); }},
    {"dreamlab_jobs_submitted_total", kCounter, "Jobs that were taken into the queue.",
     [](const P& s) { return double(s.submitted); }},
    {"dreamlab_job_wait_seconds_total", kCounter, "Time that ended jobs waited.", [](const P& s) { return s.wait_s; }},
    {"dreamlab_stage_seconds_total", kCounter, kStageHelp, [](const P& s) { return s.text_s; }, "stage", "text"},
    {"dreamlab_stage_seconds_total", kCounter, kStageHelp, [](const P& s) { return s.denoise_s; }, "stage", "denoise"},
    {"dreamlab_stage_seconds_total", kCounter, kStageHelp, [](const P& s) { return s.decode_s; }, "stage", "decode"},
    {"dreamlab_stage_seconds_total", kCounter, kStageHelp, [](const P& s) { return s.encode_png_s; }, "stage",
     "encode_png"},
    {"dreamlab_steps_total", kCounter, "Denoising steps, each of which may carry several jobs.",
     [](const P& s) { return double(s.steps); }},
    {"dreamlab_step_jobs_total", kCounter, "Jobs in all denoising steps; by dreamlab_steps_total: the mean batch.",
     [](const P& s) { return double(s.images_in_steps); }},
};

// Families in the order of their first sample.
class Families {
 public:
  void add(const char* name, MetricType type, const char* help, Labels labels, double value) {
    family(name, type, help).metric.push_back(sample(type, std::move(labels), value));
  }

  template <typename Statistics, size_t N>
  void add(const char* service, const Row<Statistics> (&rows)[N], const Statistics& statistics) {
    for (const Row<Statistics>& row : rows) {
      Labels labels = {{"service", service}};
      if (row.label != nullptr) labels.push_back({row.label, row.value});
      add(row.name, row.type, row.help, std::move(labels), row.read(statistics));
    }
  }

  void add(std::vector<MetricFamily> more) {
    families_.insert(families_.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  const std::vector<MetricFamily>& all() const { return families_; }

 private:
  MetricFamily& family(const char* name, MetricType type, const char* help) {
    for (MetricFamily& known : families_) {
      if (known.name == name) return known;
    }
    families_.push_back({name, help, type, {}});
    return families_.back();
  }

  std::vector<MetricFamily> families_;
};

void add_pipeline(Families& families, const char* name, const PipelineService* service) {
  if (service == nullptr) return;
  const ServiceStatistics statistics = service->statistics();
  families.add(name, kQueueRows<ServiceStatistics>, statistics);
  families.add(name, kPipelineRows, statistics);
  if (const auto worker = service->worker()) {
    const WorkerInfo& info = worker->info();
    families.add("dreamlab_model_info", kGauge, "The loaded model.",
                 {{"service", name}, {"worker", info.worker}, {"model", info.model}, {"dtype", info.dtype}}, 1);
  }
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

void add_process(Families& families, const ServerContext& context) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - context.started;
  families.add("dreamlab_build_info", kGauge, "The program.", {{"version", context.version}}, 1);
  families.add("process_resident_memory_bytes", kGauge, "Memory that is resident.", {},
               static_cast<double>(resident_bytes()));
  families.add("process_cpu_seconds_total", kCounter, "Processor time, of user and system.", {},
               seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
  families.add("dreamlab_uptime_seconds", kGauge, "Time since the start.", {}, age.count());
}

}  // namespace

std::string metrics_text(const ServerContext& context) {
  Families families;
  add_process(families, context);
  add_pipeline(families, "sd", context.sd.get());
  add_pipeline(families, "sdxl", context.sdxl.get());
  if (context.super_resolution) {
    families.add("superres", kQueueRows<SuperResolutionStatistics>, context.super_resolution->statistics());
  }
  if (context.http) families.add(context.http->families());
  return prometheus::TextSerializer().Serialize(families.all());
}

void register_metrics_routes(Router& router, const ContextPtr& context) {
  add_route(router,
            {.method = "GET",
             .pattern = "/metrics",
             .handler = [context](HttpRequest&) -> boost::asio::awaitable<HttpResponse> {
               HttpResponse response;
               response.headers.emplace_back("Content-Type", kContentType);
               response.body = metrics_text(*context);
               co_return response;
             }},
            {.tag = "Status",
             .summary = "Figures for Prometheus",
             .responses = {{200, "In the text format.", {{kContentType, nullptr}}}}});
}

}  // namespace dreamlab
