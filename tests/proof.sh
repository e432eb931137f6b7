#!/usr/bin/env bash
# The long proof: a shuffled, repeated, deleting stream of changes goes through the rowcast binary,
# which is killed at random moments, and then every row is compared with what an independent
# program says (tests/oracle). Run it with `make proof`, options in PROOF="...".
#
#   --mode kafka|embedded  Kafka to PostgreSQL (default), or the embedded broker to SQLite
#   --versionless          tombstones without versions, in key order
#   --kills N              kill -9 at N random moments (default 20; 0 for figures)
#   --input DIR            <Type>.ndjson.gz (default: ../shared/data/synthea, else synthetic ones)
#   --limit N              resources per type (default all)
#   --copies N             each resource under N ids, for more changes (default 5)
#   --poison N             records that can never be written (default 40)
#   --seed N               of the stream and of the kills (default 1)
#   --set KEY=VALUE        passed on to rowcast run; may be repeated
#   --keep DIR             work there and leave everything
#
# Needs the release binary, or ROWCAST=path, and for --mode kafka the variables that
# tests/services/with-services.sh sets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=kafka kills=20 copies=5 input= seed=1 poison=40 work= order=shuffled
feed_options=() run_options=()
while [[ $# -gt 0 ]]; do
    case $1 in
    --mode) mode=$2; shift ;;
    --versionless) order=versionless; feed_options+=(--versionless) ;;
    --kills) kills=$2; shift ;;
    --input) input=$2; shift ;;
    --limit) feed_options+=(--limit "$2"); shift ;;
    --copies) copies=$2; shift ;;
    --poison) poison=$2; shift ;;
    --seed) seed=$2; shift ;;
    --set) run_options+=(--set "$2"); shift ;;
    --keep) work=$2; shift ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; [[ $1 == --help ]] && exit 0; exit 2 ;;
    esac
    shift
done
[[ $mode == kafka || $mode == embedded ]] || { echo "proof: --mode is kafka or embedded" >&2; exit 2; }

say() { echo "proof: $*"; }
rowcast=$(realpath "${ROWCAST:-target/release/rowcast}")
[[ -x "$rowcast" ]] || { say "no $rowcast: cargo build --release"; exit 2; }
rules=$PWD/topology/rules

run_pid=
database=
cleanup() {
    trap - EXIT
    [[ -z "$run_pid" ]] || kill -KILL "$run_pid" 2>/dev/null || true
    if [[ -n "$database" ]]; then
        psql "$ROWCAST_TEST_POSTGRES" -Xqc "DROP DATABASE IF EXISTS $database WITH (FORCE)" 2>/dev/null || true
    fi
    [[ -n "$keep" ]] || rm -rf "$work"
}
keep=$work
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
[[ -n "$work" ]] && mkdir -p "$work" || work=$(mktemp -d "${TMPDIR:-/tmp}/rowcast-proof.XXXXXX")
work=$(realpath "$work")

# --- the stream ---
if [[ -z "$input" && -d ../shared/data/synthea ]]; then input=../shared/data/synthea; fi
if [[ -z "$input" ]]; then
    say "no Synthea data at hand; resources in its manner are made"
    input=$work/input
    python3 tests/oracle/synthetic.py --seed "$seed" --resources 10000 --out "$input"
fi
python3 tests/oracle/feed.py --seed "$seed" --partitions 4 --input "$input" --poison "$poison" \
    --copies "$copies" "${feed_options[@]}" --out "$work/records.ndjson"
records=$(wc -l <"$work/records.ndjson")

