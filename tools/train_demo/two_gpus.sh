#!/usr/bin/env bash
# The whole recipe on two GPUs, in three parts of less than ten minutes each: stages that do not read one another run
# beside each other. What each stage prints goes to files in WORK.
set -euo pipefail
if [[ $# -ne 3 || ! $3 =~ ^[123]$ ]]; then
  echo "usage: two_gpus.sh WORDS WORK PART   (PART: 1, then 2, then 3)" >&2
  exit 2
fi
words=$1 work=$2 part=$3
root=$(dirname "$(readlink -f "$0")")
mkdir -p "$work"
export PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True TORCHINDUCTOR_CACHE_DIR=$work/compiled

# stage GPU STAGE OPTION...
stage() {
  local gpu=$1 name=$2 verdict="done"
  shift 2
  local log=$work/$name.$gpu.log
  CUDA_VISIBLE_DEVICES=$gpu python3 "$root/train.py" "$name" --words "$words" --work "$work" --compile "$@" >"$log" 2>&1 ||
    verdict="FAILED (see $log)"
  echo "$name: $verdict, $SECONDS s"
  [[ $verdict == "done" ]]
}

case $part in
  1)
    stage 1 compile &
    beside=$!
    stage 0 autoencoder --seconds autoencoder=500
    ;;
  2)
    rm -f "$work/large"
    { stage 1 latents --sizes 1024,512 && touch "$work/large" && stage 1 classifier --seconds classifier=230; } &
    beside=$!
    stage 0 latents --sizes 256
    while [[ ! -e $work/large ]] && kill -0 "$beside" 2>/dev/null; do sleep 1; done
    stage 0 denoiser --seconds denoiser=430
    ;;
  3)
    rm -f "$work/styled"
    { stage 1 styles --seconds styles=80 && touch "$work/styled" && stage 1 upscaler --seconds upscaler=200; } &
    beside=$!
    stage 0 distill --seconds distill=300
    while [[ ! -e $work/styled ]] && kill -0 "$beside" 2>/dev/null; do sleep 1; done
    stage 0 distill_styles --seconds distill_styles=35
    stage 0 check
    ;;
esac
wait "$beside"
