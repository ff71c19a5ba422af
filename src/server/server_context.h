#pragma once

// What the routes work with. Made by `dreamlab serve` and by tests; outlives every request.
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "base/config.h"
#include "service/modes.h"
#include "service/pipeline_service.h"
#include "service/storage.h"
#include "service/super_resolution_service.h"

namespace dreamlab {

class HttpStatistics;
class JobRegistry;

struct ServerContext {
  Config config;
  std::string version;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  std::shared_ptr<ModeRegistry> modes = nullptr;    // of sd
  std::shared_ptr<PipelineService> sd = nullptr;    // /generate and everything that does not name another
  std::shared_ptr<PipelineService> sdxl = nullptr;  // /generate_sdxl; null: not enabled
  std::shared_ptr<SuperResolutionService> super_resolution = nullptr;  // null: not enabled
  std::shared_ptr<Storage> storage = nullptr;                          // null: none
  std::shared_ptr<JobRegistry> jobs = nullptr;                         // of /api/jobs
  std::shared_ptr<HttpStatistics> http = nullptr;                      // for /metrics; null: not counted

  // For work that would hold up the server's threads: decoding uploads, encoding pictures, storage.
  std::shared_ptr<boost::asio::thread_pool> blocking = nullptr;
};

}  // namespace dreamlab
