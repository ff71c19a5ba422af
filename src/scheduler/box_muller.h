#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dreamlab {

// cuRAND's Box-Muller transform of pairs of random words: f32 normals by the sine, and by the cosine where `cosines` is
// not empty. All spans have one length, else Error(internal). The same bits on every processor: additions,
// multiplications, divisions and roots alone, in the order of portable_log and portable_sincos.
void box_muller(std::span<const uint32_t> radius_words, std::span<const uint32_t> angle_words, std::span<float> sines,
                std::span<float> cosines);

}  // namespace dreamlab
