#!/usr/bin/env bash
# Checks the environment, builds, and runs the tests of the SDXL worker: on SDXL_MODEL in SDXL_MODEL_ROOT, or, where
# SDXL_MODEL is not set, on the small test models of the project.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")
preset=release

usage() {
  cat <<'HELP'
usage: [SDXL_MODEL_ROOT=DIR SDXL_MODEL=NAME] ./run_sdxl_tests.sh [--debug | --clang | --asan | --tsan] [GTEST OPTION...]
  SDXL_MODEL       SDXL checkpoint file or diffusers directory; not set: the test models
  SDXL_MODEL_ROOT  directory that it lies in; MODEL_ROOT where it is not set
Further options go to the test program: ./run_sdxl_tests.sh --gtest_list_tests
HELP
}

test_options=()
for option in "$@"; do
  case $option in
    --debug | --clang | --asan | --tsan) preset=${option#--} ;;
    --help | -h) usage; exit 0 ;;
    *) test_options+=("$option") ;;
  esac
done

problems=0
say() { printf '  %-9s %s\n' "$1" "$2"; }
missing() { say MISSING "$1"; problems=$((problems + 1)); }

check_machine() {
  local memory
  memory=$(awk '/^MemAvailable:/ { printf "%d", $2 / 1024 }' /proc/meminfo)
  say ok "$(nproc) processors, $memory MiB of memory free"
  if grep -qwE 'avx512_bf16|amx_bf16|bf16' /proc/cpuinfo; then
    say ok "the processor multiplies bf16"
  else
    say note "the processor has no bf16: computed in fp32, which takes twice the memory"
  fi
}

# Sets model: what the tests run on, "" for the test models.
check_model() {
  local directory=${SDXL_MODEL_ROOT:-${MODEL_ROOT:-}}
  model=${SDXL_MODEL:-}
  if [[ -z $model ]]; then
    [[ -z ${SDXL_MODEL_ROOT:-} ]] || say note "SDXL_MODEL_ROOT=$SDXL_MODEL_ROOT is set, SDXL_MODEL is not"
    say ok "no SDXL_MODEL: the test models are used"
    return
  fi
  [[ $model == /* || -z $directory || -e $model ]] || model=$directory/$model
  if [[ ! -e $model ]]; then
    missing "model: there is no $model (SDXL_MODEL_ROOT=$directory SDXL_MODEL=$SDXL_MODEL)"
  elif [[ ! -r $model ]]; then
    missing "model: $model cannot be read by $(id -un)"
  else
    model=$(readlink -f "$model")
    say ok "model: $model, $(du -shL "$model" | cut -f1)"
  fi
}

check_backend() {
  case ${BACKEND:-auto} in
    auto | cpu) say ok "BACKEND=${BACKEND:-auto}" ;;
    *) say note "BACKEND=$BACKEND is set; these tests compute on the CPU" ;;
  esac
}

check_tools() {
  local group package command absent=()
  while read -r group package command; do
    [[ $group == build || $group == test ]] || continue
    if [[ -n ${command:-} ]] && command -v "$command" >/dev/null; then continue; fi
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || absent+=("$package")
  done < "$root/tools/packages.txt"
  if [[ ${#absent[@]} -eq 0 ]]; then
    say ok "all packages that the build needs"
  else
    say note "packages that will be installed: ${absent[*]}"
  fi
}

echo "environment:"
check_machine
check_model
check_backend
check_tools
if [[ $problems -gt 0 ]]; then
  echo "run_sdxl_tests: $problems of the above is missing; nothing was built" >&2
  exit 2
fi

groups=(build test)
[[ $preset != clang && $preset != asan ]] || groups+=(check)
"$root/tools/install_packages.sh" "${groups[@]}"
cd "$root"
cmake --preset "$preset"
cmake --build --preset "$preset" --target test_worker

status=0
DREAMLAB_TEST_SDXL_MODEL=$model "build/$preset/tests/test_worker" --gtest_filter='*SDXL*' \
  ${test_options[@]+"${test_options[@]}"} || status=$?
verdict=$([[ $status -eq 0 ]] && echo passed || echo FAILED)
echo "run_sdxl_tests: $verdict on ${model:-the test models}"
exit "$status"
