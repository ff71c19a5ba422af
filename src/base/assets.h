#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace dreamlab {

// What is shipped beside the program, "models/demo" for instance: in the assets/ of the source tree that it was built
// in, or in the share/dreamlab/ of where it is installed (bin/dreamlab, share/dreamlab/models/demo). nullopt where it
// is not there.
std::optional<std::filesystem::path> find_asset(const std::filesystem::path& name);

// The first of `places`/`name` that is there, seen from the program's directory or from one of the few above it.
std::optional<std::filesystem::path> find_beside_program(std::initializer_list<std::string_view> places,
                                                         const std::filesystem::path& name);

}  // namespace dreamlab
