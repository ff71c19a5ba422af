#pragma once

// Upscaler files with random weights, and pictures to enlarge.
#include <filesystem>
#include <string>

#include "base/image.h"
#include "weights/expected_tensors.h"
#include "weights/random_weights.h"
#include "weights/tensor_writer.h"

namespace dreamlab {

template <typename Config>
std::filesystem::path write_network(const TemporaryDirectory& directory, const std::string& name, const Config& config,
                                    uint64_t seed = 5) {
  const ExpectedTensors tensors = expected_tensors(config);
  const RandomWeights weights(seed, DType::f32, tensors);
  TensorWriter writer;
  for (const ExpectedTensor& tensor : tensors) writer.add(tensor.name, weights.get(tensor.name, tensor.shape));
  return directory.write(name, writer.file());
}

// Smooth, with edges and some noise.
inline Image test_picture(int64_t width, int64_t height, int64_t channels = 3) {
  Image picture = Image::blank(width, height, channels);
  uint32_t state = 1;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c) {
        state = state * 1664525u + 1013904223u;
        const int64_t step = (x / 13 + y / 9 + c) % 3 * 40;
        picture.row(y)[x * channels + c] =
            static_cast<uint8_t>(c == 3 ? 255 : 60 + step + (2 * x + y) % 64 + static_cast<int64_t>(state >> 29));
      }
  return picture;
}

}  // namespace dreamlab
