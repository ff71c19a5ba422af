#include "dreamlab/interruption.h"

#include <csignal>

namespace dreamlab {

CancelToken interrupted;

namespace {

void interrupt(int signal) {
  interrupted.cancel();
  std::signal(signal, SIG_DFL);
}

}  // namespace

void listen_for_interruption() {
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
}

}  // namespace dreamlab
