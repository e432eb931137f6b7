#!/usr/bin/env bash
# Runs a command with a real Apache Kafka, PostgreSQL and MariaDB at hand, which live only as long.
#
#   with-services.sh [--meanwhile COMMANDLINE] COMMAND [ARGUMENT...]
#
# --meanwhile: a shell command line to run while the servers start, the build for example.
#
# The command finds them in its environment:
#   ROWCAST_TEST_KAFKA         bootstrap servers
#   ROWCAST_TEST_POSTGRES      url of a database whose role may create databases
#   ROWCAST_TEST_MARIADB       url of a database whose user may create databases and users
#   ROWCAST_TEST_KAFKA_CTL     script that starts, stops, kills, freezes further instances of its own
#   ROWCAST_TEST_POSTGRES_CTL  the same
#   ROWCAST_TEST_MARIADB_CTL   the same
#   ROWCAST_TEST_STATE         where instances live
# ROWCAST_TEST_POSTGRES_OPTIONS holds more options for PostgreSQL servers that are started (`-c a=b`),
# ROWCAST_TEST_MARIADB_OPTIONS for MariaDB servers (`--a=b`).
# ROWCAST_TEST_KEEP_LOGS=DIR keeps the servers' logs there if the command fails.
# If ROWCAST_TEST_KAFKA, ROWCAST_TEST_POSTGRES or ROWCAST_TEST_MARIADB is set already, that server is
# used and none is started; its CTL variable is then passed on only if it was set too.
set -euo pipefail
# shellcheck source=tests/services/functions.sh
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

meanwhile=
if [[ ${1:-} == --meanwhile ]]; then
    meanwhile=${2:?--meanwhile needs a command line}
    shift 2
fi
[[ $# -gt 0 ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2; }

command_pid=
starting_pid=
cleanup() {
    local status=$? directory
    trap - EXIT
    trap '' INT TERM HUP
    # Process groups, so that what the command and the starting scripts started ends too.
    local group
    for group in $command_pid $starting_pid; do
        kill -TERM -- "-$group" 2>/dev/null || continue
        for _ in $(seq 50); do kill -0 -- "-$group" 2>/dev/null || break; sleep 0.1; done
        kill -KILL -- "-$group" 2>/dev/null || true
    done
    for directory in "$ROWCAST_TEST_STATE"/*/; do
        [[ -f "$directory/kind" ]] || continue
        if [[ $status -ne 0 && -n "${ROWCAST_TEST_KEEP_LOGS:-}" ]]; then
            mkdir -p "$ROWCAST_TEST_KEEP_LOGS"
            cp "$directory/log" "$ROWCAST_TEST_KEEP_LOGS/$(basename "$directory").log" 2>/dev/null || true
        fi
        "$services_dir/$(<"$directory/kind").sh" remove "$(basename "$directory")" || true
    done
    rm -rf "$ROWCAST_TEST_STATE"
    say "all ended after $SECONDS s"
    exit "$status"
}

export ROWCAST_TEST_STATE
ROWCAST_TEST_STATE=$(mktemp -d "${TMPDIR:-/tmp}/rowcast-test.XXXXXX")
chmod 755 "$ROWCAST_TEST_STATE"
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

needed=(build oracle prometheus chromium)
[[ -n "${ROWCAST_TEST_KAFKA:-}" ]] || needed+=(kafka)
[[ -n "${ROWCAST_TEST_POSTGRES:-}" ]] || needed+=(postgres)
[[ -n "${ROWCAST_TEST_MARIADB:-}" ]] || needed+=(mariadb)
"$services_dir/obtain.sh" packages "${needed[@]}"

# Job control: every background job is a process group of its own, which `cleanup` ends as one.
set -m
start_services() {
    local kafka_pid='' postgres_pid='' mariadb_pid=''
    if [[ -z "${ROWCAST_TEST_POSTGRES:-}" ]]; then
        "$services_dir/postgres.sh" start postgres >"$ROWCAST_TEST_STATE/postgres.address" &
        postgres_pid=$!
    fi
    if [[ -z "${ROWCAST_TEST_MARIADB:-}" ]]; then
        "$services_dir/mariadb.sh" start mariadb >"$ROWCAST_TEST_STATE/mariadb.address" &
        mariadb_pid=$!
    fi
    if [[ -z "${ROWCAST_TEST_KAFKA:-}" ]]; then
        "$services_dir/obtain.sh" kafka
        "$services_dir/kafka.sh" start kafka >"$ROWCAST_TEST_STATE/kafka.address" &
        kafka_pid=$!
    fi
    [[ -z "$postgres_pid" ]] || wait "$postgres_pid"
    [[ -z "$mariadb_pid" ]] || wait "$mariadb_pid"
    [[ -z "$kafka_pid" ]] || wait "$kafka_pid"
}
(set +m; start_services) &
starting_pid=$!

run() {
    "$@" &
    command_pid=$!
    local status=0
    wait "$command_pid" || status=$?
    command_pid=
    return "$status"
}
if [[ -n "$meanwhile" ]]; then
    run bash -c "$meanwhile"
    say "meanwhile done after $SECONDS s"
fi
wait "$starting_pid" || fail "the services did not start"
starting_pid=

if [[ -z "${ROWCAST_TEST_KAFKA:-}" ]]; then
    ROWCAST_TEST_KAFKA=$(<"$ROWCAST_TEST_STATE/kafka.address")
    ROWCAST_TEST_KAFKA_CTL="$services_dir/kafka.sh"
    export ROWCAST_TEST_KAFKA_CTL
    say "Kafka at $ROWCAST_TEST_KAFKA"
fi
if [[ -z "${ROWCAST_TEST_POSTGRES:-}" ]]; then
    ROWCAST_TEST_POSTGRES=$(<"$ROWCAST_TEST_STATE/postgres.address")
    ROWCAST_TEST_POSTGRES_CTL="$services_dir/postgres.sh"
    export ROWCAST_TEST_POSTGRES_CTL
    say "PostgreSQL at $ROWCAST_TEST_POSTGRES"
fi
if [[ -z "${ROWCAST_TEST_MARIADB:-}" ]]; then
    ROWCAST_TEST_MARIADB=$(<"$ROWCAST_TEST_STATE/mariadb.address")
    ROWCAST_TEST_MARIADB_CTL="$services_dir/mariadb.sh"
    export ROWCAST_TEST_MARIADB_CTL
    say "MariaDB at $ROWCAST_TEST_MARIADB"
fi
export ROWCAST_TEST_KAFKA ROWCAST_TEST_POSTGRES ROWCAST_TEST_MARIADB
say "ready after $SECONDS s"
run "$@"
