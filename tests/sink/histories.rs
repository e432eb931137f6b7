//! Random histories: redelivered, cut into batches anywhere, out of order where versions allow
//! it; the tables must end as the oracle says.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rowcast::model::{RowChange, Value};

use super::fixture::{
    TestDatabase, TestSink, databases, delete, delete_what_is_there, left_out, named, shown,
    upsert, views, with_history,
};

/// Whose rows are written: what guards them differs, what must come of a history does not.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// Patients, their children and their history.
    Patients,
    /// A view, with one row at even versions, two at odd ones, none where `where` does not match.
    View,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Upsert(i64),
    LeaveOut(i64),
    /// An upsert that a constraint refuses.
    Refused(i64),
    Delete(i64),
    DeleteWhatIsThere,
}

/// Two resources per case; every case has its own.
type Log = Vec<(usize, Step)>;

/// Where to go on reading (a share of the log so far: a rebalance, a reset) and how many records
/// to take.
type Reads = Vec<(Option<f64>, usize)>;

fn reads() -> impl Strategy<Value = Reads> {
    let back = prop::option::weighted(0.3, 0.0..1.0_f64);
    prop::collection::vec((back, 1_usize..5), 0..9)
}

/// A version either matches `where` or does not, whoever delivers it.
fn version_step() -> impl Strategy<Value = Step> {
    (0_i64..7, 0_u8..10).prop_map(|(version, kind)| match kind {
        0..=6 if version % 4 == 3 => Step::LeaveOut(version),
        0..=6 => Step::Upsert(version),
        _ => Step::Delete(version),
    })
}

fn versioned_log() -> impl Strategy<Value = Log> {
    prop::collection::vec((0_usize..2, version_step()), 1..14)
}

/// Versions that grow per resource, deletes without version in between, and repetitions.
fn keyed_log() -> impl Strategy<Value = Log> {
    let step = (0_usize..2, 0_u8..10, any::<prop::sample::Index>());
    prop::collection::vec(step, 1..14).prop_map(|steps| {
        let mut versions = [0, 0];
        let mut log: Log = Vec::new();
        for (resource, kind, earlier) in steps {
            versions[resource] += 1;
            let version = versions[resource];
            let step = match kind {
                0..=3 => Step::Upsert(version),
                4 => Step::LeaveOut(version),
                5 => Step::Delete(version),
                6..=8 => Step::DeleteWhatIsThere,
                _ if log.is_empty() => Step::Upsert(version),
                _ => {
                    // a producer that sends an old version again
                    let (resource, step) = log[earlier.index(log.len())];
                    if step != Step::DeleteWhatIsThere {
                        log.push((resource, step));
                    }
                    continue;
                }
            };
            log.push((resource, step));
        }
        log
    })
}

/// The same without repetitions, with upserts that the database refuses.
fn poisoned_log() -> impl Strategy<Value = Log> {
    prop::collection::vec((0_usize..2, 0_u8..10), 1..14).prop_map(|steps| {
        let mut versions = [0, 0];
        let step = |(resource, kind): (usize, u8)| {
            versions[resource] += 1;
            let version = versions[resource];
            let step = match kind {
                0..=4 => Step::Upsert(version),
                5..=6 => Step::Refused(version),
                7 => Step::Delete(version),
                _ => Step::DeleteWhatIsThere,
            };
            (resource, step)
        };
        steps.into_iter().map(step).collect()
    })
}

fn rank(step: Step) -> (i64, bool) {
    match step {
        Step::Upsert(version) | Step::LeaveOut(version) | Step::Refused(version) => {
            (version, false)
        }
        Step::Delete(version) => (version, true),
        Step::DeleteWhatIsThere => (-1, true),
    }
}