# --- the topology, its database and its topic ---
name="rowcast_proof_$(date +%s)_$$"
export ROWCAST_PROOF_URL="${ROWCAST_TEST_POSTGRES:-}"
ROWCAST_PROOF_URL="${ROWCAST_PROOF_URL%/*}/$name"
{
    echo "name: $name"
    if [[ $mode == kafka ]]; then
        : "${ROWCAST_TEST_KAFKA:?run it through tests/services/with-services.sh}" "${ROWCAST_TEST_POSTGRES:?}"
        # Short sessions: a killed member is otherwise waited for.
        echo "source: { topic: $name, kafka: { bootstrap.servers: '$ROWCAST_TEST_KAFKA', \
            session.timeout.ms: 2000, heartbeat.interval.ms: 500 } }"
        echo "sink: { url: '\${ROWCAST_PROOF_URL}' }"
    else
        echo "source: { topic: $name, embedded: { path: '$work/log.db' } }"
        echo "sink: { url: 'sqlite://$work/rows.db' }"
    fi
    echo "transform: { rules: ['$rules/*.json'] }"
    echo "http: { listen: '127.0.0.1:$((20000 + RANDOM % 12000))' }"
} >"$work/topology.yaml"
"$rowcast" schema --topology "$work/topology.yaml" >"$work/schema.sql"
if [[ $mode == kafka ]]; then
    psql "$ROWCAST_TEST_POSTGRES" -Xqc "CREATE DATABASE $name"
    database=$name
    target=$ROWCAST_PROOF_URL
    psql "$target" -Xq -v ON_ERROR_STOP=1 -f "$work/schema.sql"
else
    target=$work/rows.db
    python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())' \
        "$target" "$work/schema.sql"
fi

# --- feed ---
began=$(date +%s.%N)
"$rowcast" produce --topology "$work/topology.yaml" --as records "$work/records.ndjson" 2>"$work/produce.log" ||
    { cat "$work/produce.log" >&2; exit 1; }
say "produced $records records in $(python3 -c "import time; print(f'{time.time() - $began:.1f}')") s"

# --- run, and kill ---
ticks=$(getconf CLK_TCK)
# CPU seconds that a process and its waited-for children have used.
cpu_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk -v t="$ticks" '{ print ($12 + $13 + $14 + $15) / t }'; }
# The postmaster with its dead sessions, plus the living ones.
postgres_cpu() {
    local pid total=0
    pid=$(cat "${ROWCAST_TEST_STATE:-/nonexistent}/postgres/pid" 2>/dev/null) || { echo 0; return; }
    for pid in $pid $(cat /proc/"$pid"/task/*/children); do
        total=$(echo "$total $(cpu_of "$pid")" | awk '{ print $1 + $2 }')
    done
    echo "$total"
}
start_run() {
    "$rowcast" run --topology "$work/topology.yaml" --until-idle 2s "${run_options[@]}" >>"$work/run.log" 2>&1 </dev/null &
    run_pid=$!
}
RANDOM=$seed
postgres_before=$(postgres_cpu)
began=$(date +%s.%N)
start_run
killed=0
while ((killed < kills)); do
    sleep "$(printf '%d.%03d' $((RANDOM % 4)) $((RANDOM % 1000)))"
    if ! kill -KILL "$run_pid" 2>/dev/null; then
        say "it was done after $killed kills"
        break
    fi
    wait "$run_pid" 2>/dev/null || true
    killed=$((killed + 1))
    start_run
done
# The last one ends by itself. Its CPU time is read until it is gone: what the last reading misses
# is a part of the idle wait.
status=0
while is=$(cpu_of "$run_pid") && [[ -n "$is" ]]; do
    cpu=$is
    sleep 0.1
done
wait "$run_pid" || status=$?
run_pid=
if [[ $status -ne 0 ]]; then
    tail -30 "$work/run.log" >&2
    say "rowcast run ended with $status"
    exit 1
fi
took=$(python3 -c "import time; print(time.time() - $began - 2)")
postgres_after=$(postgres_cpu)

# --- compare ---
"$rowcast" dead-letters list --topology "$work/topology.yaml" --output json >"$work/letters.ndjson" 2>"$work/letters.log" ||
    { code=$?; [[ $code -eq 4 ]] || { cat "$work/letters.log" >&2; exit 1; }; }
python3 tests/oracle/oracle.py --records "$work/records.ndjson" --letters "$work/letters.ndjson" --database "$target"

say "mode $mode, $order, seed $seed, $killed kills, nproc $(nproc)"
if ((killed == 0)); then
    awk -v n="$records" -v s="$took" -v c="${cpu:-0}" -v a="$postgres_before" -v b="$postgres_after" -v m="$mode" 'BEGIN {
        printf "proof: %d changes in %.1f s (the idle wait of 2 s left out): %.0f changes/s\n", n, s, n / s
        printf "proof: CPU seconds per million changes: rowcast %.1f", c * 1e6 / n
        if (m == "kafka") printf ", PostgreSQL %.1f", (b - a) * 1e6 / n
        print ""
    }'
else
    say "figures are only told for --kills 0"
fi
say "every row is right"
