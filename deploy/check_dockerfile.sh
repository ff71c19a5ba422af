#!/usr/bin/env bash
# deploy/check_dockerfile.sh [--binary FILE] [--keep]: does what deploy/Dockerfile says in clean Debian roots made by
# debootstrap, where no Docker engine runs, and checks the server that comes out: healthy, with the model in the box
# ready, not root, ends by SIGTERM. As root.
#   --binary FILE  leaves the build stage out and takes this program as its result (minutes instead of a long build)
#   --keep         leaves the roots where they are
# Packages come from where this machine's apt gets them, npm's from where this machine's npm gets them.
set -euo pipefail
source=$(dirname "$(dirname "$(readlink -f "$0")")")
dockerfile=$source/deploy/Dockerfile
port=42$((RANDOM % 90 + 10))
binary='' keep=''

fail() { echo "check_dockerfile: $*" >&2; exit 1; }

while [[ $# -gt 0 ]]; do
  case $1 in
    --binary) binary=$(readlink -e "${2:?--binary needs a file}") || fail "no program $2"; shift 2 ;;
    --keep) keep=1; shift ;;
    --help | -h) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $1" ;;
  esac
done
[[ $(id -u) -eq 0 ]] || fail "needs root, for chroot"
for tool in debootstrap curl; do
  command -v "$tool" > /dev/null || fail "needs $tool: apt-get install $tool"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/dreamlab-dockerfile-XXXXXX")
server=''
clean_up() {
  [[ -z $server ]] || kill -KILL "$server" 2> /dev/null || true
  local mounted
  for mounted in "$work"/*/proc; do umount "$mounted" 2> /dev/null || true; done
  if [[ -n $keep ]]; then echo "roots: $work"; else rm -rf --one-file-system "$work"; fi
}
trap clean_up EXIT

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
[[ -n $mirror ]] || fail "apt has no sources for Debian 12 (bookworm)"

# The image that FROM names; once, then copies of it.
make_root() {  # DIRECTORY
  if [[ ! -d $work/base ]]; then
    debootstrap --variant=minbase bookworm "$work/base" "$mirror" > "$work/debootstrap.log" 2>&1 ||
      fail "debootstrap: $(tail -n 1 "$work/debootstrap.log")"
    cp /etc/resolv.conf /etc/hosts "$work/base/etc/"
    [[ ! -e $certificates ]] || cp "$certificates" "$work/base/etc/certificates_of_this_machine.crt"
  fi
  cp -a "$work/base" "$1"
  mount -t proc proc "$1/proc"
}

# What the image is made from: what Git knows, less what .dockerignore names.
copy_context() {  # DIRECTORY
  mkdir -p "$1"
  git -C "$source" ls-files -z --cached --others --exclude-standard --deduplicate |
    grep -zvE '^(tests|build|node_modules)/|\.md$' |
    (cd "$source" && while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done) |
    tar -C "$source" --null -T - -cf - | tar -C "$1" -xf -
}

# A registry or a proxy of one's own may have a certificate that only this machine trusts.
certificates=/etc/ssl/certs/ca-certificates.crt
npm_registry=$(npm config get registry 2> /dev/null || true)

# Sets in_root to what runs a shell command in the root of the current stage.
enter_root() {  # COMMAND
  in_root=(chroot --userspec="$user" "$root" /usr/bin/env -i HOME=/root
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    ${npm_registry:+npm_config_registry="$npm_registry"} ${http_proxy:+http_proxy="$http_proxy"}
    ${https_proxy:+https_proxy="$https_proxy"} NODE_EXTRA_CA_CERTS=/etc/certificates_of_this_machine.crt
    "${environment[@]}" /bin/sh -c "cd '$directory' && $1")
}
run_in_root() {  # COMMAND
  enter_root "$1"
  "${in_root[@]}" < /dev/null
}

copy_into_root() {  # WORDS of COPY
  local from=$work/context words=() destination
  while [[ $1 == --* ]]; do
    case $1 in
      --from=*) from=$work/${1#--from=} ;;
      *) fail "COPY $1: not known here" ;;
    esac
    shift
  done
  words=("$@")
  destination=${words[-1]}
  unset 'words[-1]'
  [[ $destination == /* ]] || destination=$directory/$destination
  [[ ${words[0]} != . ]] || { mkdir -p "$root$destination"; cp -a "$from/." "$root$destination/"; return; }
  if [[ $destination == */ ]]; then mkdir -p "$root$destination"; else mkdir -p "$(dirname "$root$destination")"; fi
  local word
  for word in "${words[@]}"; do cp -a "$from/$word" "$root$destination"; done
}

