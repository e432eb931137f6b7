#!/bin/sh
# Makes the secrets of compose.yaml in docker/secrets, once: existing ones stay.
set -eu
cd "$(dirname "$0")"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# The folder keeps other users of this machine out. The files themselves must be readable, because
# the containers mount them one by one and read them as users that do not exist here.
mkdir -p secrets
chmod 700 secrets
umask 022

[ -e secrets/postgres_password ] || random > secrets/postgres_password
[ -e secrets/http_token ] || random > secrets/http_token
[ -e secrets/grafana_password ] || random > secrets/grafana_password
# No TLS inside this compose network; to another machine use sslmode=verify-full.
[ -e secrets/database_url ] ||
    printf 'postgres://rowcast:%s@postgres:5432/clinical?sslmode=disable' \
        "$(cat secrets/postgres_password)" > secrets/database_url
