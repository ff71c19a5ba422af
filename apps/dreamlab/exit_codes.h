#pragma once

namespace dreamlab {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;  // a flag, a variable or a value is wrong

}  // namespace dreamlab
