#pragma once

// The one logger. Lines go to standard error; the command line's --verbose and the server's LOG_LEVEL set the level.
#include <spdlog/spdlog.h>

namespace dreamlab {

namespace log = spdlog;

}  // namespace dreamlab