/// The step that a resource's rows come from in the end.
fn oracle(log: &Log, resource: usize) -> Option<Step> {
    let mut best: Option<Step> = None;
    let mut gone_at = -1;
    for (_, step) in log.iter().filter(|(other, _)| *other == resource) {
        if matches!(step, Step::Refused(_)) {
            continue;
        }
        if *step == Step::DeleteWhatIsThere {
            gone_at = gone_at.max(best.take().map_or(-1, |best| rank(best).0));
        } else if rank(*step).0 > gone_at && best.is_none_or(|best| rank(*step) > rank(best)) {
            best = Some(*step);
        }
    }
    best
}

fn shown_at(id: &str, version: i64, offset: i64) -> RowChange {
    let name = format!("name {version}");
    let twice = [name.as_str(); 2];
    shown(id, version, offset, if version % 2 == 0 { &twice[..1] } else { &twice })
}

/// Whether a view has no rows of this resource because there is nothing to show, not because of
/// its `where`.
const fn has_empty_sets(resource: usize) -> bool {
    resource % 2 == 1
}

fn records(kept: Kept, log: &Log, case: usize, first: i64) -> Vec<RowChange> {
    log.iter()
        .zip(0..)
        .map(|((resource, step), place)| {
            let id = format!("{case:06}-{resource}");
            // every second change is a bundle's second change
            let offset = first + i64::from(place / 2);
            let mut change = match (*step, kept) {
                (Step::Upsert(version), Kept::Patients) => upsert(&id, version, offset),
                (Step::Upsert(version), Kept::View) => shown_at(&id, version, offset),
                (Step::LeaveOut(version), Kept::View) if has_empty_sets(*resource) => {
                    shown(&id, version, offset, &[])
                }
                (Step::LeaveOut(version), _) => left_out(&id, version, offset),
                (Step::Refused(version), Kept::Patients) => {
                    named(&id, version, offset, Value::Text("refused".into()))
                }
                (Step::Refused(version), Kept::View) => {
                    shown(&id, version, offset, &["good", "refused"])
                }
                (Step::Delete(version), _) => delete(&id, version, offset),
                (Step::DeleteWhatIsThere, _) => delete_what_is_there(&id, offset),
            };
            change.origin.index = place % 2;
            change
        })
        .collect()
}

/// Reads the log as told, then to its end.
async fn deliver(sink: &TestSink<'_>, records: &[RowChange], reads: &Reads) {
    let mut at = 0;
    for (back, count) in reads {
        if let Some(share) = back {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            #[allow(clippy::cast_precision_loss)]
            let to = (at as f64 * share) as usize;
            at = to;
        }
        let end = (at + count).min(records.len());
        sink.write(&records[at..end]).await;
        at = end;
    }
    sink.write(&records[at..]).await;
}

async fn check(
    kept: Kept,
    sink: &TestSink<'_>,
    log: &Log,
    reads: &Reads,
    case: usize,
) -> Result<(), TestCaseError> {
    let first = i64::try_from(case * 100).unwrap();
    deliver(sink, &records(kept, log, case, first), reads).await;
    match kept {
        Kept::Patients => check_patients(sink.database, log, case).await,
        Kept::View => check_view(sink.database, log, case).await,
    }
}

async fn check_view(database: &TestDatabase, log: &Log, case: usize) -> Result<(), TestCaseError> {
    let (mut names, mut guards) = (Vec::new(), Vec::new());
    for resource in 0..2 {
        let id = format!("{case:06}-{resource}");
        let last = oracle(log, resource);
        match last {
            Some(Step::Upsert(version)) => guards.push(format!("{id}|{version}")),
            Some(Step::LeaveOut(version)) if has_empty_sets(resource) => {
                guards.push(format!("{id}|{version}"));
            }
            _ => {}
        }
        if let Some(Step::Upsert(version)) = last {
            let rows = if version % 2 == 0 { 1 } else { 2 };
            names.extend(vec![format!("{id}|name {version}"); rows]);
        }
    }
    let of_case = |table: &str| format!("{table} WHERE source_resource_id LIKE '{case:06}-%'");
    let columns = ["source_resource_id", "name"];
    prop_assert_eq!(database.rows(&of_case("patient_name"), &columns).await, names);
    let columns = ["source_resource_id", "version"];
    prop_assert_eq!(database.rows(&of_case("rowcast_resource"), &columns).await, guards);
    Ok(())
}

