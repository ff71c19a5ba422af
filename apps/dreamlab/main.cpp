// The command line. One line on standard error says what went wrong; the exit code says whose mistake it was.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "dreamlab/commands.h"
#include "dreamlab/exit_codes.h"

namespace dreamlab {
namespace {

// CLI11's messages may run over several lines.
int report(std::string message, int code) {
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  fmt::print(stderr, "{}\n", message);
  return code;
}

int run(int argc, char** argv) {
  CLI::App app("Dream Lab: Stable Diffusion 1.x, 2.x and SDXL on this machine, from one checkpoint file.", "dreamlab");
  app.set_version_flag("--version", std::string(program_name()));
  app.require_subcommand(0, 1);
  app.footer(
      "Example:\n"
      "  dreamlab generate \"a majestic mountain landscape\" --model sdxl.safetensors --size 1024x1024 --steps 4 "
      "--seed 42 -o out.png\n"
      "\n"
      "`dreamlab COMMAND --help` lists the flags of a command.");
  add_generate_command(app);
  add_convert_command(app);
  add_inspect_command(app);
  add_sheet_command(app);
  add_upscale_command(app);
  add_verify_command(app);
  add_bench_command(app);
  add_serve_command(app);

  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) fmt::print("{}", app.help());
    return kExitOk;
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return report(fmt::format("{} (see dreamlab --help)", error.what()), kExitUsage);
  } catch (const Error& error) {
    return report(error.what(), error.kind() == ErrorKind::invalid_argument ? kExitUsage : kExitFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitFailed);
  } catch (const std::exception& error) {
    return report(fmt::format("internal error: {}", error.what()), kExitFailed);
  }
}

}  // namespace
}  // namespace dreamlab

int main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("dreamlab"));
  return dreamlab::run(argc, argv);
}
