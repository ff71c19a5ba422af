#!/usr/bin/env bash
# What has to hold on a GPU, in one run and one report: operations against the reference, golden records in every
# precision, the same bytes alone and in batches, then the times.
#
#   tools/gpu_check.sh bundle FILE.tar.xz   on a machine with the build: packs program, tests and libraries
#   tools/gpu_check.sh run FILE.tar.xz OUT  on one with a GPU, CUDA and cuDNN but nothing else of ours
#   tools/gpu_check.sh run build/release OUT   the same from a build tree
#
# OUT gets report.md and the logs. Stages may be chosen: STAGES="ops golden" (of: ops golden pipeline bench profile).
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")

usage() { sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2; exit 2; }

# Libraries a program needs that are neither the system's nor CUDA's.
needed_libraries() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*|libcuda|libcudart|libcublas(Lt)?|libcudnn[^/]*|libstdc\+\+|libgcc_s)\.so'
}

bundle() {
  local file build=$root/build/release staged
  file=$(readlink -f "$1")
  staged=$(mktemp -d)
  trap 'rm -rf "$staged"' RETURN
  mkdir -p "$staged/bin" "$staged/lib"
  cp "$build/apps/dreamlab/dreamlab" "$build/tests/test_device" "$build/tests/test_pipeline" "$staged/bin"
  cp "$build/lib/libdreamlab_cuda.so" "$staged/lib"
  needed_libraries "$staged"/bin/* "$staged"/lib/*.so | xargs -I{} cp -L {} "$staged/lib"
  strip --strip-unneeded "$staged"/bin/* "$staged"/lib/*
  tar -C "$staged" -c bin lib | xz -T0 -6 >"$file"
  ls -l "$file"
}

# The folder to run from: bin/ and lib/ of a bundle, or links into a build tree.
unpack() {
  local from=$1 to=$2
  mkdir -p "$to/bin"
  if [[ -d $from ]]; then
    ln -sf "$(readlink -f "$from")"/apps/dreamlab/dreamlab "$(readlink -f "$from")"/tests/test_{device,pipeline} "$to/bin"
  else
    tar -C "$to" -xJf "$from"
  fi
  [[ -e $to/assets ]] || ln -s "$root/assets" "$to/assets"
  if [[ ! -d $to/golden ]]; then
    mkdir "$to/golden"
    for archive in "$root"/tests/golden/*.tar.xz; do tar -C "$to/golden" -xJf "$archive"; done
  fi
}

# A newer cuDNN than the system's, where PyTorch brought one.
cudnn_of_pytorch() {
  python3 -c 'import nvidia.cudnn, os; print(os.path.join(list(nvidia.cudnn.__path__)[0], "lib"))' 2>/dev/null || true
}

report=
section() { printf '\n## %s\n\n```\n' "$1" >>"$report"; }
end_section() { printf '```\n' >>"$report"; }

# log NAME COMMAND...: runs it, keeps what it says, and puts the lines that tell most into the report.
log() {
  local name=$1 started=$SECONDS verdict=passed
  shift
  "$@" >"$out/$name.log" 2>&1 || verdict="FAILED ($?)"
  { echo "$name: $verdict, $((SECONDS - started)) s"; grep -E '^\[  (FAILED|PASSED|SKIPPED) |^[0-9]+ passed|FAILED' "$out/$name.log" | tail -n 30 || true; } >>"$report"
  echo "$name: $verdict, $((SECONDS - started)) s"
  [[ $verdict == passed ]] || failed=1
}

run() {
  local from=$1 place
  out=$(mkdir -p "$2" && readlink -f "$2")
  failed=0
  place=${GPU_CHECK_PLACE:-$(mktemp -d)}
  report=$out/report.md
  if ! nvidia-smi -L 2>/dev/null; then
    echo "gpu_check: no GPU here" >&2
    return 1
  fi
  unpack "$from" "$place"
  local newer
  newer=$(cudnn_of_pytorch)
  export LD_LIBRARY_PATH=$place/lib:$newer:/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-} DREAMLAB_GOLDEN=$place/golden
  local program=$place/bin/dreamlab
  { echo "# GPU check"; echo; date -u; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; "$program" --version; } >"$report"
  for stage in ${STAGES:-ops golden pipeline bench profile}; do
    section "$stage"
    case $stage in
      ops) log ops "$place/bin/test_device" --gtest_filter='*Cuda*' --gtest_brief=1 ;;
      golden) for dtype in fp32 bf16 fp16; do log "golden_$dtype" "$program" verify "$DREAMLAB_GOLDEN" --device cuda --dtype "$dtype"; done ;;
      pipeline) log pipeline "$place/bin/test_pipeline" --gtest_filter='*Cuda*' --gtest_brief=1 ;;
      bench)
        for case in "sdxl 1024x1024 4 1.0 1 20" "sdxl 1024x1024 20 5.0 8 2" "sd15 512x512 4 1.0 1 20" "sd15 512x512 20 7.5 1 20"; do
          read -r family size steps guidance batch repeat <<<"$case"
          name=bench_${family}_${steps}_batch$batch
          log "$name" "$program" bench --device cuda --family "$family" --size "$size" --steps "$steps" --guidance "$guidance" --batch "$batch" --repeat "$repeat"
          cat "$out/$name.log" >>"$report"
        done
        OFFLOAD=stream log bench_sdxl_stream "$program" bench --device cuda --family sdxl --steps 4 --repeat 2 --only image
        cat "$out/bench_sdxl_stream.log" >>"$report" ;;
      profile)
        for family in sdxl sd15; do
          log "profile_$family" "$program" bench --device cuda --family "$family" --only unet --only vae_decode --profile
          cat "$out/profile_$family.log" >>"$report"
        done ;;
      *) echo "unknown stage $stage"; failed=1 ;;
    esac
    end_section
  done
  cat "$report"
  return "$failed"
}

case ${1:-} in
  bundle) [[ $# -eq 2 ]] || usage; touch "$2"; bundle "$2" ;;
  run) [[ $# -eq 3 ]] || usage; run "$2" "$3" ;;
  *) usage ;;
esac
