#pragma once

// What the records of networks share.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "layer/context.h"
#include "model/unet.h"
#include "verify/device_layout.h"
#include "verify/record_run.h"
#include "weights/checkpoint.h"

namespace dreamlab {

// Keeps what passes a forward pass's taps.
class Taps {
 public:
  explicit Taps(Device& device) : device_(device) {}

  Context context() {
    return {.device = device_, .tap = [this](std::string_view path, const Tensor& tensor) {
              seen_.insert_or_assign(std::string(path), tensor);
            }};
  }
  // As [N, C, H, W]. Throws Error(invalid_file) where nothing passed under this path.
  std::vector<float> at(const std::string& path) const;
  // Compares all recorded tensors "<prefix><path>".
  void compare(RecordCase& record_case, const RecordFile& record, const std::string& prefix) const;

 private:
  Device& device_;
  std::map<std::string, Tensor, std::less<>> seen_;
};

// Runs `body` for every layout of the model that the record belongs to. One that does not open, or whose networks
// cannot be built, is a failed case.
void for_each_layout(RecordRun& run, const RecordFile& record,
                     const std::function<void(const std::string& layout, const Checkpoint& checkpoint)>& body);

// What a UNet or ControlNet reads besides its sample: "<prefix>timestep", "<prefix>text_embeds", "<prefix>time_ids".
struct RecordedConditions {
  std::vector<float> timesteps;  // one per image
  AddedConditions added;
};
RecordedConditions recorded_conditions(Device& device, const RecordFile& record, const std::string& prefix,
                                       int64_t images);

// A pass through a UNet on "<prefix>sample" and so on, as [N, C, H, W].
struct UNetExtras {
  std::vector<float> guidance_embedding;
  const ControlResiduals* control_residuals = nullptr;
};
std::vector<float> run_unet(const Context& context, const UNet& unet, const RecordFile& record,
                            const std::string& prefix, const UNetExtras& extras = {});

}  // namespace dreamlab
