#!/usr/bin/env bash
# Is the proof able to fail? Breaks one guarantee after the other in a copy of the sources, builds
# it and runs the proof (tests/proof.sh, embedded broker to SQLite), in which the oracle must find
# wrong rows. A mutation that it does not notice survives: exit code 1. Run it with
# `make mutations`; it takes some minutes.
#
#   --only NAME   this mutation only; may be repeated
#   --list        their names
#   --keep DIR    work there and leave everything
#
# Exit code 2 if a mutation no longer fits the sources: mend it here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# --- the mutations ---
# A mutation is a function of edits; an edit replaces a text that stands in a file, or in one of the
# files of a folder, exactly once.
# After it come the runs of the proof that must fail: `each` all of them, `any` at least one, where
# it takes a kill at the wrong moment.
mutations=(guard tombstones remembering fold stale_children old_children dead_letters commit_order)

guard() {
    told="an update does not ask for a newer version"
    edit src/plan/dialect.rs 'WHERE r.{stored} < excluded.{stored} \' 'WHERE r.{stored} IS NOT NULL \'
    each "--seed 1"
}
tombstones() {
    told="an insert does not look at the tombstones"
    edit src/plan/dialect.rs 'AND (d.version >= s.c{version} \' 'AND 1 = 0 AND (d.version >= s.c{version} \'
    each "--seed 1"
}
remembering() {
    told="deletes are not remembered"
    edit src/plan/dialect.rs 'SELECT {name}, s.c1, s.c2, {now} FROM s WHERE true' \
        'SELECT {name}, s.c1, s.c2, {now} FROM s WHERE 1 = 0'
    edit src/plan/dialect.rs 's.c5, s.c6 FROM s WHERE true' 's.c5, s.c6 FROM s WHERE 1 = 0'
    each "--seed 1" "--seed 1 --versionless"
}
fold() {
    told="the last change of a batch wins, not the newest"
    edit src/plan/fold.rs 'rank.is_none_or(|best| of_change > best)' 'rank.is_none_or(|best| of_change != best)'
    each "--seed 1"
}
stale_children() {
    told="a stale change writes its children"
    edit src/sink '&& written.contains(&*self.statements.key_text(entry.id()))' \
        '&& (true || written.contains(&*self.statements.key_text(entry.id())))'
    each "--seed 1"
}
old_children() {
    told="the children of the version before stay"
    edit src/sink 'for child in children.iter().rev() {' 'for child in children.iter().rev().take(0) {'
    # Without this the database would notice it: a child's id says its place in the resource.
    edit src/plan/dialect.rs '"INSERT INTO {} ({}) SELECT {} FROM s",' \
        '"INSERT INTO {} ({}) SELECT {} FROM s WHERE true ON CONFLICT DO NOTHING",'
    each "--seed 1"
}
dead_letters() {
    told="refused records vanish"
    edit src/runtime 'settler.publish_dead_letters(&batch, &refused).await;' \
        'if false { settler.publish_dead_letters(&batch, &refused).await; }'
    each "--seed 1"
}
commit_order() {
    told="the offset is committed before the rows"
    edit src/runtime 'let Some((outcomes, refused)) = settler.write_rows(&batch).await else' \
        'if settler.commit(batch.next).await.is_err() { return; }
            let Some((outcomes, refused)) = settler.write_rows(&batch).await else'
    any "--seed 1 --kills 9" "--seed 2 --kills 9" "--seed 3 --kills 9" "--seed 4 --kills 9" "--seed 5 --kills 9"
}

only=() keep=
while [[ $# -gt 0 ]]; do
    case $1 in
    --only) only+=("$2"); shift ;;
    --list) printf '%s\n' "${mutations[@]}"; exit 0 ;;
    --keep) keep=$2; shift ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; [[ $1 == --help ]] && exit 0; exit 2 ;;
    esac
    shift
done

say() { echo "mutations: $*"; }
if [[ -n "$keep" ]]; then
    mkdir -p "$keep"
    work=$(realpath "$keep")
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/rowcast-mutations.XXXXXX")
fi
proof_pid=
cleanup() {
    trap - EXIT
    [[ -z "$proof_pid" ]] || kill -TERM "$proof_pid" 2>/dev/null || true
    [[ -n "$keep" ]] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- a copy of the sources, and of what their dependencies were built to ---
rm -rf "$work/tree" "$work/original"
mkdir -p "$work/tree" "$work/target/debug"
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - | tar -xf - -C "$work/tree"
for part in build deps .fingerprint; do
    [[ -d "$work/target/debug/$part" || ! -d target/debug/$part ]] || cp -a "target/debug/$part" "$work/target/debug/"
done
export CARGO_TARGET_DIR=$work/target
build() { (cd "$work/tree" && cargo build --locked --quiet) >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; return 1; }; }