async fn check_patients(
    database: &TestDatabase,
    log: &Log,
    case: usize,
) -> Result<(), TestCaseError> {
    let (mut patients, mut lines, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for resource in 0..2 {
        let id = format!("{case:06}-{resource}");
        if let Some(Step::Upsert(version)) = oracle(log, resource) {
            patients.push(format!("{id}|{version}|name {version}"));
            lines.push(format!("{id}|city {version} 1"));
        }
        let mut versions: Vec<_> = log
            .iter()
            .filter_map(|(other, step)| match step {
                Step::Upsert(version) if *other == resource => Some(version),
                _ => None,
            })
            .collect();
        versions.sort();
        versions.dedup();
        history.extend(versions.iter().map(|version| format!("{id}|{version}")));
    }
    // as text, like the rows found: version 10 before version 2
    history.sort();
    let of_case = |table: &str| format!("{table} WHERE source_resource_id LIKE '{case:06}-%'");
    let columns = ["source_resource_id", "version", "name"];
    prop_assert_eq!(database.rows(&of_case("patient"), &columns).await, patients);
    let columns = ["source_resource_id", "line"];
    prop_assert_eq!(database.rows(&of_case("patient_address_line"), &columns).await, lines);
    let columns = ["source_resource_id", "version"];
    let table = of_case("patient_address_line_history");
    prop_assert_eq!(database.rows(&table, &columns).await, history.clone());
    // a refused version that was folded away may be in the history of the root
    let mut appended = database.rows(&of_case("patient_history"), &columns).await;
    if log.iter().any(|(_, step)| matches!(step, Step::Refused(_))) {
        appended.retain(|version| history.contains(version));
    }
    prop_assert_eq!(appended, history);
    Ok(())
}

/// A sink over a table that refuses one name.
async fn sink(kept: Kept, database: &TestDatabase) -> TestSink<'_> {
    let (catalog, table) = match kept {
        Kept::Patients => (with_history(), "patient"),
        Kept::View => (views(&["patient_name"]), "patient_name"),
    };
    let sink = database.sink(catalog).await;
    let check = format!("ALTER TABLE {table} ADD CHECK (name <> 'refused')");
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN new.name = 'refused' \
         BEGIN SELECT RAISE(ABORT, 'no'); END"
    );
    let ddl = database.pick(check.clone(), check, trigger);
    database.execute(&ddl).await;
    sink
}

fn holds_for<S: Strategy<Value = Log>>(kept: Kept, logs: fn() -> S, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for database in runtime.block_on(databases()) {
        let sink = runtime.block_on(sink(kept, &database));
        let next_case = AtomicUsize::new(0);
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&(logs(), reads()), |(log, reads)| {
                let case = next_case.fetch_add(1, Ordering::Relaxed);
                runtime.block_on(check(kept, &sink, &log, &reads, case))
            })
            .unwrap_or_else(|failed| panic!("{}: {failed}", database.name));
    }
}

#[test]
fn any_history_of_versions_ends_in_each_resources_newest_version() {
    holds_for(Kept::Patients, versioned_log, 150);
}

#[test]
fn any_keyed_history_with_deletes_without_version_ends_in_its_last_state() {
    holds_for(Kept::Patients, keyed_log, 300);
}

#[test]
fn any_history_with_refused_versions_ends_as_if_they_had_not_been() {
    holds_for(Kept::Patients, poisoned_log, 150);
}

#[test]
fn any_history_of_versions_ends_in_a_view_of_the_newest() {
    holds_for(Kept::View, versioned_log, 150);
}

#[test]
fn any_keyed_history_with_deletes_without_version_ends_in_a_view_of_its_last_state() {
    holds_for(Kept::View, keyed_log, 300);
}

#[test]
fn any_history_with_refused_versions_ends_in_a_view_as_if_they_had_not_been() {
    holds_for(Kept::View, poisoned_log, 150);
}
