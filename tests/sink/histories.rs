//! Random histories: out of order where versions allow it, repeated, redelivered, refused, cut into
//! batches anywhere, over two writers that take the partition from each other or, where a topic is
//! not keyed, write at once. The tables must end as the oracle says, which knows nothing of all that.
//!
//! `ROWCAST_HISTORIES=20000` is the number of histories per property on SQLite; the servers take a
//! twentieth (`make histories`).

mod delivery;
mod log;
mod oracle;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rowcast::model::TopicPartition;
use rowcast::sink::{Keying, Owner, Sink, SqlSink};

use self::delivery::{Read, Writers, deliver_at_once, reads};
use self::log::{
    Entry, Kept, Log, content, keyed, position, refused, resource_id, unkeyed, versioned,
};
use self::oracle::Known;
use super::fixture::{TestDatabase, databases, partition};

/// Histories per property on SQLite, unless `ROWCAST_HISTORIES` says otherwise.
const USUALLY: u32 = 150;
/// A server is slower by far; fewer than this say nothing.
const AT_LEAST: u32 = 25;

/// Offsets that one case may use.
const OFFSETS: i64 = 100;

/// A database with the tables, and two writers.
struct Ground {
    database: TestDatabase,
    kept: Kept,
    writers: Writers,
}

impl Ground {
    async fn new(database: TestDatabase, kept: Kept, keying: Keying) -> Self {
        let first = database.bare_sink(kept.catalog()).await.with_keying(keying);
        first.execute_ddl(&first.ddl()).await.unwrap();
        let second = database.bare_sink(kept.catalog()).await.with_keying(keying);
        let table = kept.table();
        let check = format!("ALTER TABLE {table} ADD CHECK (name <> 'refused')");
        let trigger = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN new.name = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        );
        database.execute(&database.pick(check.clone(), check, trigger)).await;
        for sink in [&first, &second] {
            assert_eq!(sink.check_schema().await.unwrap(), [], "{}", database.name);
        }
        Self { database, kept, writers: Writers { sinks: [first, second] } }
    }

    /// The rows of a case, their cells joined by `|`.
    async fn rows(&self, table: &str, case: usize, columns: &[&str]) -> Vec<String> {
        let ids: Vec<_> = (0..2).map(|of| format!("'{}'", resource_id(case, of))).collect();
        let from = format!("{table} WHERE source_resource_id IN ({})", ids.join(", "));
        self.database.rows(&from, columns).await
    }

    /// Compares all tables with the oracle's end. `counts`: the places of the log that count.
    async fn check(
        &self,
        log: &[Entry],
        case: usize,
        counts: &BTreeSet<usize>,
    ) -> Result<(), TestCaseError> {
        let counts = |place| counts.contains(&place);
        let ends = [0, 1].map(|resource| oracle::end(self.kept, log, resource, counts));
        match self.kept {
            Kept::Patients => {
                self.check_patients(case, ends).await?;
                self.check_history(log, case, counts).await?;
            }
            Kept::View => self.check_view(case, ends).await?,
        }
        self.check_tombstones(case, ends).await
    }

    async fn check_patients(&self, case: usize, ends: [Known; 2]) -> Result<(), TestCaseError> {
        let (mut patients, mut addresses, mut lines) = (vec![], vec![], vec![]);
        for (resource, end) in ends.into_iter().enumerate() {
            if let Known::Shown(version, Some(copy)) = end {
                let (id, content) = (resource_id(case, resource), content(version, copy));
                patients.push(format!("{id}|{version}|name {content}"));
                addresses.push(format!("{id}|city {content}"));
                lines.push(format!("{id}|city {content} 1"));
            }
        }
        let columns = ["source_resource_id", "version", "name"];
        prop_assert_eq!(self.rows("patient", case, &columns).await, patients);
        let columns = ["source_resource_id", "city"];
        prop_assert_eq!(self.rows("patient_address", case, &columns).await, addresses);
        let columns = ["source_resource_id", "line"];
        prop_assert_eq!(self.rows("patient_address_line", case, &columns).await, lines);
        Ok(())
    }

    async fn check_history(
        &self,
        log: &[Entry],
        case: usize,
        counts: impl Fn(usize) -> bool,
    ) -> Result<(), TestCaseError> {
        let (mut roots, mut lines) = (vec![], vec![]);
        for resource in 0..2 {
            for (version, copy) in oracle::versions(log, resource, &counts) {
                let (id, content) = (resource_id(case, resource), content(version, copy));
                roots.push(format!("{id}|{version}|name {content}"));
                lines.push(format!("{id}|{version}|city {content} 1"));
            }
        }
        // as text, like the rows found: version 10 before version 2
        roots.sort();
        lines.sort();
        let columns = ["source_resource_id", "version", "name"];
        let mut found = self.rows("patient_history", case, &columns).await;
        // a version that the database would have refused, had it not been folded away
        found.retain(|row| !row.ends_with("|refused"));
        prop_assert_eq!(found, roots);
        let columns = ["source_resource_id", "version", "line"];
        prop_assert_eq!(self.rows("patient_address_line_history", case, &columns).await, lines);
        Ok(())
    }

    async fn check_view(&self, case: usize, ends: [Known; 2]) -> Result<(), TestCaseError> {
        let (mut names, mut guards) = (vec![], vec![]);
        for (resource, end) in ends.into_iter().enumerate() {
            let id = resource_id(case, resource);
            if let Known::Shown(version, copy) = end {
                guards.push(format!("{id}|{version}"));
                let rows = if version % 2 == 0 { 1 } else { 2 };
                let shown = copy.map(|copy| format!("{id}|{}", content(version, copy)));
                names.extend(shown.into_iter().flat_map(|name| vec![name; rows]));
            }
        }
        let columns = ["source_resource_id", "name"];
        prop_assert_eq!(self.rows("patient_name", case, &columns).await, names);
        let columns = ["source_resource_id", "version"];
        prop_assert_eq!(self.rows("rowcast_resource", case, &columns).await, guards);
        Ok(())
    }

    /// What is remembered of those that are gone; where there are rows, it does not matter.
    async fn check_tombstones(&self, case: usize, ends: [Known; 2]) -> Result<(), TestCaseError> {
        let columns = ["source_resource_id", "version", "origin_offset", "origin_index"];
        let found = self.rows("rowcast_tombstone", case, &columns).await;
        for (resource, end) in ends.into_iter().enumerate() {
            let id = resource_id(case, resource);
            let told = match end {
                Known::Nothing | Known::Shown(..) => continue,
                Known::GoneAt(version) => {
                    found.iter().any(|row| row.starts_with(&format!("{id}|{version}|")))
                }
                Known::DeletedBy(place) => {
                    let (offset, index) = position(place);
                    let origin = format!("|{}|{index}", first_offset(case) + offset);
                    found.iter().any(|row| row.starts_with(&id) && row.ends_with(&origin))
                }
            };
            prop_assert!(told, "{end:?} is not remembered: {found:?}");
        }
        Ok(())
    }
}

