// `dreamlab convert`: a checkpoint to another layout, precision, or with LoRAs merged into it.
#include "convert/convert.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "dreamlab/commands.h"
#include "dreamlab/generate_options.h"
#include "worker/model_location.h"

namespace dreamlab {

namespace {

struct ConvertFlags {
  std::string source, target;
  std::optional<std::string> dtype;
  std::vector<std::string> loras;
  bool quiet = false;
};

std::optional<DType> dtype_of(const ConvertFlags& flags) {
  if (!flags.dtype) return std::nullopt;
  if (*flags.dtype == "fp16") return DType::f16;
  if (*flags.dtype == "bf16") return DType::bf16;
  if (*flags.dtype == "fp32") return DType::f32;
  fail(ErrorKind::invalid_argument, "--dtype {}: not allowed; fp16, bf16, fp32 is", *flags.dtype);
}

void convert(const ConvertFlags& flags) {
  ConvertOptions options;
  options.dtype = dtype_of(flags);
  for (const std::string& text : flags.loras) {
    const LoraChoice lora = parse_lora(text);
    options.loras.push_back({lora.path, static_cast<float>(lora.strength)});
  }
  const auto source = in_directory(Config().text("MODEL_ROOT"), flags.source);
  const ConvertReport report = convert_model(source, flags.target, options);
  if (flags.quiet) return;
  for (const auto& file : report.files) fmt::print("{}\n", file.string());
  fmt::print("{} tensors, {:.1f} MiB\n", report.tensors, static_cast<double>(report.bytes) / (1 << 20));
  if (!flags.loras.empty()) fmt::print("{} weights changed by LoRAs\n", report.changed);
  if (!report.left_out.empty())
    fmt::print("{} tensors left out that no network takes, {} among them\n", report.left_out.size(),
               report.left_out[0]);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("convert", "Write a checkpoint in another layout or precision");
  auto flags = std::make_shared<ConvertFlags>();
  command->add_option("source", flags->source, "Checkpoint file or diffusers directory")->required();
  command
      ->add_option("target", flags->target,
                   "NAME.safetensors for a single file; another name for a diffusers directory")
      ->required();
  command->add_option("--dtype", flags->dtype, "fp16, bf16 or fp32; as stored unless given");
  command
      ->add_option("--lora", flags->loras,
                   "LoRA to merge into the weights, FILE or FILE:STRENGTH; may be given several times")
      ->allow_extra_args(false);
  command->add_flag("-q,--quiet", flags->quiet, "No report");
  command->callback([flags] { convert(*flags); });
}

}  // namespace dreamlab
