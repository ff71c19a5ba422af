#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace prometheus {
struct MetricFamily;
}

namespace dreamlab {

// What the server counts of its requests. Safe to use from several threads.
class HttpStatistics {
 public:
  HttpStatistics();
  ~HttpStatistics();

  // Of one answered request: its time from the first byte of the request to the last of the answer.
  void count(int status, double seconds, uint64_t bytes_sent);
  std::vector<prometheus::MetricFamily> families() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace dreamlab
