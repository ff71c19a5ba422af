#pragma once

// The classifier that tools/train_demo trains on drawings: what it finds in a picture of 256x256.
#include <string>
#include <utility>
#include <vector>

#include "base/image.h"
#include "device/device.h"
#include "layer/conv2d.h"
#include "layer/linear.h"
#include "layer/norm.h"

namespace dreamlab {

// What a drawing or a prompt shows: things by kind and color, single ones by kind and position.
struct Facts {
  std::string prompt;
  std::vector<std::pair<std::string, std::string>> pairs, positions;
  std::string place, time;
};
// Those of prompts.json: combinations that the model was not trained on.
std::vector<Facts> test_prompts();

class Judge {
 public:
  explicit Judge(Device& device);

  struct Findings {
    std::vector<std::pair<std::string, std::string>> pairs, positions;  // whose probability is over a half
    std::string place, time, style;                                     // the likeliest

    bool shows_things(const Facts& facts) const;  // all of them, in their colors
    bool shows_scene(const Facts& facts) const;   // all of them in their positions, and the place
  };
  Findings look(const Image& picture) const;
  // How sure it is that the picture has the style, 0..1.
  double style_probability(const Image& picture, const std::string& style) const;

 private:
  std::vector<float> logits(const Image& picture) const;

  Device& device_;
  std::vector<Conv2d> convs_;
  std::vector<GroupNorm> norms_;
  std::vector<Linear> linears_;
};

}  // namespace dreamlab
