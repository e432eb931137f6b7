#!/usr/bin/env bash
# How many changes a second rowcast writes, end to end over a real Kafka and a real database, what
# that costs, and how far it is from the database's own limit. Options: --help. With `make bench` or
# `make throughput`, options in BENCH="...".
#
# Needs the release binary, or ROWCAST=path. Starts Kafka and PostgreSQL as the tests do, with the
# sizes that everyone sets, unless ROWCAST_TEST_KAFKA and ROWCAST_TEST_POSTGRES name servers that
# run already; of those it cannot tell the CPU seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    ROWCAST_TEST_POSTGRES='' ROWCAST_TEST_KAFKA='' exec python3 benches/throughput/main.py --help
fi
if [[ -z "${ROWCAST_TEST_KAFKA:-}" || -z "${ROWCAST_TEST_POSTGRES:-}" ]]; then
    # Durability stays as PostgreSQL has it.
    export ROWCAST_TEST_POSTGRES_OPTIONS="-c shared_buffers=1GB -c max_wal_size=4GB"
    export ROWCAST_TEST_MARIADB_OPTIONS="--innodb-buffer-pool-size=1G --innodb-log-file-size=1G"
    # Asked for the moments of commits; only then, for keeping them costs a little.
    [[ " $* " != *" --latency"* ]] || ROWCAST_TEST_POSTGRES_OPTIONS+=" -c track_commit_timestamp=on"
    build=()
    [[ -n "${ROWCAST:-}" ]] || build=(--meanwhile 'cargo build --locked --release')
    exec tests/services/with-services.sh "${build[@]}" "${BASH_SOURCE[0]}" "$@"
fi
rowcast=$(realpath "${ROWCAST:-target/release/rowcast}")
[[ -x "$rowcast" ]] || { echo "throughput: no $rowcast: cargo build --release" >&2; exit 2; }
export ROWCAST=$rowcast
exec python3 benches/throughput/main.py "$@"
