#pragma once

#include <string>

#include "weights/inspect.h"

namespace dreamlab {

struct InspectOptions {
  std::string path;
  bool json = false;
};

// Prints what a model file or directory is: a table for people, or one JSON object. Throws Error when it cannot be
// read.
void run_inspect(const InspectOptions& options);

// The two forms, each ending with a newline.
std::string inspect_table(const FileReport& report);
std::string inspect_json(const FileReport& report);

}  // namespace dreamlab