python3 tests/oracle/synthetic.py --seed 1 --resources 3000 --out "$work/input"

# --- one run of the proof: `right`, or the kinds of the oracle's findings ---
proof() {
    # Small batches: more moments between rows and offset.
    local options=(--mode embedded --input "$work/input" --copies 1 --poison 9 --kills 0 --set batch.rows=25)
    # shellcheck disable=SC2206 # an option's value has no spaces
    options+=($1)
    ROWCAST=$work/target/debug/rowcast timeout -k 5 300 "$work/tree/tests/proof.sh" "${options[@]}" >"$work/proof.log" 2>&1 </dev/null &
    proof_pid=$!
    local status=0
    wait "$proof_pid" || status=$?
    proof_pid=
    if [[ $status -eq 0 ]] && grep -qx 'oracle: right' "$work/proof.log"; then
        verdict=right
    elif grep -q '^oracle: WRONG' "$work/proof.log"; then
        verdict=$(awk -F ': ' '/^oracle: [a-z ]+: [a-z_]+: [0-9]+$/ { if (!($2 in sum)) order[++n] = $2; sum[$2] += $4 }
            END { for (i = 1; i <= n; i++) printf "%s%s %d", (i > 1 ? ", " : ""), order[i], sum[order[i]] }' "$work/proof.log")
    else
        # Not a word from the oracle: whatever happened, it is no proof that it can fail.
        tail -20 "$work/proof.log" >&2
        verdict="no verdict (status $status)"
    fi
}

edit() {
    local path=$1 old=$2 new=$3 file
    file=$(cd "$work/tree" && grep -rlF --include='*.rs' -e "$old" "$path") || true
    python3 - "$work" "$file" "$old" "$new" <<'END' || { say "$path: a mutation no longer fits"; exit 2; }
import pathlib, sys
work, name, old, new = sys.argv[1:]
path = pathlib.Path(work, "tree", name)
text = path.read_text(encoding="utf-8") if path.is_file() else ""
if text.count(old) != 1 or old == new:
    sys.exit(f"not exactly once: {old}")
original = pathlib.Path(work, "original", name)
original.parent.mkdir(parents=True, exist_ok=True)
if not original.exists():
    original.write_text(text, encoding="utf-8")
path.write_text(text.replace(old, new), encoding="utf-8")
END
    edited+=("$file")
}
runs=() mode=
each() { mode=each runs=("$@"); }
any() { mode=any runs=("$@"); }

# --- first as it is: all the runs below must be right ---
say "building, unchanged"
build
for run in "--seed 1" "--seed 1 --versionless" "--seed 1 --kills 9"; do
    proof "$run"
    say "unchanged: $run: $verdict"
    [[ $verdict == right ]] || { tail -20 "$work/proof.log" >&2; exit 1; }
done

survived=0
table=()
for mutation in "${mutations[@]}"; do
    [[ ${#only[@]} -eq 0 || " ${only[*]} " == *" $mutation "* ]] || continue
    edited=()
    "$mutation"
    say "$mutation: $told"
    build || { say "$mutation: it does not build"; exit 2; }
    caught=0 seen=()
    for run in "${runs[@]}"; do
        proof "$run"
        say "$mutation: $run: $verdict"
        seen+=("$run: $verdict")
        if [[ $verdict == right || $verdict == "no verdict"* ]]; then
            [[ $mode == any ]] || break
        else
            caught=$((caught + 1))
            [[ $mode == each ]] || break
        fi
    done
    if [[ ($mode == each && $caught -eq ${#runs[@]}) || ($mode == any && $caught -gt 0) ]]; then
        table+=("$mutation|$told|caught|${seen[*]: -1}")
    else
        table+=("$mutation|$told|SURVIVED|${seen[*]: -1}")
        survived=$((survived + 1))
    fi
    for file in "${edited[@]}"; do
        # A new time of change, or the next build would take it for the mutated one.
        cp "$work/original/$file" "$work/tree/$file"
    done
done

echo
printf '%s\n' "mutation|what is broken|verdict|last run" "${table[@]}" |
    awk -F '|' '{ printf "%-15s %-48s %-9s %s\n", $1, $2, $3, $4 }'
echo
[[ $survived -eq 0 ]] || { say "$survived survived"; exit 1; }
say "every mutation was caught"
