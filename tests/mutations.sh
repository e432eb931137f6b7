#!/usr/bin/env bash
# Are the proofs able to fail? Breaks one guarantee after the other in a copy of the sources and builds
# it. Then either the proof (tests/proof.sh, embedded broker to SQLite), in which the oracle must find
# wrong rows, or the tests of that guarantee by name, on every database, which must fail. A mutation
# that is not noticed survives: exit code 1. Run it with `make mutations`, which brings the servers; it
# takes half an hour. Without a server its tests are left out, and that is said.
#
#   --only NAME   this mutation only; may be repeated
#   --list        their names
#   --fits        only whether each still fits the sources; builds nothing
#   --keep DIR    work there and leave everything
#
# Exit code 2 if a mutation no longer fits the sources: mend it here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# --- the mutations ---
# A mutation is a function of edits; an edit replaces a text that stands in a file, or in one of the
# files of a folder, exactly once.
# After it come the runs of the proof that must fail: `each` all of them, `any` at least one, where
# it takes a kill at the wrong moment. Or `tests`, which must fail on each of these databases (`none`:
# they bring their own).
mutations=(guard tombstones remembering fold stale_children old_children dead_letters commit_order
    fence partition_lock look_back seen_in_batch equal_versions equal_left_out gone_at gone_by
    late_children refused_delete half_a_record history forget unkeyed unkeyed_view re_created confirmed silence
    random_guard random_look_back random_refused_delete)
databases="sqlite postgres mariadb"
servers="postgres mariadb"

