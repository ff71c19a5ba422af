#!/usr/bin/env bash
# deploy/runtime_packages.sh PROGRAM: the Debian packages of the libraries that a program needs, one a line. Asked of the
# linker, so that no list of them can grow stale.
set -euo pipefail
program=${1:?usage: runtime_packages.sh PROGRAM}

libraries=$(ldd "$program")
if grep -q 'not found' <<< "$libraries"; then
  echo "runtime_packages: $program lacks libraries: $(awk "/not found/ { print \$1 }" <<< "$libraries" | tr "\n" " ")" >&2
  exit 1
fi
awk '$2 == "=>" { print $3 }' <<< "$libraries" | while read -r library; do
  # dpkg knows a file by the path that its package has, with or without the /usr in front.
  real=$(readlink -f "$library")
  dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "$real" 2>/dev/null || dpkg-query -S "${real#/usr}" 2>/dev/null ||
    { echo "runtime_packages: no package has $library" >&2; exit 1; }
done | cut -d: -f1 | sort -u
