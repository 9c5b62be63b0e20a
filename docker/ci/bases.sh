#!/usr/bin/env bash
# Stand-ins, made from Debian packages, for the images that our files name: no image registry is needed.
set -euo pipefail
cd "$(dirname "$0")"
lab=${DOCKER_LAB:-/var/tmp/luthier-docker}
have() { docker image inspect "$1" >/dev/null 2>&1; }

options=(force-unsafe-io path-exclude="/usr/share/doc/*" path-exclude="/usr/share/locale/*" path-exclude="/usr/share/man/*")
have debian:bookworm-slim || mmdebstrap -q --variant=minbase "${options[@]/#/--dpkgopt=}" bookworm - |
    docker import -c 'CMD ["bash"]' - debian:bookworm-slim >/dev/null
if ! have python:3.11-slim-bookworm; then
    mkdir -p "$lab/ca" # this machine's own certificate authorities, if it has any
    cp -L /usr/local/share/ca-certificates/*.crt "$lab/ca/" 2>/dev/null || touch "$lab/ca/.none"
    docker build -q --build-context ca="$lab/ca" -t python:3.11-slim-bookworm python >/dev/null
fi
have postgres:15-bookworm || docker build -q -t postgres:15-bookworm postgres >/dev/null
