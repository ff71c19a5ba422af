#include "pipeline/denoiser.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "layer/batch.h"
#include "layer/timestep_embedding.h"

namespace dreamlab {

namespace {

// What jobs must have in common to share a pass.
auto shape_of(const DenoisingJob& job) {
  return std::tuple(job.latents().height, job.latents().width, job.input_channels(), job.tokens());
}

LoraSet adapters_of(std::span<DenoisingJob* const> jobs) {
  LoraSet loras;
  int64_t row = 0;
  for (const DenoisingJob* job : jobs) {
    for (const LoraUse& use : job->inputs().loras) loras.add(use.adapter, use.strength, row, row + job->rows());
    row += job->rows();
  }
  return loras;
}

Tensor stack(Device& device, const Tensor* negative, const Tensor& positive) {
  if (negative == nullptr) return positive;
  const Tensor parts[] = {*negative, positive};
  return join_images(device, parts);
}

}  // namespace

std::unique_ptr<DenoisingJob> Denoiser::start(DenoisingInputs inputs, const CancelToken* cancel) {
  const TextConditioning& positive = inputs.text.positive;
  const TextConditioning* negative = inputs.text.negative ? &*inputs.text.negative : nullptr;
  LoraSet loras;
  for (const LoraUse& use : inputs.loras) loras.add(use.adapter, use.strength);
  const Context context{device_, &loras, cancel, {}};
  TextContext text =
      unet_.project_text(context, stack(device_, negative ? &negative->states : nullptr, positive.states));
  Tensor pooled;
  if (positive.pooled.defined()) pooled = stack(device_, negative ? &negative->pooled : nullptr, positive.pooled);
  return std::make_unique<DenoisingJob>(next_serial_++, std::move(inputs), std::move(text), std::move(pooled));
}

void Denoiser::advance(std::span<DenoisingJob* const> jobs, const CancelToken* cancel) {
  std::vector<DenoisingJob*> ordered(jobs.begin(), jobs.end());
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const DenoisingJob* a, const DenoisingJob* b) { return shape_of(*a) < shape_of(*b); });
  for (size_t begin = 0; begin < ordered.size();) {
    size_t end = begin + 1;
    while (end < ordered.size() && shape_of(*ordered[end]) == shape_of(*ordered[begin])) ++end;
    advance_group(std::span(ordered).subspan(begin, end - begin), cancel);
    begin = end;
  }
}

const Denoiser::Group& Denoiser::joined(std::span<DenoisingJob* const> jobs) {
  std::vector<uint64_t> serials;
  for (const DenoisingJob* job : jobs) serials.push_back(job->serial());
  if (serials == group_.serials) return group_;
  group_ = {};
  std::vector<Tensor> pooled;
  for (const DenoisingJob* job : jobs) {
    group_.text.images += job->rows();
    if (job->pooled().defined()) pooled.push_back(job->pooled());
    const DenoisingInputs& inputs = job->inputs();
    if (inputs.text.negative) {
      group_.added.time_ids.insert(group_.added.time_ids.end(), inputs.negative_time_ids.begin(),
                                   inputs.negative_time_ids.end());
    }
    group_.added.time_ids.insert(group_.added.time_ids.end(), inputs.time_ids.begin(), inputs.time_ids.end());
  }
  if (!pooled.empty()) group_.added.pooled = pooled.size() == 1 ? pooled[0] : join_images(device_, pooled);
  for (size_t layer = 0; layer < jobs[0]->text().keys_values.size(); ++layer) {
    std::vector<Tensor> parts;
    for (const DenoisingJob* job : jobs) parts.push_back(job->text().keys_values[layer]);
    group_.text.keys_values.push_back(parts.size() == 1 ? parts[0] : join_images(device_, parts));
  }
  group_.serials = std::move(serials);
  return group_;
}

void Denoiser::append_guidance(std::vector<float>& embeddings, double guidance_scale) const {
  const int64_t width = unet_.config().time_cond_proj_dim;
  if (width == 0) return;
  const auto w = static_cast<float>(guidance_scale - 1.0);
  const std::vector<float> embedding = guidance_scale_embedding(std::span(&w, 1), width);
  embeddings.insert(embeddings.end(), embedding.begin(), embedding.end());
}

void Denoiser::advance_group(std::span<DenoisingJob* const> jobs, const CancelToken* cancel) {
  const Group& group = joined(jobs);
  const Latents& shape = jobs[0]->latents();
  const int64_t channels = jobs[0]->input_channels();
  const auto row = static_cast<size_t>(shape.height * shape.width * channels);

  UNetInput input;
  input_.resize(row * static_cast<size_t>(group.text.images));
  size_t at = 0;
  for (const DenoisingJob* job : jobs) {
    const auto rows = static_cast<size_t>(job->rows());
    job->fill_input(std::span(input_).subspan(at * row, rows * row));
    input.timesteps.insert(input.timesteps.end(), rows, job->timestep());
    for (size_t r = 0; r < rows; ++r) append_guidance(input.guidance_embedding, job->inputs().guidance_scale);
    at += rows;
  }
  input.sample = device_.upload(input_, {group.text.images, shape.height, shape.width, channels});
  input.text = &group.text;
  input.added = group.added;

  const LoraSet loras = adapters_of(jobs);
  const Context context{device_, &loras, cancel, {}};
  const Tensor result = unet_.forward(context, input);
  for (DenoisingJob* job : jobs) job->draw_ahead();  // while a GPU computes
  const std::vector<float> output = device_.download(result);
  size_t begin = 0;
  for (DenoisingJob* job : jobs) {
    const size_t size = shape.values.size() * static_cast<size_t>(job->rows());
    job->advance(std::span(output).subspan(begin, size));
    begin += size;
  }
  if (std::any_of(jobs.begin(), jobs.end(), [](const DenoisingJob* job) { return job->done(); })) group_ = {};
}

}  // namespace dreamlab
