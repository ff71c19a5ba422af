#include "pipeline/request.h"

#include "base/error.h"

namespace dreamlab {

TilingMode tiling_mode_from_name(std::string_view name) {
  if (name == "auto") return TilingMode::automatic;
  if (name == "on") return TilingMode::on;
  if (name == "off") return TilingMode::off;
  fail(ErrorKind::invalid_argument, "\"{}\" is no way of tiling; there are auto, on and off", name);
}

}  // namespace dreamlab