guard() {
    told="an update does not ask for a newer version"
    edit src/plan/dialect.rs 'Self::Newer => "<",' 'Self::Newer => "IS NOT NULL OR 1 <",'
    each "--seed 1"
}
tombstones() {
    told="an insert does not look at the tombstones"
    edit src/plan/dialect.rs 'AND ({remembered} \' 'AND 1 = 0 AND ({remembered} \'
    each "--seed 1"
}
remembering() {
    told="deletes are not remembered"
    edit src/plan/dialect.rs 'SELECT {name}, s.c1, s.c2, {now}, s.c3 FROM s WHERE true' \
        'SELECT {name}, s.c1, s.c2, {now}, s.c3 FROM s WHERE 1 = 0'
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
    edit src/runtime 'settler.publish_refusals(&batch, &mut settled).await;' \
        'if false { settler.publish_refusals(&batch, &mut settled).await; }'
    each "--seed 1"
}
commit_order() {
    told="the offset is committed before the rows"
    edit src/runtime/settle.rs 'settler.write_rows(&batch), commit(&shared, uncommitted)' \
        'settler.write_rows(&batch), commit(&shared, Some(batch.next))'
    any "--seed 1 --kills 9" "--seed 2 --kills 9" "--seed 3 --kills 9" "--seed 4 --kills 9" "--seed 5 --kills 9"
}


# --- the rules of the guarded writes, each with its counterexample ---
fence() {
    told="rule 1: a former owner writes"
    edit src/sink/transaction.rs 'if expected.is_some() && epoch != expected {' 'if false && expected.is_some() && epoch != expected {'
    tests "$databases" sink::counterexamples::a_former_owner_that_still_has_a_batch_in_hand_does_not_write_it
}
partition_lock() {
    told="rule 1: the partition's row is not locked"
    edit src/plan/target.rs 'SELECT epoch, next_offset FROM rowcast_task WHERE {}{}"' 'SELECT epoch, next_offset FROM rowcast_task WHERE {}{:.0}"'
    tests "$servers" sink::counterexamples::a_letter_replayed_beside_its_partitions_task_does_not_bring_back_what_is_deleted
}
look_back() {
    told="rule 2: a delete without version that comes again is done again"
    edit src/sink/guard.rs 'if reaches(row.get(1..5), topic, &entry.change.origin) {' 'if false && reaches(row.get(1..5), topic, &entry.change.origin) {'
    tests "$databases" sink::counterexamples::version_1_a_delete_and_version_2_redelivered_one_by_one_end_in_version_2
}
seen_in_batch() {
    told="rule 2: what a delete folds away is not remembered"
    edit src/plan/fold.rs 'let seen = highest.unwrap_or(-1);' 'let seen = highest.map_or(-1, |_| -1);'
    tests "$databases" sink::counterexamples::a_version_and_its_delete_in_one_batch_keep_that_version_out
}
equal_versions() {
    told="rule 3: an equal version is written too"
    edit src/plan/dialect.rs 'Self::Newer => "<",' 'Self::Newer => "<=",'
    tests "$databases" sink::counterexamples::of_equal_versions_with_other_content_the_first_stays
}
equal_left_out() {
    told="rule 2: in a batch the first of equals wins, left out or not"
    edit src/plan/fold.rs 'RowOperation::Upsert { version, .. } => (version.get(), *leaves),' 'RowOperation::Upsert { version, .. } => (version.get(), (*leaves).min(Leaves::Rows)),'
    tests "$databases" sink::counterexamples::of_equal_versions_the_one_that_is_deleted_or_left_out_wins
}
gone_at() {
    told="rule 3: the version at which it is gone does not count"
    edit src/plan/dialect.rs 'Self::Newer => format!("d.version >= {version}"),' \
        'Self::Newer => format!("1 = 0 AND d.version >= {version}"),'
    tests "$databases" sink::counterexamples::a_version_that_its_delete_overtook_does_not_come_back
}
gone_by() {
    told="rule 3: the origin of a delete without version does not count"
    edit src/plan/dialect.rs 'OR (d.origin_topic = s.c{topic} AND' 'OR (1 = 0 AND d.origin_topic = s.c{topic} AND'
    edit src/plan/mysql/statements.rs 'OR (d.origin_topic = s.c4 AND' 'OR (1 = 0 AND d.origin_topic = s.c4 AND'
    tests "$databases" sink::counterexamples::a_refused_version_1_before_a_delete_mended_and_replayed_stays_deleted
}
late_children() {
    told="rule 4: a stale change writes its children"
    edit src/sink/guard.rs '&& written.contains(&*self.statements.key_text(entry.id()))' \
        '&& (true || written.contains(&*self.statements.key_text(entry.id())))'
    tests "$databases" sink::counterexamples::an_old_version_that_comes_late_leaves_the_children_of_the_newer_one
}
refused_delete() {
    told="rule 5: a refused delete is not noted"
    edit src/sink/isolate.rs 'if is_delete_without_version(change) && must_be_noted' 'if false && is_delete_without_version(change) && must_be_noted'
    edit src/sink/isolate.rs 'for change in refused {' 'for change in refused.iter().take(0) {'
    tests "$databases" sink::counterexamples::a_delete_refused_and_crashed_on_before_its_letter_is_not_applied_over_what_came_after_it
}
half_a_record() {
    told="rule 1: half a record settles it"
    edit src/sink/isolate.rs 'next.filter(|_| last)' 'next.filter(|_| last || !last)'
    tests "$databases" sink::counterexamples::halving_that_splits_a_bundle_settles_it_when_both_halves_are_through
}
history() {
    told="rule 6: history takes what the table took"
    edit src/sink/guard.rs 'self.append_history(transaction).await' \
        'if outcomes.contains(&Some(Outcome::Written)) { self.append_history(transaction).await } else { Ok(()) }'
    tests "$databases" sink::counterexamples::old_versions_that_come_late_are_in_history
}
forget() {
    told="offsets forget leaves the places of deletes"
    edit src/sink/sql.rs 'transaction.run(&layout.tasks.forget_origins, &nothing, &origin).await?;' ''
    tests "$databases" sink::counterexamples::a_re_created_topic_is_not_measured_by_the_offsets_of_the_old_one
}
unkeyed() {
    told="rule 7: writers of unkeyed topics do not lock the table"
    edit src/sink/transaction.rs 'if self.keying == Keying::Unkeyed {' 'if false && self.keying == Keying::Unkeyed {'
    tests "$servers" sink::counterexamples::two_writers_racing_on_one_resource_of_an_unkeyed_topic_leave_what_is_newest
}
unkeyed_view() {
    unkeyed
    # on MariaDB the second writer waits for the first one's row in `rowcast_resource`
    tests postgres sink::counterexamples::two_writers_racing_on_one_resource_of_a_view_leave_what_is_newest
}
re_created() {
    told="a re-created topic is read on"
    edit src/runtime/settle.rs '&& end < settled' '&& end < settled && false'
    tests none ownership::a_re_created_topic_is_not_read_until_its_offsets_are_forgotten
}
confirmed() {
    told="a fenced task takes its partition back unasked"
    edit src/runtime/settle.rs 'self.confirm_assignment(batch).await.ok()?;' ''
    tests none runtime::a_fenced_task_takes_its_partition_back_only_once_the_group_still_knows_it
}
silence() {
    told="a paused process keeps its locks"
    edit src/sink/connections.rs 'idle_in_transaction_session_timeout: Duration::from_secs(20)' \
        'idle_in_transaction_session_timeout: Duration::from_hours(1)'
    edit src/topology/file.rs '"20s".into()' '"1h".into()'
    tests none ownership::a_task_paused_in_mid_transaction_is_succeeded_and_then_fenced_on_postgres \
        ownership::a_task_paused_in_mid_transaction_is_succeeded_and_then_fenced_on_mariadb
}

# --- the same, found by random histories ---
random_guard() {
    told="rule 3: an update does not ask for a newer version"
    edit src/plan/dialect.rs 'Self::Newer => "<",' 'Self::Newer => "IS NOT NULL OR 1 <",'
    tests "$databases" sink::histories::any_history_of_versions_ends_in_each_resources_newest_version \
        sink::histories::any_history_of_versions_ends_in_a_view_of_the_newest
}
random_look_back() {
    look_back
    tests "$databases" sink::histories::any_keyed_history_with_deletes_without_version_ends_in_its_last_state
}
random_refused_delete() {
    refused_delete
    tests sqlite sink::histories::any_history_with_refusals_ends_as_if_what_stayed_refused_had_not_been
}

# Whether an edit's text stands where it should, exactly once.
fits() {
    local at
    at=$(grep -rhoF --include='*.rs' -e "$2" "$1" | wc -l) || true
    [[ $at -eq 1 && $2 != "$3" ]] && return
    echo "mutations: $mutation: stands $at times in $1: $2" >&2
    unfit=1
}

only=() keep=
while [[ $# -gt 0 ]]; do
    case $1 in
    --only) only+=("$2"); shift ;;
    --list) printf '%s\n' "${mutations[@]}"; exit 0 ;;
    --fits)
        unfit=0
        edit() { fits "$@"; }
        tests() {
            local test
            for test in "${@:2}"; do
                grep -rqF --include='*.rs' "fn ${test##*::}(" tests && continue
                echo "mutations: $mutation: there is no test $test" >&2
                unfit=1
            done
        }
        each() { :; }
        any() { :; }
        for mutation in "${mutations[@]}"; do "$mutation"; done
        exit $((unfit * 2))
        ;;
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

