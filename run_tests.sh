#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")
preset=release

usage() {
  cat <<'HELP'
usage: ./run_tests.sh [--debug | --clang | --asan | --tsan | --aarch64] [CTEST OPTION...]
  --asan      by clang++, with address and undefined-behavior sanitizers    --tsan   with the thread sanitizer
  --aarch64   for 64-bit ARM by a cross compiler; the tests run under QEMU
Further options go to ctest: ./run_tests.sh -R Tokenizer
HELP
}

ctest_options=()
for option in "$@"; do
  case $option in
    --debug | --clang | --asan | --tsan | --aarch64) preset=${option#--} ;;
    --help | -h) usage; exit 0 ;;
    *) ctest_options+=("$option") ;;
  esac
done

"$root/tools/prepare_build.sh" "$preset"

# oneDNN is not built for the thread sanitizer, which would take its locks for none.
[[ $preset != tsan ]] || export TSAN_OPTIONS="suppressions=$root/tests/thread_sanitizer_suppressions.txt ${TSAN_OPTIONS:-}"

cd "$root"
started=$SECONDS
cmake --preset "$preset"
cmake --build --preset "$preset"
built=$SECONDS
status=0
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(nproc)" "${ctest_options[@]}" || status=$?
verdict=$([[ $status -eq 0 ]] && echo passed || echo FAILED)
echo "run_tests: $verdict ($preset; build $((built - started)) s, tests $((SECONDS - built)) s)"
exit "$status"
