#!/usr/bin/env bash
# Installs what is missing, builds, and serves pictures over HTTP.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")

usage() {
  cat <<'HELP'
usage: ./runner.sh [FLAG...]
Installs what is missing, builds ./dreamlab and runs `dreamlab serve` on port 4200. The environment configures it
(docs/CONFIGURATION.md), and so do flags of the same names:

  MODEL_ROOT=/models MODEL=sd15.safetensors ./runner.sh
  ./runner.sh --model /models/sd15.safetensors --port 8080
  set -a; . ./env.sdxl; set +a; ./runner.sh

`./dreamlab serve --help` lists the flags.
HELP
}

for flag in "$@"; do
  case $flag in
    --help | -h) usage; exit 0 ;;
  esac
done

"$root/localbuild" >&2
exec "$root/dreamlab" serve "$@"
