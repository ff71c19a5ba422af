#include "weights/checkpoint.h"

#include <fmt/format.h>

#include "base/error.h"
#include "weights/expected_tensors.h"
#include "weights/model_files.h"
#include "weights/random_weights.h"

namespace dreamlab {
namespace {

const WeightSource& present(const Checkpoint::Part& part) {
  if (!part.weights) fail(ErrorKind::unavailable, "{}", part.absent);
  return *part.weights;
}

// The networks of one model get seeds of their own.
template <typename Config>
Checkpoint::Part random_part(const Config& config, uint64_t seed, DType dtype) {
  return {std::make_shared<RandomWeights>(seed, dtype, expected_tensors(config)), ""};
}

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(const std::filesystem::path& path) {
  ModelFiles files = open_model_files(path);
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = path;
  checkpoint->format_ = std::move(files.format);
  checkpoint->config_ = std::move(files.config);
  checkpoint->unet_ = {files.unet.weights, files.unet.absent};
  checkpoint->vae_ = {files.vae.weights, files.vae.absent};
  for (const ModelFiles::Part& part : files.text_encoders)
    checkpoint->text_encoders_.push_back({part.weights, part.absent});
  checkpoint->unknown_ = std::move(files.unknown);
  return checkpoint;
}

std::unique_ptr<Checkpoint> Checkpoint::random(const ModelConfig& config, uint64_t seed, DType dtype) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = "random";
  checkpoint->format_ = fmt::format("random {} weights", name_of(dtype));
  checkpoint->config_ = config;
  checkpoint->unet_ = random_part(config.unet, seed, dtype);
  checkpoint->vae_ = random_part(config.vae, seed + 1, dtype);
  for (size_t i = 0; i < config.text_encoders.size(); ++i)
    checkpoint->text_encoders_.push_back(random_part(config.text_encoders[i], seed + 2 + i, dtype));
  return checkpoint;
}

const WeightSource& Checkpoint::unet() const {
  return present(unet_);
}

const WeightSource& Checkpoint::vae() const {
  return present(vae_);
}

const WeightSource& Checkpoint::text_encoder(size_t index) const {
  if (index >= text_encoders_.size())
    fail(ErrorKind::unavailable, "{}: this model has no text encoder {}", path_.string(), index + 1);
  return present(text_encoders_[index]);
}

bool Checkpoint::has_text_encoder(size_t index) const {
  return index < text_encoders_.size() && text_encoders_[index].weights;
}

}  // namespace dreamlab
