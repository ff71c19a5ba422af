// `dreamlab verify`: proves on this machine that everything computes what was recorded.
#include "verify/verify.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "device/make_device.h"
#include "dreamlab/commands.h"

namespace dreamlab {
namespace {

struct VerifyFlags {
  std::string folder, filter;
  std::string device = "cpu", dtype = "fp32";
  int threads = 0;
  bool json = false, failures_only = false;
};

void run_verify(const VerifyFlags& flags) {
  const std::unique_ptr<Device> device =
      make_device({.device = flags.device, .dtype = flags.dtype, .threads = flags.threads});
  VerifyOptions options;
  options.filter = flags.filter;
  if (!flags.json) {
    options.on_case = [&](const CaseResult& result) {
      if (flags.failures_only && result.passed()) return;
      fmt::print("{}\n", line_of(result));
      std::fflush(stdout);
    };
  }
  const VerifyReport report = verify_folder(flags.folder, *device, options);
  if (flags.json) {
    fmt::print("{}\n", to_json(report).dump(1));
  } else {
    fmt::print("{} passed, {} failed\n", report.passed(), report.failed());
  }
  std::fflush(stdout);
  if (report.cases.empty()) {
    fail(ErrorKind::unavailable, "{}: no record matches \"{}\"", flags.folder, flags.filter);
  }
  if (report.failed() > 0) {
    fail(ErrorKind::internal, "{} of {} records differ on {}", report.failed(), report.cases.size(),
         device->description());
  }
}

}  // namespace

void add_verify_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("verify", "Compare everything this program computes with a folder of recorded results");
  const auto flags = std::make_shared<VerifyFlags>();
  command->add_option("folder", flags->folder, "the folder of records (it has an INDEX.json)")->required();
  command->add_option("--device", flags->device, "cpu, cuda, cuda:N, or reference for the plain implementation")
      ->capture_default_str();
  command->add_option("--dtype", flags->dtype, "fp32, bf16 or, on a GPU, fp16; each has its own bounds")
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "0: one per processor")->capture_default_str();
  command->add_option("--filter", flags->filter, "only records whose line contains this text");
  command->add_flag("--failures", flags->failures_only, "print only what failed");
  command->add_flag("--json", flags->json, "print one JSON object with every tensor's figure");
  command->callback([flags] { run_verify(*flags); });
}

}  // namespace dreamlab
