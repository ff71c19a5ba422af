#!/usr/bin/env bash
# tools/prepare_build.sh PRESET: installs what a build by this preset of CMake, and its tests, need.
set -euo pipefail
tools=$(dirname "$(readlink -f "$0")")
preset=${1:?usage: prepare_build.sh PRESET}

groups=(build test)
case $preset in
  clang | asan) groups+=(check) ;;
  aarch64) groups+=(cross) ;;
esac
"$tools/install_packages.sh" "${groups[@]}"
[[ $preset != aarch64 ]] || "$tools/aarch64_sysroot.sh" "$tools/../build/aarch64-sysroot"
