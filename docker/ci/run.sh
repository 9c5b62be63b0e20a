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
    eval "$(docker/ci/engine.sh env)"
    if ! docker info >/dev/null 2>&1; then
        trap 'docker/ci/engine.sh down' EXIT
        timed docker/ci/engine.sh up
    fi
    timed docker/ci/bases.sh
fi
# Any folder does: pip's own setting may name one with a CPU build of torch.
WHEELS_DIR=${WHEELS_DIR:-${PIP_FIND_LINKS:-$PWD/docker/ci}}
export WHEELS_DIR LUTHIER_TAG=test
timed docker compose -f compose.yaml -f docker/ci/compose.ci.yaml build -q
.venv/bin/python -m pytest -q -m docker tests/acceptance/docker "$@"
