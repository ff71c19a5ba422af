#pragma once

#include <CLI/CLI.hpp>

namespace dreamlab {

// Each adds one subcommand with its flags. A subcommand's callback does the work and reports failure by throwing Error.
void add_generate_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_sheet_command(CLI::App& app);
void add_upscale_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_serve_command(CLI::App& app);

}  // namespace dreamlab
