#pragma once

#include <string>
#include <string_view>

namespace dreamlab {

// Text from a file, fit for one line of a message: control and non-ASCII bytes as \xNN, cut after 120 bytes.
std::string printable(std::string_view text);

}  // namespace dreamlab
