#pragma once

#include <memory>

#include "server/router.h"
#include "server/server_context.h"

namespace dreamlab {

// GET and PUT /storage/{key}, GET /storage/health.
void register_storage_routes(Router& router, const std::shared_ptr<ServerContext>& context);

}  // namespace dreamlab
