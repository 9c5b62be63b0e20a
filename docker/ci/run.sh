#!/usr/bin/env bash
# The whole container test: an engine, base images, our images, the stack. Takes the engine that `docker` finds, if it
# finds one with Compose; else makes one.
set -euo pipefail
cd "$(dirname "$0")/../.."
timed() {
    local began=$SECONDS
    "$@"
    echo "[$((SECONDS - began)) s] $*" >&2
}

if ! { docker info && docker compose version; } >/dev/null 2>&1; then
    timed docker/ci/engine.sh up
    trap 'docker/ci/engine.sh down' EXIT
    eval "$(docker/ci/engine.sh env)"
    timed docker/ci/bases.sh
fi
# Any folder does: pip's own setting may name one with a CPU build of torch.
WHEELS_DIR=${WHEELS_DIR:-${PIP_FIND_LINKS:-$PWD/docker/ci}}
export WHEELS_DIR LUTHIER_TAG=test
timed docker compose -f compose.yaml -f docker/ci/compose.ci.yaml build -q
timed .venv/bin/python -m pytest -q -m docker tests/docker "$@"
