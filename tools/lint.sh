#!/usr/bin/env bash
# tools/lint.sh [format] [tidy] [BUILD_DIR]: checks the style of every source (clang-format) and looks for common mistakes
# (clang-tidy, by the compile commands of BUILD_DIR, build/release if not given). Both without a name.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
build=build/release
steps=()
for argument in "$@"; do
  case $argument in
    format | tidy) steps+=("$argument") ;;
    *) build=$argument ;;
  esac
done
[[ ${#steps[@]} -gt 0 ]] || steps=(format tidy)

# The translation units of the program: its sources or, in a unity build, which is read five times faster, files that
# include several of them.
units() {
  if [[ ! -f $build/compile_commands.json ]]; then
    echo "lint: $build is not configured; ./run_tests.sh does it, or cmake --preset ${build##*/}" >&2
    return 1
  fi
  sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" | grep -v -e /tests/ -e /bench/ -e /vocabulary/
}

for step in "${steps[@]}"; do
  case $step in
    format)
      git ls-files -z -- '*.cpp' '*.h' '*.cu' '*.cuh' | xargs -0 clang-format --dry-run -Werror
      echo "lint: format is right" ;;
    tidy)
      list=$(units)
      # The compile commands may be g++'s, whose warning options clang need not know.
      tr '\n' '\0' <<< "$list" |
        xargs -0 -P "$(nproc)" -n 2 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
      echo "lint: clang-tidy has nothing to say of $(wc -l <<< "$list") translation units" ;;
  esac
done
