#pragma once

// Records have PyTorch's order of dimensions, [N, C, H, W]; tensors here are channels last.
#include <span>
#include <vector>

#include "device/device.h"
#include "verify/record_file.h"

namespace dreamlab {

// [N, C, H, W] to [N, H, W, C] and back.
std::vector<float> channels_last(std::span<const float> values, const Shape& nchw);
std::vector<float> channels_first(std::span<const float> values, const Shape& nhwc);

// A recorded picture or latents [N, C, H, W], as f32 or the device's dtype, [N, H, W, C].
Tensor upload_image(Device& device, const RecordFile& record, std::string_view tensor);
// A recorded tensor whose channels are last already.
Tensor upload(Device& device, const RecordFile& record, std::string_view tensor);
// What is in the device's [N, H, W, C], as [N, C, H, W]; tensors of another rank as they are.
std::vector<float> download_channels_first(Device& device, const Tensor& tensor);

}  // namespace dreamlab
