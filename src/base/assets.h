#pragma once

#include <filesystem>
#include <optional>

namespace dreamlab {

// What is shipped beside the program, "models/demo" for instance: in the assets/ of the source tree that it was built
// in, or in the share/dreamlab/ of where it is installed (bin/dreamlab, share/dreamlab/models/demo). nullopt where it
// is not there.
std::optional<std::filesystem::path> find_asset(const std::filesystem::path& name);

}  // namespace dreamlab
