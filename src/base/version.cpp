#include "base/version.h"

namespace dreamlab {

std::string_view version() {
  return DREAMLAB_VERSION;
}

std::string_view program_name() {
  return "dreamlab " DREAMLAB_VERSION;
}

}  // namespace dreamlab