# --- tests by name in the copy; `status` says how they ended ---
build_tests() {
    (cd "$work/tree" && cargo test --locked --quiet --no-run --test tests) >"$work/build.log" 2>&1 ||
        { cat "$work/build.log" >&2; return 1; }
}
run_tests() { # DATABASE TEST...
    local settings=() database=$1
    shift
    [[ $database == none ]] || settings=(ROWCAST_TEST_ONLY="$database")
    (cd "$work/tree" && env "${settings[@]}" cargo test --locked --quiet --test tests -- --exact "$@") \
        >"$work/tests.log" 2>&1 </dev/null
}
# Whether a server is there: SQLite always is.
at_hand() {
    case $1 in
    sqlite) ;;
    postgres) [[ -n "${ROWCAST_TEST_POSTGRES:-}" ]] ;;
    mariadb) [[ -n "${ROWCAST_TEST_MARIADB:-}" ]] ;;
    none) [[ -n "${ROWCAST_TEST_KAFKA:-}" && -n "${ROWCAST_TEST_POSTGRES:-}" && -n "${ROWCAST_TEST_MARIADB:-}" ]] ;;
    esac
}
# Every one of the tests must fail on every database; `caught` counts those that did.
see_tests_fail() {
    local database test
    for database in $on; do
        at_hand "$database" || { say "skipped on $database: no server"; seen+=("$database: skipped"); continue; }
        for test in "${runs[@]}"; do
            if run_tests "$database" "$test"; then
                verdict=right
            elif grep -q '^test result: FAILED. 0 passed; 1 failed' "$work/tests.log"; then
                verdict=failed
            else
                tail -20 "$work/tests.log" >&2
                verdict="no verdict"
            fi
            say "$mutation: $database: ${test##*::}: $verdict"
            seen+=("$database: $verdict")
            [[ $verdict == failed ]] || { caught=0; return; }
            caught=$((caught + 1))
        done
    done
    [[ $caught -gt 0 ]] || caught=skipped
}
runs=() mode= on=
tests() { mode=tests on=$1 runs=("${@:2}"); }
each() { mode=each runs=("$@"); }
any() { mode=any runs=("$@"); }

