#!/usr/bin/env bash
# One PostgreSQL server with its own cluster for tests: see usage. As root the server runs as the
# system user `postgres`, since it refuses to run as root.
set -euo pipefail
# shellcheck source=tests/services/functions.sh
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

[[ $# -ge 2 ]] || usage
action=$1
enter_instance "$2"
asked_port=${3:-}
data="$instance/data"

bin=$("$services_dir/obtain.sh" where-postgres) || fail "no PostgreSQL server: run tests/services/obtain.sh"

# A working directory that `postgres` may enter, and no inherited PG* settings.
as_postgres() {
    if [[ $EUID -eq 0 ]]; then
        (cd / && runuser -u postgres -- env -u PGDATA -u PGHOST -u PGPORT -u PGUSER "$@")
    else
        (cd / && env -u PGDATA -u PGHOST -u PGPORT -u PGUSER "$@")
    fi
}

create() {
    rm -rf "$data"
    mkdir -p "$data"
    chmod 700 "$data"
    echo rowcast >"$instance/password"
    [[ $EUID -ne 0 ]] || chown postgres "$data" "$instance/password"
    as_postgres "$bin/initdb" -D "$data" -U rowcast --auth=scram-sha-256 --pwfile="$instance/password" \
        --encoding=UTF8 --locale=C.UTF-8 >"$instance/initdb.log" 2>&1 ||
        { tail -20 "$instance/initdb.log" >&2; fail "initdb failed"; }
    # fsync and synchronous_commit stay on, as where rowcast runs for earnest.
    as_postgres tee -a "$data/postgresql.conf" >/dev/null <<'EOF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
EOF
}

start() {
    is_running "$(instance_pid)" && fail "$instance runs already"
    local port
    mkdir -p "$instance"
    chmod 755 "$instance"
    echo postgres >"$instance/kind"
    port=$(choose_port "$asked_port")
    echo "$port" >"$instance/port"
    [[ -f "$data/PG_VERSION" ]] || create
    touch "$instance/log"
    [[ $EUID -ne 0 ]] || chown postgres "$instance/log"
    as_postgres "$bin/pg_ctl" -D "$data" -l "$instance/log" -o "-p $port ${ROWCAST_TEST_POSTGRES_OPTIONS:-}" -w -t 60 -s start </dev/null ||
        { tail -20 "$instance/log" >&2; fail "PostgreSQL did not start"; }
    head -1 "$data/postmaster.pid" >"$instance/pid"
    export PGPASSWORD=rowcast
    local psql=("$bin/psql" -X -q -A -t -h 127.0.0.1 -p "$port" -U rowcast)
    [[ "$("${psql[@]}" -d postgres -c "SELECT 1 FROM pg_database WHERE datname = 'rowcast'")" == 1 ]] ||
        "${psql[@]}" -d postgres -c 'CREATE DATABASE rowcast'
    address
}

stop() {
    local pid
    pid=$(instance_pid)
    if is_running "$pid"; then
        # shellcheck disable=SC2046 # a list of numbers
        kill -CONT $(process_tree "$pid")
        kill -INT "$pid" # fast: ends sessions, writes a checkpoint
        wait_ended "$pid" 30 || kill_it
    fi
    rm -f "$instance/pid"
}

kill_it() {
    local pid pids each
    pid=$(instance_pid)
    if is_running "$pid"; then
        # The sessions too: while one holds the shared memory, the next start is refused.
        pids=$(process_tree "$pid")
        # shellcheck disable=SC2086 # a list of numbers
        kill -KILL $pids 2>/dev/null || true
        for each in $pids; do wait_ended "$each" 10; done
        # All are dead, but one may be a zombie yet, which PostgreSQL would take for alive.
        rm -f "$data/postmaster.pid"
    fi
    rm -f "$instance/pid"
}

address() { echo "postgres://rowcast:rowcast@127.0.0.1:$(<"$instance/port")/rowcast"; }

case $action in
start) start ;;
stop) stop ;;
kill) kill_it ;;
restart) stop; start ;;
# shellcheck disable=SC2046 # a list of numbers
freeze) kill -STOP $(process_tree "$(instance_pid)") ;;
# shellcheck disable=SC2046
thaw) kill -CONT $(process_tree "$(instance_pid)") ;;
address) address ;;
remove) kill_it; rm -rf "$instance" ;;
*) usage ;;
esac
