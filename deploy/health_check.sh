#!/usr/bin/env bash
# Succeeds when the server on this machine answers /health by 200. Needs nothing but bash. Where the server speaks TLS, that
# it accepts connections has to do.
set -euo pipefail
exec 3<> "/dev/tcp/${HEALTH_HOST:-127.0.0.1}/${PORT:-4200}"
[[ -z ${TLS_CERT:-} ]] || exit 0
printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 4 _ status _ <&3
[[ $status == 200 ]]
