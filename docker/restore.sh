#!/usr/bin/env bash
# Puts back what docker/backup.sh copied, in place of what is there:  docker/restore.sh FOLDER
#
# On a new machine, too. Nothing is replaced before both copies have been read to their end.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?which folder? docker/backup.sh made it}
for file in "$folder/database.dump" "$folder/home.tar"; do
    [ -s "$file" ] || { echo "$file is not there, or empty: this is no back-up." >&2; exit 2; }
done

in_home() { docker compose run --rm --no-deps -T --workdir /var/lib/luthier service "$@"; }
sql() { docker compose exec -T postgres psql -q -U luthier -d postgres -v ON_ERROR_STOP=1 -c "$1"; }

state="Nothing was replaced. To go on with what was there: docker compose up -d"
trap 'status=$?; [ $status = 0 ] || printf "\n%s\n" "$state" >&2' EXIT
docker compose stop worker service
docker compose create # a new machine's images: Compose builds them for the whole of the file, and pulls for a part of it
docker compose up -d --wait postgres
sql 'DROP DATABASE IF EXISTS restored WITH (FORCE)'
sql 'CREATE DATABASE restored'
docker compose exec -T postgres pg_restore -U luthier -d restored --exit-on-error <"$folder/database.dump"
in_home sh -c 'rm -rf .restored && mkdir .restored && tar -C .restored -xf -' <"$folder/home.tar"

state="Half of it was replaced, and the service is stopped. Run this again: docker/restore.sh $folder"
sql 'DROP DATABASE IF EXISTS luthier WITH (FORCE)'
sql 'ALTER DATABASE restored RENAME TO luthier'
in_home sh -c 'find . -mindepth 1 -maxdepth 1 ! -name .restored -exec rm -rf {} + &&
    find .restored -mindepth 1 -maxdepth 1 -exec mv {} . \; && rmdir .restored' </dev/null
state="The back-up is in place, but not every container came up. Once that is mended: docker compose up -d"
echo "Restored from $folder."
docker compose up -d
