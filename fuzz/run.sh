#!/usr/bin/env bash
# Fuzzes rowcast with libFuzzer: `fuzz/run.sh [SECONDS [TARGET ...]]`, 60 s for each of all targets
# unless told otherwise. Needs a nightly compiler and cargo-fuzz, and installs the latter.
#
# What it starts from: fuzz/seeds, and if there are any the official FHIRPath tests (the folder
# that ROWCAST_SUITES names) and FHIR resources as gzipped NDJSON (the one that ROWCAST_EXAMPLES
# names). An input that breaks something is left in fuzz/artifacts: mend the fault and keep the
# input under fuzz/seeds, which `make test` runs too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-60}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(expression document rules)
suites=${ROWCAST_SUITES:-../../shared/suites}
examples=${ROWCAST_EXAMPLES:-../../shared/data}

cargo +nightly fuzz --version >/dev/null 2>&1 || cargo +nightly install --locked cargo-fuzz

mkdir -p corpus/{expression,document,rules}
python3 - "$suites" "$examples" <<'PYTHON'
import gzip, hashlib, json, pathlib, sys

suites, examples = map(pathlib.Path, sys.argv[1:])

def keep(target, data):
    name = hashlib.sha1(data).hexdigest()
    pathlib.Path("corpus", target, name).write_bytes(data)

tests = suites / "hl7-fhirpath-r4" / "tests-r4.json"
inputs = suites / "hl7-fhirpath-r4" / "input-json"
for test in json.loads(tests.read_text()) if tests.exists() else []:
    document = inputs / (test["input"] or "-")
    after = b"\0" + document.read_bytes() if document.exists() else b""
    keep("expression", test["expr"].encode() + after)
views = suites / "sql-on-fhir-v2"
for file in sorted(views.glob("*.json")) if views.exists() else []:
    for test in json.loads(file.read_text()).get("tests", []):
        keep("rules", json.dumps(test["view"]).encode())
for file in sorted(examples.glob("**/*.ndjson.gz")):
    for number, line in enumerate(gzip.open(file)):
        if number % 40 == 0 and len(line) < 100_000:
            keep("document", line.rstrip())
PYTHON

# No sanitizer: librdkafka's configure links its probes without one, and rowcast forbids `unsafe`.
for target in "${targets[@]}"; do
    cargo +nightly fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=200000 -print_final_stats=1
done
