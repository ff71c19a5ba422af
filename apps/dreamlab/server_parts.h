#pragma once

// From the configuration to the parts of a server.
#include <memory>
#include <vector>

#include "base/config.h"
#include "server/server.h"
#include "server/server_context.h"

namespace dreamlab {

// Services with their models loading in the background, storage, and what else the routes work with. Throws Error, one
// line, for a model that is not what the configuration says it is, and for whatever else cannot be used.
std::shared_ptr<ServerContext> make_server_context(const Config& config);

// The limits on time and size are the server's own.
ServerOptions server_options(const Config& config);

// The pipeline services of the context, one or two.
std::vector<std::shared_ptr<PipelineService>> pipeline_services(const ServerContext& context);

}  // namespace dreamlab
