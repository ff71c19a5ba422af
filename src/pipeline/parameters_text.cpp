#include "pipeline/parameters_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "scheduler/sampler.h"

namespace dreamlab {

namespace {

using Field = std::pair<std::string, std::string>;

// The web UI's rule: a value with a comma, a colon or a line break stands in JSON quotes.
std::string quoted(const std::string& value) {
  if (value.find_first_of(",:\n\"") == std::string::npos) return value;
  std::string out = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::vector<Field> fields_of(const GenerationRequest& request, const std::string& model_name) {
  std::vector<Field> fields = {
      {"Steps", fmt::format("{}", request.steps)},
      {"Sampler", std::string(find_sampler(request.sampler).title)},
      {"CFG scale", fmt::format("{:g}", request.guidance_scale)},
      {"Seed", fmt::format("{}", request.seed)},
      {"Size", to_string(request.size)},
      {"Model", quoted(model_name)},
  };
  if (request.init_image) fields.emplace_back("Denoising strength", fmt::format("{:g}", request.strength));
  if (request.clip_skip != 1) fields.emplace_back("Clip skip", fmt::format("{}", request.clip_skip));
  if (request.eta) fields.emplace_back("Eta", fmt::format("{:g}", *request.eta));
  if (request.guidance_rescale != 0) fields.emplace_back("CFG Rescale", fmt::format("{:g}", request.guidance_rescale));
  // What the web UI calls the generators; its own default is the GPU's.
  if (request.noise == NoiseKind::cpu) fields.emplace_back("RNG", "CPU");
  if (request.noise == NoiseKind::numpy) fields.emplace_back("RNG", "NumPy");
  if (!request.emphasis) fields.emplace_back("Emphasis", "None");
  return fields;
}

}  // namespace

std::string parameters_text(const GenerationRequest& request, const std::string& model_name, const std::string& version,
                            const std::vector<Field>& more) {
  std::string text = request.prompt + "\n";
  if (!request.negative_prompt.empty()) text += "Negative prompt: " + request.negative_prompt + "\n";
  std::vector<Field> fields = fields_of(request, model_name);
  for (const auto& [name, value] : more) fields.emplace_back(name, quoted(value));
  fields.emplace_back("Version", quoted(version));
  std::vector<std::string> parts;
  for (const auto& [name, value] : fields) parts.push_back(name + ": " + value);
  return text + fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace dreamlab
