#pragma once

#include "base/cancel.h"

namespace dreamlab {

// Raised by Ctrl-C or SIGTERM once listen_for_interruption() was called: the command ends after the work at hand. A
// second signal ends the process.
extern CancelToken interrupted;

void listen_for_interruption();

}  // namespace dreamlab
