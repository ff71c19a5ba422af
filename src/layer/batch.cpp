#include "layer/batch.h"

#include "base/error.h"

namespace dreamlab {

// Images one after the other are rows of channels side by side: [1, all values of the image].
Tensor join_images(Device& device, std::span<const Tensor> parts) {
  if (parts.empty()) fail(ErrorKind::internal, "a batch of nothing");
  if (parts.size() == 1) return parts[0];
  Shape shape = parts[0].shape();
  Tensor joined = parts[0].reshape({1, parts[0].elements()});
  for (size_t i = 1; i < parts.size(); ++i) {
    Shape same = parts[i].shape();
    same.set(0, parts[0].dim(0));
    if (same != parts[0].shape())
      fail(ErrorKind::internal, "images of {} and {} in one batch", parts[0].shape().to_string(),
           parts[i].shape().to_string());
    joined = device.concat_channels(joined, parts[i].reshape({1, parts[i].elements()}));
    shape.set(0, shape[0] + parts[i].dim(0));
  }
  return joined.reshape(shape);
}

}  // namespace dreamlab
