#!/usr/bin/env bash
# tools/aarch64_sysroot.sh FOLDER: Debian's arm64 packages of the libraries in tools/packages.txt, unpacked into FOLDER for
# a compiler's --sysroot. Nothing is installed, and the machine's own packages stay as they are: apt works on a state of its
# own. Does nothing where FOLDER has them already.
set -euo pipefail
tools=$(dirname "$(readlink -f "$0")")
folder=$(realpath -m "${1:?usage: aarch64_sysroot.sh FOLDER}")

# The compiler brings neither the C library nor its own for the other architecture where a sysroot is given.
packages=$(awk '($1 == "build" || $1 == "test") && $2 ~ /-dev$/ { print $2 }' "$tools/packages.txt"; echo libc6-dev libstdc++-12-dev)
stamp=$folder/.packages
if [[ -f $stamp && $(< "$stamp") == "$packages" ]]; then exit 0; fi

for program in apt-get dpkg-deb; do
  command -v "$program" >/dev/null || { echo "aarch64_sysroot: no $program; this needs a Debian 12 system" >&2; exit 1; }
done
rm -rf "$folder"
state=$folder/.apt
mkdir -p "$state/lists/partial" "$state/archives/partial"
touch "$state/status"
cat > "$state/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Log "$state";
CONF
export APT_CONFIG=$state/apt.conf
echo "fetching arm64 packages into $folder"
apt-get -q update </dev/null
# shellcheck disable=SC2086  # one argument each
apt-get -q install -y --download-only $packages </dev/null

# Packages of before and after the move of /lib into /usr: both put their files into one folder.
mkdir -p "$folder"/usr/{lib,bin,sbin}
for name in lib bin sbin; do ln -s "usr/$name" "$folder/$name"; done
for archive in "$state"/archives/*.deb; do
  # Not by dpkg-deb -x, which would put a folder in the place of a link.
  dpkg-deb --fsys-tarfile "$archive" | tar -x --keep-directory-symlink --no-same-owner -C "$folder"
done
# Links of whole paths would lead out of the folder.
find "$folder" -type l -lname '/*' -printf '%p %l\n' | while read -r link target; do
  ln -sfr "$folder$target" "$link"
done
rm -rf "$state"
echo "$packages" > "$stamp"
