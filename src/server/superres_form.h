#pragma once

#include <string>

#include "server/schema.h"

namespace dreamlab {

// The form of /superres.
struct SuperResForm {
  std::string file;
  int magnitude = 2;
  std::string out_format = "png";
  int quality = 92;
};

const Schema<SuperResForm>& superres_schema();

}  // namespace dreamlab
