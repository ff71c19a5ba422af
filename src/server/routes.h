#pragma once

#include <memory>

#include "server/router.h"
#include "server/server_context.h"

namespace dreamlab {

// Every route of the server, /openapi.json and /docs among them. Handlers hold on to the context.
void register_routes(Router& router, const std::shared_ptr<ServerContext>& context);

}  // namespace dreamlab
