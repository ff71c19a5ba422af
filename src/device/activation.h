#pragma once

namespace dreamlab {

enum class Activation {
  none,
  silu,        // x * sigmoid(x)
  gelu,        // exact, by erf
  quick_gelu,  // x * sigmoid(1.702 x)
  relu,
  leaky_relu,  // slope 0.2 below zero
  tanh,
  sigmoid,
};

}  // namespace dreamlab
