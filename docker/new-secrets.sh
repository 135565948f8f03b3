#!/bin/sh
# Makes the secrets of docker/compose.yaml, once: FOLDER (default: docker/secrets) with a random password a file. What is there stays.
# The folder is its owner's alone. The files are readable, because each container reads its own as another user, and gets no other.
set -eu
folder=${1:-$(dirname -- "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
put() { # put NAME VALUE
  [ -n "$2" ] || { echo "new-secrets: no randomness for $1" >&2; exit 1; }
  [ -s "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"
  chmod 444 "$folder/$1"
}
random() { od -An -v -tx1 -N 24 /dev/urandom | tr -d ' \n'; }
put postgres_password "$(random)"
put database_password "$(random)"
put database_url "postgres://sallyport:$(cat "$folder/database_password")@postgres:5432/sallyport"
put redis_password "$(random)"
put grafana_password "$(random)"
