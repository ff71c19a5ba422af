#include "dreamlab/inspect.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "dreamlab/commands.h"

namespace dreamlab {
namespace {

constexpr size_t kMostNames = 10;  // of missing or unknown tensors in the table; the JSON has them all

std::string short_count(int64_t count) {
  if (count >= 1'000'000'000) return fmt::format("{:.2f} B", static_cast<double>(count) / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.2f} M", static_cast<double>(count) / 1e6);
  return fmt::format("{}", count);
}

std::string size_text(uint64_t bytes) {
  const auto mib = static_cast<double>(bytes) / (1 << 20);
  return mib >= 1024 ? fmt::format("{:.2f} GiB", mib / 1024) : fmt::format("{:.1f} MiB", mib);
}

std::string dtype_text(const FileReport& report) {
  int64_t total = 0;
  for (const auto& item : report.parameters_by_dtype) total += item.second;
  std::vector<std::string> texts;
  for (const auto& item : report.parameters_by_dtype)
    texts.push_back(total == item.second
                        ? item.first
                        : fmt::format("{} ({:.4g} %)", item.first,
                                      100.0 * static_cast<double>(item.second) / static_cast<double>(total)));
  return fmt::format("{}", fmt::join(texts, ", "));
}

void add_row(std::string& out, std::string_view name, std::string_view value) {
  fmt::format_to(std::back_inserter(out), "  {:<22}{}\n", name, value);
}

void add_names(std::string& out, std::string_view title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  fmt::format_to(std::back_inserter(out), "  {} ({}):\n", title, names.size());
  for (size_t i = 0; i < std::min(names.size(), kMostNames); ++i)
    fmt::format_to(std::back_inserter(out), "    {}\n", names[i]);
  if (names.size() > kMostNames)
    fmt::format_to(std::back_inserter(out), "    ... and {} more (--json lists them all)\n", names.size() - kMostNames);
}

// Names in a file may be any bytes; those that are no UTF-8 are replaced.
std::string dump(const nlohmann::json& object) {
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string inspect_table(const FileReport& report) {
  std::string out = report.path.string() + "\n";
  add_row(out, "kind", name_of(report.kind));
  if (report.family) add_row(out, "family", name_of(*report.family));
  add_row(out, "format", fmt::format("{}, {}", report.format, size_text(report.bytes)));
  add_row(out, "stored as", dtype_text(report));
  if (report.prediction_type) add_row(out, "predicts", name_of(*report.prediction_type));
  if (report.cross_attention_dim) add_row(out, "cross-attention width", std::to_string(*report.cross_attention_dim));
  for (const auto& [name, value] : report.facts) add_row(out, name, value);
  fmt::format_to(std::back_inserter(out), "\n  {:<36}{:>9}{:>14}{:>10}\n", "part", "tensors", "parameters", "missing");
  for (const PartReport& part : report.parts)
    fmt::format_to(std::back_inserter(out), "  {:<36}{:>9}{:>14}{:>10}\n", part.name, part.tensors,
                   short_count(part.parameters), part.missing.size());
  for (const PartReport& part : report.parts) add_names(out, "missing in the " + part.name, part.missing);
  add_names(out, "unknown tensors", report.unknown);
  return out;
}

std::string inspect_json(const FileReport& report) {
  using nlohmann::json;
  json parts = json::array();
  int64_t parameters = 0;
  for (const PartReport& part : report.parts) {
    parts.push_back(
        {{"name", part.name}, {"parameters", part.parameters}, {"tensors", part.tensors}, {"missing", part.missing}});
    parameters += part.parameters;
  }
  json object{{"path", report.path.string()},
              {"kind", id_of(report.kind)},
              {"format", report.format},
              {"bytes", report.bytes},
              {"parameters", parameters},
              {"dtypes", report.parameters_by_dtype},
              {"parts", parts},
              {"unknown", report.unknown},
              {"facts", report.facts}};
  object["family"] = report.family ? json(name_of(*report.family)) : json();
  object["prediction_type"] = report.prediction_type ? json(name_of(*report.prediction_type)) : json();
  object["cross_attention_dim"] = report.cross_attention_dim ? json(*report.cross_attention_dim) : json();
  return dump(object) + "\n";
}

void run_inspect(const InspectOptions& options) {
  const FileReport report = inspect_file(options.path);
  const std::string text = options.json ? inspect_json(report) : inspect_table(report);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void add_inspect_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("inspect", "Tell what a model file is and whether it is complete");
  const auto options = std::make_shared<InspectOptions>();
  command
      ->add_option("file", options->path, "a checkpoint, LoRA, upscaler, VAE, ControlNet, ... or a diffusers directory")
      ->required();
  command->add_flag("--json", options->json, "print one JSON object");
  command->callback([options] { run_inspect(*options); });
}

}  // namespace dreamlab
