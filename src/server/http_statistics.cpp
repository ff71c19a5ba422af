#include "server/http_statistics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>

namespace dreamlab {

struct HttpStatistics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                          .Name("dreamlab_http_requests_total")
                                                          .Help("Answered requests by status.")
                                                          .Register(registry);
  prometheus::Counter& bytes = prometheus::BuildCounter()
                                   .Name("dreamlab_http_response_bytes_total")
                                   .Help("Bytes of answers, without their headers.")
                                   .Register(registry)
                                   .Add({});
  prometheus::Histogram& seconds =
      prometheus::BuildHistogram()
          .Name("dreamlab_http_request_duration_seconds")
          .Help("Time from a request to the end of its answer.")
          .Register(registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 60, 120});
};

HttpStatistics::HttpStatistics() : impl_(std::make_unique<Impl>()) {}
HttpStatistics::~HttpStatistics() = default;

void HttpStatistics::count(int status, double seconds, uint64_t bytes_sent) {
  impl_->requests.Add({{"code", std::to_string(status)}}).Increment();
  impl_->bytes.Increment(static_cast<double>(bytes_sent));
  impl_->seconds.Observe(seconds);
}

std::vector<prometheus::MetricFamily> HttpStatistics::families() const {
  return impl_->registry.Collect();
}

}  // namespace dreamlab
