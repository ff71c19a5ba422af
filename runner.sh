#!/usr/bin/env bash
# Builds the program where needed and shows what it can do; arguments go to the program.
set -euo pipefail
root=$(dirname "$(readlink -f "$0")")
"$root/localbuild"
[[ $# -gt 0 ]] || set -- --help
exec "$root/dreamlab" "$@"
