#!/usr/bin/env bash
# tools/install_packages.sh GROUP...: installs what tools/packages.txt lists for the groups and this machine lacks.
# Asks nothing of the network when everything is there.
set -euo pipefail
tools=$(dirname "$(readlink -f "$0")")

is_there() {  # PACKAGE COMMAND
  if [[ -n $2 ]] && command -v "$2" >/dev/null; then return 0; fi
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
while read -r group package command; do
  [[ -n $group && $group != \#* && " $* " == *" $group "* ]] || continue
  is_there "$package" "${command:-}" || missing+=("$package")
done < "$tools/packages.txt"
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "install_packages: not a Debian system; please install what stands for: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install_packages: not root and no sudo; please run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -q update </dev/null
"${as_root[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}" </dev/null
