#!/bin/sh
# Runs before all else at each `docker compose up`: makes the secrets that containers present to each other, as files in
# volumes, each once. A token that .env gives replaces the one that was made.
set -eu
umask 022
folder=/run/luthier

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
put() { printf '%s' "$2" >"$1.new" && mv "$1.new" "$1"; } # whole, or not at all
given() { if [ -n "$2" ]; then put "$1" "$2"; else rm -f "$1"; fi; } # as .env says now
long_enough() {
    [ "${#2}" -ge 16 ] && return
    echo "$1 must have at least 16 characters; \`openssl rand -hex 24\` makes one." >&2
    exit 2
}

if ! [ -s "$folder/database/luthier_database_url" ]; then
    password=$(random)
    put "$folder/database/postgres_password" "$password"
    put "$folder/database/luthier_database_url" "postgresql://luthier:$password@postgres/luthier"
fi

if [ -n "${LUTHIER_WORKER_TOKEN:-}" ]; then
    long_enough LUTHIER_WORKER_TOKEN "$LUTHIER_WORKER_TOKEN"
    put "$folder/workers/luthier_worker_token" "$LUTHIER_WORKER_TOKEN"
elif ! [ -s "$folder/workers/luthier_worker_token" ]; then
    put "$folder/workers/luthier_worker_token" "$(random)"
fi
given "$folder/workers/hf_token" "${HF_TOKEN:-}"
given "$folder/users/luthier_webhook_url" "${LUTHIER_WEBHOOK_URL:-}"
given "$folder/users/luthier_webhook_secret" "${LUTHIER_WEBHOOK_SECRET:-}"

if [ -n "${LUTHIER_TOKEN:-}" ]; then
    long_enough LUTHIER_TOKEN "$LUTHIER_TOKEN"
    put "$folder/users/luthier_token" "$LUTHIER_TOKEN"
elif ! [ -s "$folder/users/luthier_token" ]; then
    token=$(random)
    put "$folder/users/luthier_token" "$token"
    echo "This service's token, shown once: $token"
fi
