#!/usr/bin/env bash
# HL7's official R4 examples through the rowcast binary: all of them, with the rules of
# topology/rules. Each must be written, filtered or refused for a reason, and every table must hold
# as many rows as the resources have elements. Run it with `make proof-examples`, options in
# PROOF="...".
#
#   --mode kafka|embedded  Kafka to PostgreSQL (default), or the embedded broker to SQLite
#   --input FILE           NDJSON of resources (default: ../shared/data/hl7-examples)
#   --keep DIR             work there and leave everything
#
# The examples are the package hl7.fhir.r4.examples 4.0.1 (CC0), one resource a line; where they
# are not at hand, it says so and does nothing.
#
# Needs the release binary, or ROWCAST=path, and for --mode kafka the variables that
# tests/services/with-services.sh sets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=kafka input=../shared/data/hl7-examples/examples-r4.ndjson.gz work=
while [[ $# -gt 0 ]]; do
    case $1 in
    --mode) mode=$2; shift ;;
    --input) input=$2; shift ;;
    --keep) work=$2; shift ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; [[ $1 == --help ]] && exit 0; exit 2 ;;
    esac
    shift
done
[[ $mode == kafka || $mode == embedded ]] || { echo "examples: --mode is kafka or embedded" >&2; exit 2; }

say() { echo "examples: $*"; }
if [[ ! -f $input ]]; then
    say "SKIPPED: there is no $input"
    exit 0
fi
rowcast=$(realpath "${ROWCAST:-target/release/rowcast}")
[[ -x "$rowcast" ]] || { say "no $rowcast: cargo build --release"; exit 2; }

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
[[ -n "$work" ]] && mkdir -p "$work" || work=$(mktemp -d "${TMPDIR:-/tmp}/rowcast-examples.XXXXXX")
work=$(realpath "$work")

# --- the topology, its database and its topic ---
name="rowcast_examples_$(date +%s)_$$"
port=$((20000 + RANDOM % 12000))
export ROWCAST_PROOF_URL="${ROWCAST_TEST_POSTGRES:-}"
ROWCAST_PROOF_URL="${ROWCAST_PROOF_URL%/*}/$name"
{
    echo "name: $name"
    # The bundles among the examples are resources to be stored, whatever they hold.
    if [[ $mode == kafka ]]; then
        : "${ROWCAST_TEST_KAFKA:?run it through tests/services/with-services.sh}" "${ROWCAST_TEST_POSTGRES:?}"
        echo "source: { topic: $name, format: fhir, kafka: { bootstrap.servers: '$ROWCAST_TEST_KAFKA' } }"
        echo "sink: { url: '\${ROWCAST_PROOF_URL}' }"
    else
        echo "source: { topic: $name, format: fhir, embedded: { path: '$work/log.db' } }"
        echo "sink: { url: 'sqlite://$work/rows.db' }"
    fi
    echo "transform: { rules: ['$PWD/topology/rules/*.json'] }"
    echo "http: { listen: '127.0.0.1:$port' }"
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

# --- feed and run ---
python3 tests/oracle/hl7_examples.py feed --input "$input" --out "$work/records.ndjson"
"$rowcast" produce --topology "$work/topology.yaml" --as records "$work/records.ndjson" 2>"$work/produce.log" ||
    { cat "$work/produce.log" >&2; exit 1; }
"$rowcast" run --topology "$work/topology.yaml" --until-idle 3s >"$work/run.log" 2>&1 </dev/null &
run_pid=$!
# The scrapes of the idle time have the final figures.
while kill -0 "$run_pid" 2>/dev/null; do
    python3 -c 'import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1], timeout=2).read())' \
        "http://127.0.0.1:$port/metrics" >"$work/scrape" 2>/dev/null && mv "$work/scrape" "$work/metrics"
    sleep 0.3
done
status=0
wait "$run_pid" || status=$?
run_pid=
if [[ $status -ne 0 ]]; then
    tail -30 "$work/run.log" >&2
    say "rowcast run ended with $status"
    exit 1
fi

# --- account for each ---
"$rowcast" dead-letters list --topology "$work/topology.yaml" --output json >"$work/letters.ndjson" 2>"$work/letters.log" ||
    { code=$?; [[ $code -eq 4 ]] || { cat "$work/letters.log" >&2; exit 1; }; }
python3 tests/oracle/hl7_examples.py account --input "$input" --records "$work/records.ndjson" \
    --letters "$work/letters.ndjson" --metrics "$work/metrics" --database "$target"
say "mode $mode: every example is accounted for"
