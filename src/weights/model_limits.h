#pragma once

// Limits that no published network comes near. They bound what a hostile configuration or file can make us list or
// allocate.
#include <cstdint>

namespace dreamlab {

constexpr int64_t kMostChannels = 65536;
constexpr int64_t kMostLevels = 8;
constexpr int64_t kMostResnets = 16;  // of a level
constexpr int64_t kMostBlocks = 64;   // of a transformer, a previewer or an upscaler
constexpr int64_t kMostLayers = 256;  // of a text encoder
constexpr int64_t kMostHeads = 1024;
constexpr int64_t kWidestKernel = 31;  // of a sub-pixel CNN
constexpr int64_t kLargestScale = 8;   // of a sub-pixel CNN

}  // namespace dreamlab