fn first_offset(case: usize) -> i64 {
    i64::try_from(case).unwrap() * OFFSETS
}

/// Runs a property over random histories on every database, and says how many that were.
fn holds<S>(
    property: &str,
    kept: Kept,
    keying: Keying,
    histories: &S,
    check: &impl AsyncFn(&Ground, S::Value, usize) -> Result<(), TestCaseError>,
) where
    S: Strategy<Value: Debug>,
{
    let asked = std::env::var("ROWCAST_HISTORIES").ok();
    let asked = asked.map_or(USUALLY, |cases| cases.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for database in runtime.block_on(databases()) {
        let on_file = database.file().is_some();
        let cases = if on_file { asked } else { (asked / 20).max(AT_LEAST) };
        let ground = runtime.block_on(Ground::new(database, kept, keying));
        let next_case = AtomicUsize::new(0);
        let began = Instant::now();
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let held = TestRunner::new(config).run(histories, |history| {
            let case = next_case.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(check(&ground, history, case))
        });
        let name = ground.database.name;
        held.unwrap_or_else(|failed| panic!("{name}: {failed}"));
        println!("histories: {property}: {cases} on {name} in {} s", began.elapsed().as_secs());
    }
}

/// A log over two writers of one partition.
fn holds_for<S: Strategy<Value = Log>>(property: &str, kept: Kept, logs: S) {
    let check = async |ground: &Ground, (log, reads): (Log, Vec<Read>), case: usize| {
        let changes = kept.changes(&log, case, first_offset(case));
        let counts = ground.writers.deliver(&partition(), &log, &changes, &reads).await;
        ground.check(&log, case, &counts).await
    };
    holds(property, kept, Keying::Keyed, &(logs, reads()), &check);
}

/// A log over two writers of two partitions of a topic that is not keyed.
fn holds_at_once(property: &str, kept: Kept) {
    let sizes = prop::collection::vec(1_usize..5, 1..4);
    let check = async |ground: &Ground, (log, sizes): (Vec<(i32, Entry)>, Vec<usize>), case| {
        let owners =
            [owner(&ground.writers.sinks[0], 0).await, owner(&ground.writers.sinks[1], 1).await];
        let whole: Log = log.iter().map(|(_, entry)| *entry).collect();
        let changes = kept.changes(&whole, case, first_offset(case));
        let of = |partition: i32| {
            let mine = log.iter().zip(&changes).filter(|((of, _), _)| *of == partition);
            mine.map(|(_, change)| {
                let mut change = change.clone();
                change.origin.source = TopicPartition::new("unkeyed", partition);
                change
            })
            .collect()
        };
        deliver_at_once(&ground.writers, &owners, &[of(0), of(1)], &sizes).await;
        ground.check(&whole, case, &(0..whole.len()).collect()).await
    };
    holds(property, kept, Keying::Unkeyed, &(unkeyed(), sizes), &check);
}

async fn owner(sink: &SqlSink, number: i32) -> Owner {
    let partition = TopicPartition::new("unkeyed", number);
    let epoch = sink.take_over(&partition).await.unwrap().epoch;
    Owner::Task { partition, epoch }
}

#[test]
fn any_history_of_versions_ends_in_each_resources_newest_version() {
    holds_for("versions", Kept::Patients, versioned());
}

#[test]
fn any_keyed_history_with_deletes_without_version_ends_in_its_last_state() {
    holds_for("deletes without version", Kept::Patients, keyed());
}

#[test]
fn any_history_with_refusals_ends_as_if_what_stayed_refused_had_not_been() {
    holds_for("refusals", Kept::Patients, refused());
}

#[test]
fn any_history_over_two_writers_at_once_ends_in_each_resources_newest_version() {
    holds_at_once("two writers at once", Kept::Patients);
}

#[test]
fn any_history_of_versions_ends_in_a_view_of_the_newest() {
    holds_for("versions, a view", Kept::View, versioned());
}

#[test]
fn any_keyed_history_with_deletes_without_version_ends_in_a_view_of_its_last_state() {
    holds_for("deletes without version, a view", Kept::View, keyed());
}

#[test]
fn any_history_with_refusals_ends_in_a_view_as_if_what_stayed_refused_had_not_been() {
    holds_for("refusals, a view", Kept::View, refused());
}

#[test]
fn any_history_over_two_writers_at_once_ends_in_a_view_of_the_newest() {
    holds_at_once("two writers at once, a view", Kept::View);
}
