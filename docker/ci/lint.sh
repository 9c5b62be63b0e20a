#!/usr/bin/env bash
# The Dockerfiles by hadolint, and every combination of compose files by Compose itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

hadolint=.venv/bin/hadolint
"$hadolint" docker/Dockerfile docker/ci/*/Dockerfile

if ! docker compose version >/dev/null 2>&1; then
    eval "$(docker/ci/engine.sh env)" # its Compose, if it has been fetched
fi
if ! docker compose version >/dev/null 2>&1; then
    echo "NOT CHECKED: the compose files, for there is no docker compose here." >&2
    exit
fi
export WHEELS_DIR=$PWD
every=$(mktemp) # the example with every setting in use, empty or as shown
trap 'rm -f "$every"' EXIT
sed -E '/^# COMPOSE_FILE=/d; s/^# ([A-Z_]+=)/\1/' .env.example >"$every"
for files in compose.yaml "compose.yaml:docker/compose.cpu.yaml" "compose.yaml:docker/ci/compose.ci.yaml" \
    "compose.yaml:docker/compose.cpu.yaml:docker/ci/compose.ci.yaml"; do
    for settings in /dev/null "$every"; do
        COMPOSE_FILE=$files docker compose --env-file "$settings" config -q || { echo "in $files with $settings" >&2; exit 1; }
    done
done