# What is asked for: all, or the names given.
wanted() { [[ ${#only[@]} -eq 0 || " ${only[*]} " == *" $1 "* ]]; }
# Of which kind a mutation is: it says so itself, but must not edit yet.
kind_of() { (edit() { :; }; edited=(); "$1"; echo "$mode"); }

# --- first as it is: all the runs below must be right ---
kinds=
for mutation in "${mutations[@]}"; do
    ! wanted "$mutation" || kinds+=" $(kind_of "$mutation")"
done
if [[ $kinds == *each* || $kinds == *any* ]]; then
    say "building, unchanged"
    build
    for run in "--seed 1" "--seed 1 --versionless" "--seed 1 --kills 9"; do
        proof "$run"
        say "unchanged: $run: $verdict"
        [[ $verdict == right ]] || { tail -20 "$work/proof.log" >&2; exit 1; }
    done
fi
if [[ $kinds == *tests* ]]; then
    say "building the tests, unchanged"
    build_tests
    for mutation in "${mutations[@]}"; do
        if ! wanted "$mutation" || [[ $(kind_of "$mutation") != tests ]]; then continue; fi
        names=$( (edit() { :; }; "$mutation"; printf '%s\n' "${runs[@]}") )
        # shellcheck disable=SC2086 # a list of names
        (cd "$work/tree" && cargo test --locked --quiet --test tests -- --exact $names) >"$work/tests.log" 2>&1 </dev/null ||
            { say "unchanged: $mutation: a test fails"; tail -30 "$work/tests.log" >&2; exit 1; }
    done
    say "unchanged: all tests pass"
fi

survived=0
table=()
for mutation in "${mutations[@]}"; do
    wanted "$mutation" || continue
    edited=()
    "$mutation"
    say "$mutation: $told"
    caught=0 seen=()
    if [[ $mode == tests ]]; then
        build_tests || { say "$mutation: it does not build"; exit 2; }
        see_tests_fail
    else
        build || { say "$mutation: it does not build"; exit 2; }
    fi
    for run in "${runs[@]}"; do
        [[ $mode != tests ]] || break
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
    if [[ $mode == tests ]]; then last=$(IFS=,; echo "${seen[*]}"); else last=${seen[*]: -1}; fi
    if [[ $caught == skipped ]]; then
        table+=("$mutation|$told|skipped|$last")
    elif [[ ($mode == each && $caught -eq ${#runs[@]}) || ($mode != each && $caught -gt 0) ]]; then
        table+=("$mutation|$told|caught|$last")
    else
        table+=("$mutation|$told|SURVIVED|$last")
        survived=$((survived + 1))
    fi
    for file in "${edited[@]}"; do
        # A new time of change, or the next build would take it for the mutated one.
        cp "$work/original/$file" "$work/tree/$file"
    done
done

echo
printf '%s\n' "mutation|what is broken|verdict|last run" "${table[@]}" |
    awk -F '|' '{ printf "%-22s %-58s %-9s %s\n", $1, $2, $3, $4 }'
echo
[[ $survived -eq 0 ]] || { say "$survived survived"; exit 1; }
say "every mutation that was run was caught"
