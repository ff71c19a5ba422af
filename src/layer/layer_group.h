#pragma once

#include <memory>

#include "device/device.h"

namespace dreamlab {

// Layers whose weights may leave the device together while they are not used (Device::begin_group). The first member
// of what consists of those layers: packing begins with it, and ends when packed() is called.
class LayerGroup {
 public:
  LayerGroup(Device& device, WeightGroupKind kind) : state_(std::make_shared<State>(device, kind)) {}
  void packed() { state_->end(); }

  // While it lives the weights are there.
  class Use {
   public:
    Use(Device& device, WeightGroup* group) : device_(device), group_(group) {
      if (group_ != nullptr) device_.enter_group(*group_);
    }
    ~Use() {
      if (group_ != nullptr) device_.leave_group(*group_);
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Device& device_;
    WeightGroup* group_;
  };
  [[nodiscard]] Use use() const { return Use(state_->device, state_->group.get()); }

 private:
  struct State {
    State(Device& of, WeightGroupKind kind) : device(of), group(of.begin_group(kind)), open(group != nullptr) {}
    ~State() {
      if (open) device.drop_group();  // its packing failed
    }
    void end() {
      if (open) device.end_group();
      open = false;
    }
    Device& device;
    std::shared_ptr<WeightGroup> group;  // null: the weights stay
    bool open;
  };
  std::shared_ptr<State> state_;
};

}  // namespace dreamlab
