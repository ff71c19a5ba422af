#pragma once

#include <memory>
#include <string>

#include "server/router.h"
#include "server/server_context.h"

namespace dreamlab {

// GET /metrics.
void register_metrics_routes(Router& router, const std::shared_ptr<ServerContext>& context);

// The text of GET /metrics (Prometheus' exposition format, version 0.0.4).
std::string metrics_text(const ServerContext& context);

}  // namespace dreamlab
