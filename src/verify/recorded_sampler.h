#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "scheduler/random.h"
#include "scheduler/sampler.h"

namespace dreamlab {

// The sampler that a diffusers scheduler class with these constructor arguments is; what `config` leaves out is that
// class's default. Throws Error(unsupported) for a class, argument or value that our samplers do not know.
std::unique_ptr<Sampler> sampler_of_record(const std::string& diffusers_class, const nlohmann::json& config,
                                           const SamplerOptions& options);

// Gives out recorded draws one after the other.
class RecordedNoise : public NoiseSource {
 public:
  // values: the draws of `size` elements each, one after the other.
  RecordedNoise(std::vector<float> values, size_t size) : values_(std::move(values)), size_(size) {}

  // Throws Error(invalid_file) for another size than recorded, or when there are no more.
  void normals(std::span<float> out) override;
  // Whether all have been given out.
  bool exhausted() const { return next_ == values_.size(); }

 private:
  std::vector<float> values_;
  size_t size_;
  size_t next_ = 0;
};

}  // namespace dreamlab
