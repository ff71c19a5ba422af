#pragma once

#include <string>

namespace dreamlab {

// What debuggers and `top -H` show; cut off after 15 bytes, which is what Linux keeps.
void name_this_thread(const std::string& name);

}  // namespace dreamlab
