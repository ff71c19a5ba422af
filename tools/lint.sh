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

for step in "${steps[@]}"; do
  case $step in
    format)
      git ls-files -z -- '*.cpp' '*.h' | xargs -0 clang-format --dry-run -Werror
      echo "lint: format is right" ;;
    tidy)
      # The compile commands are g++'s, whose warning options clang need not know.
      git ls-files -z -- 'src/*.cpp' 'apps/*.cpp' |
        xargs -0 -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
      echo "lint: clang-tidy has nothing to say" ;;
  esac
done
