#pragma once

// Enlarging pictures: by a network of the ESRGAN kind, by a sub-pixel CNN on luminance, on a Device or compiled for an
// NPU, or by Lanczos.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/cancel.h"
#include "base/image.h"
#include "base/picture_size.h"
#include "device/make_device.h"

namespace dreamlab {

constexpr int kMostUpscalePasses = 3;

// Of a network that was compiled for an NPU.
struct NpuUpscalerOptions {
  std::string library = "librknnrt.so";     // the runtime
  int64_t input_side = 0, output_side = 0;  // that it must have; 0: any
};

struct UpscalerOptions {
  std::string path;  // RRDBNet or ESPCN, .pth or .safetensors; a network for luminance that was compiled for an NPU,
                     // .rknn; "": Lanczos, twice the side a pass
  DeviceChoice device = {};  // its precision is RRDBNet's; ESPCN has fp32
  int64_t tile = 0;          // side of a tile in pixels; 0: what suits the network
  NpuUpscalerOptions npu = {};
};

struct UpscaleOptions {
  int passes = 1;  // each multiplies the side by scale()
  int64_t max_pixels = 24'000'000;
  const CancelToken* cancel = nullptr;  // looked at before every tile and between blocks of a network
  std::function<void(int64_t done, int64_t tiles)> on_tile = {};  // of all passes together
};

// The size after all passes. Throws Error(invalid_argument) for passes out of 1..3, and where a pass goes over
// max_pixels.
PictureSize upscaled_size(PictureSize size, int scale, int passes, int64_t max_pixels);

// Throws Error(invalid_argument) where the format cannot hold the picture: JPEG with transparency. An alpha channel
// that is opaque everywhere is no transparency.
void check_can_hold(ImageFormat format, const Image& picture);

// One thread uses an Upscaler at a time. The same picture and options give the same bytes, for any number of threads.
class Upscaler {
 public:
  // Looks at what the file is. Throws Error as open_rrdbnet does, and Error(invalid_file) for a file that is no
  // upscaler.
  explicit Upscaler(const UpscalerOptions& options = {});
  ~Upscaler();
  Upscaler(const Upscaler&) = delete;
  Upscaler& operator=(const Upscaler&) = delete;

  const std::string& model() const { return model_; }  // "lanczos", or the file's name
  int scale() const;

  // Colors and alpha are enlarged apart, alpha by Lanczos; colors under alpha 0 do not come into it. Throws Error:
  // invalid_argument as upscaled_size does (before any work), cancelled.
  Image upscale(const Image& picture, const UpscaleOptions& options) const;

  // Most bytes that the network has held at once, besides its weights.
  size_t peak_activation_bytes() const;

  class Method;  // one per kind of network, in upscaler.cpp

 private:
  std::string model_;
  std::unique_ptr<Method> method_;
};

}  // namespace dreamlab
