#!/usr/bin/env bash
# One MariaDB server with its own data for tests: see usage. As root the server runs as `nobody`,
# since it refuses to run as root.
set -euo pipefail
# shellcheck source=tests/services/functions.sh
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

[[ $# -ge 2 ]] || usage
action=$1
enter_instance "$2"
asked_port=${3:-}
data="$instance/data"
# Among its data, which nobody else may enter.
socket="$data/sock"

# What makes it give up being root.
user=()
[[ $EUID -ne 0 ]] || user=(--user=nobody)

# mariadbd is in /usr/sbin, which an ordinary user may not have on the PATH.
daemon=$(PATH="$PATH:/usr/sbin" command -v mariadbd) || fail "no MariaDB server: run tests/services/obtain.sh"

create() {
    rm -rf "$data"
    mkdir -p "$data"
    chmod 700 "$data"
    [[ $EUID -ne 0 ]] || chown nobody "$data"
    mariadb-install-db --no-defaults "--datadir=$data" "${user[@]}" --skip-test-db \
        --auth-root-authentication-method=normal >"$instance/install.log" 2>&1 ||
        { tail -20 "$instance/install.log" >&2; fail "mariadb-install-db failed"; }
}

start() {
    is_running "$(instance_pid)" && fail "$instance runs already"
    local port pid
    mkdir -p "$instance"
    chmod 755 "$instance"
    echo mariadb >"$instance/kind"
    port=$(choose_port "$asked_port")
    echo "$port" >"$instance/port"
    [[ -d "$data/mysql" ]] || create
    touch "$instance/log"
    # What it writes at commit (innodb_flush_log_at_trx_commit) stays as where rowcast runs for earnest.
    setsid "$daemon" --no-defaults "${user[@]}" "--datadir=$data" "--socket=$socket" "--port=$port" \
        "--pid-file=$data/pid" --bind-address=127.0.0.1 --skip-name-resolve --max-connections=500 \
        --innodb-buffer-pool-size=128M ${ROWCAST_TEST_MARIADB_OPTIONS:-} >>"$instance/log" 2>&1 </dev/null &
    local client=(mariadb --no-defaults "--socket=$socket" -u root) deadline=$((SECONDS + 60))
    until "${client[@]}" -e 'SELECT 1' >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { tail -20 "$instance/log" >&2; fail "MariaDB is not ready after 60 s"; }
        sleep 0.2
    done
    cp "$data/pid" "$instance/pid"
    pid=$(instance_pid)
    is_running "$pid" || fail "MariaDB ended while starting"
    "${client[@]}" <<'EOF'
CREATE DATABASE IF NOT EXISTS rowcast;
CREATE USER IF NOT EXISTS rowcast@127.0.0.1 IDENTIFIED BY 'rowcast';
GRANT ALL ON *.* TO rowcast@127.0.0.1 WITH GRANT OPTION;
EOF
    address
}

stop() {
    local pid
    pid=$(instance_pid)
    if is_running "$pid"; then
        kill -CONT "$pid"
        kill -TERM "$pid"
        wait_ended "$pid" 30 || kill_it
    fi
    rm -f "$instance/pid"
}

kill_it() {
    local pid
    pid=$(instance_pid)
    if is_running "$pid"; then
        kill -KILL "$pid"
        wait_ended "$pid" 10
    fi
    rm -f "$instance/pid" "$data/pid" "$socket"
}

address() { echo "mysql://rowcast:rowcast@127.0.0.1:$(<"$instance/port")/rowcast"; }

case $action in
start) start ;;
stop) stop ;;
kill) kill_it ;;
restart) stop; start ;;
freeze) kill -STOP "$(instance_pid)" ;;
thaw) kill -CONT "$(instance_pid)" ;;
address) address ;;
remove) kill_it; rm -rf "$instance" ;;
*) usage ;;
esac
