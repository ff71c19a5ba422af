#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "golden_dir.h"
#include "weights/tensor_file.h"

namespace dreamlab {

// A golden single file whose UNet is widened (by zeros) to 32 channels on its first level: as a file without a sidecar
// has to be, since its shapes do not tell that there are fewer than 32 groups.
inline std::shared_ptr<const TensorFile> wide_golden(const std::string& name) {
  const std::string unet = "model.diffusion_model.";
  const auto stored = open_tensor_file(golden_dir() / "models" / name);
  const int64_t factor = 32 / stored->find(unet + "input_blocks.0.0.weight")->shape[0];

  // Extents that are no channels of the UNet: latents, text states, SDXL's conditions.
  const auto widened = [&](const std::string& module, const Shape& shape) {
    const auto has = [&](const char* part) { return module.find(part) != std::string::npos; };
    Shape wide = shape;
    if (!has("out.2.") || has("input") || has("output")) wide.set(0, shape[0] * factor);
    const bool other_input =
        module == "input_blocks.0.0.weight" || has("attn2.to_k") || has("attn2.to_v") || has("label_emb.0.0.");
    if (shape.rank() > 1 && !other_input) wide.set(1, shape[1] * factor);
    return wide;
  };

  TensorFile::Tensors tensors;
  for (const auto& [key, tensor] : stored->tensors()) {
    if (key.rfind(unet, 0) != 0 || factor == 1) {
      tensors.emplace(key, tensor);
      continue;
    }
    const Shape shape = widened(key.substr(unet.size()), tensor.shape);
    const auto zeros =
        std::make_shared<std::vector<std::byte>>(static_cast<size_t>(shape.elements()) * size_of(tensor.dtype));
    tensors.emplace(key, HostTensor{zeros->data(), tensor.dtype, shape, zeros});
  }
  return std::make_shared<TensorFile>(stored->path(), stored->format(), std::move(tensors), stored->metadata());
}

}  // namespace dreamlab
