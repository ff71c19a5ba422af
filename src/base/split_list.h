#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dreamlab {

// "a, b ,c": the words between commas without the blanks around them.
std::vector<std::string> split_list(std::string_view text);

}  // namespace dreamlab
