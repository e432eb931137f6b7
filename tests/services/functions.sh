# shellcheck shell=bash
# What the service scripts share; sourced, never run. Each instance of a server lives in
# $ROWCAST_TEST_STATE/NAME: its data, its log and the files `kind`, `port` and `pid`.

services_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tree="$(cd "$services_dir/../.." && pwd)"
# Downloads only; may be deleted at any time.
cache="$tree/target/services"

say() { echo "services: $*" >&2; }
fail() { say "$*"; exit 1; }

usage() {
    cat >&2 <<EOF
usage: $(basename "$0") ACTION NAME [PORT]
  start    start the instance NAME (on PORT, else its former one, else a free one); prints its address
  stop     end it in order, keeping its data
  kill     end it with SIGKILL, keeping its data
  restart  stop and start, same port, same data
  freeze   stop its clock (SIGSTOP): connected, but answers nothing
  thaw     let it go on (SIGCONT)
  address  print its address
  remove   end it and delete its data
Instances live in \$ROWCAST_TEST_STATE.
EOF
    exit 2
}

# Sets `instance` from ROWCAST_TEST_STATE and the name.
enter_instance() {
    [[ -n "${ROWCAST_TEST_STATE:-}" ]] || fail "ROWCAST_TEST_STATE is not set; run through with-services.sh"
    [[ "$1" =~ ^[a-z0-9_-]+$ ]] || fail "an instance's name has only a-z 0-9 _ -: '$1'"
    instance="$ROWCAST_TEST_STATE/$1"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on, below the range from which systems take ports by themselves.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        listening "$port" || { echo "$port"; return; }
    done
    fail "found no free port"
}

# The port to start on: the one asked for, the instance's former one, a free one.
choose_port() {
    if [[ -n "${1:-}" ]]; then echo "$1"
    elif [[ -f "$instance/port" ]]; then cat "$instance/port"
    else free_port
    fi
}

instance_pid() { cat "$instance/pid" 2>/dev/null || true; }

# A zombie has ended too: in a container nobody may be there to reap it.
is_running() {
    [[ -n "$1" && -r "/proc/$1/stat" ]] && [[ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)" != Z ]]
}

# Waits up to $2 seconds for process $1 to end.
wait_ended() {
    local deadline=$((SECONDS + $2))
    while is_running "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# The process and everything it started.
process_tree() {
    local child
    echo "$1"
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do process_tree "$child"; done
}