stage='' root='' directory=/ user=root environment=() in_root=() entry='' command='' health=''
obey() {  # INSTRUCTION REST
  local rest=$2
  case $1 in
    FROM)
      read -r image _ stage <<< "$rest"
      [[ $image == debian:12-slim && -n $stage ]] || fail "FROM $rest: not known here"
      root=$work/$stage directory=/ user=root environment=()
      if [[ $stage == build && -n $binary ]]; then
        mkdir -p "$root/src"
        cp "$binary" "$root/src/dreamlab"
        cp -r "$source/assets" "$root/src/"
        "$source/deploy/runtime_packages.sh" "$binary" > "$root/src/runtime_packages"
      else
        make_root "$root"
      fi ;;
    WORKDIR) directory=$rest; mkdir -p "$root$directory" ;;
    COPY) read -ra words <<< "$rest"; copy_into_root "${words[@]}" ;;
    RUN) run_in_root "$rest" > "$work/run.log" 2>&1 || { tail -n 30 "$work/run.log" >&2; fail "RUN $rest: failed"; } ;;
    ENV) environment+=("$rest") ;;
    USER) user=$rest ;;
    HEALTHCHECK) health=${rest#*CMD } ;;
    ENTRYPOINT) entry=$rest ;;
    CMD) command=$rest ;;
    EXPOSE) ;;
    *) fail "$1: not known here" ;;
  esac
}

words_of() { tr -d '[]",' <<< "$1"; }  # of the form ["a", "b"]

copy_context "$work/context"
# A line that ends in a backslash goes on in the next.
while read -r instruction rest; do
  [[ -n $instruction ]] || continue
  [[ $instruction == FROM ]] && stage=${rest##* }
  if [[ $stage == build && -n $binary && $instruction != FROM ]]; then continue; fi
  echo "$instruction $rest"
  started=$SECONDS
  obey "$instruction" "$rest"
  [[ $instruction != RUN ]] || echo "  ($((SECONDS - started)) s)"
done < <(sed -e 's/^#.*//' "$dockerfile" | sed -e ':a' -e '/\\$/{N;s/\\\n//;ba}')

echo "the image: $(du -sm --one-file-system --exclude=./proc "$root" | cut -f 1) MiB; it runs $(words_of "$entry")$(words_of "$command" | sed 's/^/ /') as $user"
environment+=("PORT=$port" HOST=127.0.0.1 STORAGE=file:/storage)
enter_root "exec $(words_of "$entry") $(words_of "$command")"
"${in_root[@]}" < /dev/null > "$work/server.log" 2>&1 &
server=$!
succeeds_in_time() {  # COMMAND...
  local try
  for try in $(seq 100); do
    if "$@" 2> /dev/null; then return 0; fi
    sleep 0.2
  done
  cat "$work/server.log" >&2
  return 1
}
succeeds_in_time run_in_root "$(words_of "$health")" || fail "the health check never succeeded"
# Nothing names a model: the one in the box must be there.
succeeds_in_time curl -sf -o /dev/null "http://127.0.0.1:$port/ready" || fail "the model in the box never became ready"
[[ $(run_in_root 'id -u') -ne 0 ]] || fail "the server runs as root"
run_in_root "touch /usr/local/bin/x" 2> /dev/null && fail "the server may write to its own programs"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=''
[[ $status -eq 0 ]] || { cat "$work/server.log" >&2; fail "SIGTERM: exit $status"; }
echo "check_dockerfile: passed${binary:+ (without the build stage)}"
