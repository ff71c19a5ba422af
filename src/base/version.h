#pragma once

#include <string_view>

namespace dreamlab {

// "0.1.0"
std::string_view version();
// "dreamlab 0.1.0", as pictures, --version and the server name the program.
std::string_view program_name();

}  // namespace dreamlab
