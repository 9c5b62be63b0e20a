#!/usr/bin/env bash
# Copies the database and the models into a folder:  docker/backup.sh [FOLDER]
#
# Service and workers stop meanwhile, so that both copies show the same moment; trials that run are given back, and
# go on from their last evaluation. Tokens are not copied: a new machine makes its own.
set -euo pipefail
umask 077
cd "$(dirname "$0")/.."
folder=${1:-backups/$(date -u +%Y-%m-%dT%H%M%SZ)}
if [ -e "$folder" ]; then
    echo "$folder exists already; name another folder." >&2
    exit 2
fi

docker compose run --rm --no-deps -T service true >&2 # builds a missing image now, and not into the copy below
mapfile -t stopped < <(docker compose ps --services --status running | grep -xE 'service|worker')
mkdir -p "$folder.partial"
if [ ${#stopped[@]} -gt 0 ]; then
    trap 'docker compose start "${stopped[@]}"' EXIT
    docker compose stop "${stopped[@]}"
fi
docker compose up -d --wait --no-deps --no-recreate postgres # as it is, whatever .env says by now
docker compose exec -T postgres pg_dump -U luthier -Fc luthier >"$folder.partial/database.dump"
docker compose run --rm --no-deps -T service tar -C /var/lib/luthier --exclude=./worker -cf - . >"$folder.partial/home.tar"
mv "$folder.partial" "$folder"
echo "Backed up to $folder: $(du -sh "$folder" | cut -f1)."
