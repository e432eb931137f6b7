//! What goes wrong without each rule of the guarded writes, one test a counterexample, on every
//! database. `tests/mutations.sh` takes the rules out one by one and sees these fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rowcast::error::Cause;
use rowcast::model::{Offset, RowChange, TopicPartition, Value};
use rowcast::sink::{Keying, Outcome, Owner, Ownership, Sink, SinkError, SqlSink, write};
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};

use super::fixture::{
    TestDatabase, TestSink, catalog, databases, delete, delete_what_is_there, left_out, living_in,
    named, partition, upsert, upsert_as, views, with_history,
};
use super::{STALE, WRITTEN};

impl TestSink<'_> {
    /// The only patient, its address and line all say this; nothing at all if it is empty.
    async fn shows(&self, version: &str) {
        let all = [
            self.database.rows("patient", &["name"]).await,
            self.database.rows("patient_address", &["city"]).await,
            self.database.rows("patient_address_line", &["line"]).await,
        ];
        let expected = match version {
            "" => [vec![], vec![], vec![]],
            _ => [
                vec![format!("name {version}")],
                vec![format!("city {version}")],
                vec![format!("city {version} 1")],
            ],
        };
        assert_eq!(all, expected, "{}", self.database.name);
    }

    /// Replays a letter as `rowcast dead-letters replay` does.
    async fn replay(&self, letter: &RowChange) -> Result<Outcome, Cause> {
        let owner = Owner::Replay { partition: partition(), force: false };
        let changes = std::slice::from_ref(letter);
        let result = write(&self.sink, &owner, changes, None).await.unwrap().remove(0);
        result.map_err(|refusal| refusal.cause)
    }

    /// As somebody who wants everything made anew does, after stopping what runs.
    async fn empty_tables(&self) {
        for table in ["patient_address_line", "patient_address", "patient", "rowcast_tombstone"] {
            self.database.execute(&format!("DELETE FROM {table}")).await;
        }
    }
}

/// Refuses a name, as a constraint of the user's does, until it is mended.
async fn refuse_a_name(database: &TestDatabase) {
    let check = "ALTER TABLE patient ADD CONSTRAINT no_x CHECK (name <> 'name x')";
    let trigger = "CREATE TRIGGER no_x BEFORE INSERT ON patient WHEN new.name = 'name x' \
                   BEGIN SELECT RAISE(ABORT, 'no'); END";
    database.execute(database.pick(check, check, trigger)).await;
}

async fn mend(database: &TestDatabase) {
    let check = "ALTER TABLE patient DROP CONSTRAINT no_x";
    database.execute(database.pick(check, check, "DROP TRIGGER no_x")).await;
}

/// Dies after some calls of the database.
struct Mortal<'a> {
    sink: &'a SqlSink,
    calls_left: AtomicUsize,
}

impl Mortal<'_> {
    fn call(&self) -> Result<(), SinkError> {
        let (load, store) = (Ordering::Relaxed, Ordering::Relaxed);
        let left = self.calls_left.fetch_update(load, store, |left| left.checked_sub(1));
        let dead = |_| SinkError::Unavailable { attempted: "living", reason: "crash".into() };
        left.map(drop).map_err(dead)
    }
}

#[async_trait]
impl Sink for Mortal<'_> {
    async fn take_over(&self, partition: &TopicPartition) -> Result<Ownership, SinkError> {
        self.sink.take_over(partition).await
    }
    async fn apply(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        self.call()?;
        self.sink.apply(owner, changes, next).await
    }
    async fn note_refused_delete(&self, owner: &Owner, of: &RowChange) -> Result<(), SinkError> {
        self.call()?;
        self.sink.note_refused_delete(owner, of).await
    }
}

/// Rule 1. The tables were emptied to be filled anew; what the former owner had prepared would be
/// there before the delete that the new owner reads first, and be deleted for good.
#[tokio::test]
async fn a_former_owner_that_still_has_a_batch_in_hand_does_not_write_it() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let (gone, back) = (delete_what_is_there("1", 0), upsert("1", 3, 1));
        sink.apply(std::slice::from_ref(&gone)).await;
        let successor = TestSink::new(&database, database.bare_sink(catalog()).await).await;
        sink.empty_tables().await;
        let late = sink.try_apply(std::slice::from_ref(&back)).await;
        successor.apply(&[gone]).await;
        successor.apply(&[back]).await;
        sink.shows("3").await;
        assert!(matches!(late, Err(SinkError::Fenced)), "{late:?}");
    }
}

/// Rule 1. The replay of a letter has looked at the tombstones and not committed yet when the task
/// applies the delete.
#[tokio::test]
async fn a_letter_replayed_beside_its_partitions_task_does_not_bring_back_what_is_deleted() {
    for database in databases().await {
        let sink = Arc::new(database.sink(catalog()).await.sink);
        let epoch = sink.take_over(&partition()).await.unwrap().epoch;
        let task = Owner::Task { partition: partition(), epoch };
        let replay = Owner::Replay { partition: partition(), force: false };
        let id = "1";
        meet(&database, &sink, (replay, upsert(id, 1, 0)), (task, delete_what_is_there(id, 1)))
            .await;
        assert_eq!(database.patients().await, [""; 0], "{}", database.name);
    }
}

/// Rule 2, the look back.
#[tokio::test]
async fn version_1_a_delete_and_version_2_redelivered_one_by_one_end_in_version_2() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let log = [upsert("1", 1, 0), delete_what_is_there("1", 1), upsert("1", 2, 2)];
        for change in &log {
            assert_eq!(sink.apply(std::slice::from_ref(change)).await, [WRITTEN]);
        }
        for change in &log {
            assert_eq!(sink.apply(std::slice::from_ref(change)).await, [STALE]);
            sink.shows("2").await;
        }
    }
}

/// Rule 2, the fold: what is deleted without ever having been written is remembered all the same.
#[tokio::test]
async fn a_version_and_its_delete_in_one_batch_keep_that_version_out() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let sent_again = upsert("1", 5, 2);
        sink.apply(&[upsert("1", 5, 0), delete_what_is_there("1", 1), sent_again.clone()]).await;
        sink.shows("").await;
        assert_eq!(sink.apply(&[sent_again]).await, [STALE]);
        sink.shows("").await;
    }
}

/// Rule 3: the first stays, however the batches are cut.
#[tokio::test]
async fn of_equal_versions_with_other_content_the_first_stays() {
    for database in databases().await {
        let sink = database.sink(with_history()).await;
        let (first, second) = (upsert_as("1", 4, 0, "first"), upsert_as("1", 4, 1, "second"));
        sink.apply(&[first.clone(), second.clone()]).await;
        sink.shows("first").await;
        assert_eq!(sink.apply(std::slice::from_ref(&second)).await, [STALE]);
        assert_eq!(sink.apply(&[first, second]).await, [STALE, STALE]);
        sink.shows("first").await;
        assert_eq!(database.rows("patient_history", &["name"]).await, ["name first"]);
    }
}

/// Rules 2 and 5: what leaves nothing beats what leaves rows, however the batches are cut.
#[tokio::test]
async fn of_equal_versions_the_one_that_is_deleted_or_left_out_wins() {
    for database in databases().await {
        for at_once in [true, false] {
            let sink = database.sink(catalog()).await;
            let changes = [
                (upsert("1", 1, 0), left_out("1", 1, 1)),
                (left_out("2", 1, 2), upsert("2", 1, 3)),
                (upsert("3", 1, 4), delete("3", 1, 5)),
                (delete("4", 1, 6), upsert("4", 1, 7)),
            ];
            for (first, second) in changes {
                if at_once {
                    sink.apply(&[first, second]).await;
                } else {
                    sink.apply(&[first]).await;
                    sink.apply(&[second]).await;
                }
            }
            sink.shows("").await;
            let tables = ["patient_address_line", "patient_address", "patient"];
            for table in tables.into_iter().chain(["rowcast_tombstone"]) {
                database.execute(&format!("DROP TABLE {table}")).await;
            }
        }
    }
}

/// Rule 3, the tombstone's version.
#[tokio::test]
async fn a_version_that_its_delete_overtook_does_not_come_back() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[delete("1", 2, 0), left_out("2", 2, 1)]).await;
        assert_eq!(sink.apply(&[upsert("1", 1, 2), upsert("2", 1, 3)]).await, [STALE, STALE]);
        sink.shows("").await;
    }
}

/// Rule 3, the tombstone's origin: of the refused version nothing was known when it was deleted.
#[tokio::test]
async fn a_refused_version_1_before_a_delete_mended_and_replayed_stays_deleted() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        refuse_a_name(&database).await;
        let poison = upsert_as("1", 1, 0, "x");
        let results = sink.write(std::slice::from_ref(&poison)).await;
        assert_eq!(
            results[0].as_ref().unwrap_err().cause,
            database.pick(
                Cause::ConstraintCheck,
                Cause::ConstraintCheck,
                Cause::IntegrityViolation,
            )
        );
        assert_eq!(sink.apply(&[delete_what_is_there("1", 1)]).await, [WRITTEN]);
        mend(&database).await;
        assert_eq!(sink.replay(&poison).await, Ok(Outcome::Stale));
        sink.shows("").await;
    }
}

/// Rule 4.
#[tokio::test]
async fn an_old_version_that_comes_late_leaves_the_children_of_the_newer_one() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 2, 0)]).await;
        assert_eq!(sink.apply(&[living_in("1", 1, 1, &["old", "older"])]).await, [STALE]);
        sink.shows("2").await;
    }
}

/// Rule 5, `refused_origin`: it is written before anything later of the resource is. Else the crash
/// before the letter would bring the delete again, late, over version 2.
#[tokio::test]
async fn a_delete_refused_and_crashed_on_before_its_letter_is_not_applied_over_what_came_after_it()
{
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        let uuid = database.pick("uuid", "char(36)", "TEXT");
        let key = "FOREIGN KEY (patient) REFERENCES patient (id)";
        database.execute(&format!("CREATE TABLE visit (patient {uuid}, {key})")).await;
        database.execute("INSERT INTO visit SELECT id FROM patient").await;
        let batch = [delete_what_is_there("1", 1), upsert("1", 2, 2)];
        // both at once, the delete alone, its note, version 2: then it dies
        let mortal = Mortal { sink: &sink.sink, calls_left: AtomicUsize::new(4) };
        let results = write(&mortal, &sink.owner, &batch, Some(Offset(3))).await.unwrap();
        assert_eq!(results[0].as_ref().unwrap_err().cause, Cause::ConstraintForeignKey);
        assert_eq!((mortal.calls_left.into_inner(), &results[1]), (0, &Ok(Outcome::Written)));
        database.execute("DELETE FROM visit").await;
        let successor = TestSink::new(&database, database.bare_sink(catalog()).await).await;
        let results = successor.write(&batch).await;
        let cause = results[0].as_ref().err().map(|refusal| refusal.cause);
        sink.shows("2").await;
        assert_eq!(cause, Some(Cause::RefusedDelete), "it still has no letter");
        assert_eq!(sink.replay(&batch[0]).await, Err(Cause::RefusedDelete));
        sink.shows("2").await;
    }
}

/// Rule 1, `next_offset`: a crash between the halves of a record has not settled it.
#[tokio::test]
async fn halving_that_splits_a_bundle_settles_it_when_both_halves_are_through() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        refuse_a_name(&database).await;
        let at = |mut change: RowChange, index| {
            change.origin.index = index;
            change
        };
        // one record: a resource that is deleted and made anew, and one that is refused
        let bundle = [
            at(delete_what_is_there("1", 5), 0),
            at(upsert("1", 2, 5), 1),
            at(named("2", 1, 5, Value::Text("name x".into())), 2),
        ];
        sink.apply(&[upsert("1", 1, 4)]).await;
        let settled = async || sink.sink.next_offsets().await.unwrap()[0].1;
        for calls in 1..4 {
            let mortal = Mortal { sink: &sink.sink, calls_left: AtomicUsize::new(calls) };
            let died = write(&mortal, &sink.owner, &bundle, Some(Offset(6))).await;
            assert!(matches!(died, Err(SinkError::Unavailable { .. })), "{calls}: {died:?}");
            assert_eq!(settled().await, None, "after {calls} calls on {}", database.name);
        }
        let results = write(&sink.sink, &sink.owner, &bundle, Some(Offset(6))).await.unwrap();
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        assert_eq!(settled().await, Some(Offset(6)));
        sink.shows("2").await;
    }
}

/// Rule 6: whether it is stale to the table says nothing about history.
#[tokio::test]
async fn old_versions_that_come_late_are_in_history() {
    for database in databases().await {
        let sink = database.sink(with_history()).await;
        sink.apply(&[upsert("1", 4, 0)]).await;
        assert_eq!(sink.apply(&[upsert("1", 2, 1)]).await, [STALE]);
        assert_eq!(sink.apply(&[delete("1", 5, 2)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[upsert("1", 1, 3), upsert("1", 3, 4)]).await, [STALE, STALE]);
        sink.shows("").await;
        let versions = database.rows("patient_history", &["version"]).await;
        assert_eq!(versions, ["1", "2", "3", "4"]);
        let lines = database.rows("patient_address_line_history", &["line"]).await;
        assert_eq!(lines, ["city 1 1", "city 2 1", "city 3 1", "city 4 1"]);
    }
}

/// Offsets of a topic that was re-created say nothing about the old one's deletes. That rowcast stops
/// at such a topic until it is told to forget, `ownership` shows.
#[tokio::test]
async fn a_re_created_topic_is_not_measured_by_the_offsets_of_the_old_one() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 7), delete_what_is_there("1", 8)]).await;
        let refused = delete_what_is_there("2", 9);
        sink.sink.note_refused_delete(&sink.owner, &refused).await.unwrap();
        sink.sink.forget("patients").await.unwrap();
        let anew = [upsert("1", 2, 0), upsert("2", 2, 1)];
        assert_eq!(sink.apply(&anew).await, [WRITTEN, WRITTEN]);
        let gone = [delete_what_is_there("1", 2), delete_what_is_there("2", 3)];
        assert_eq!(sink.apply(&gone).await, [WRITTEN, WRITTEN]);
        sink.shows("").await;
        assert_eq!(sink.apply(&[upsert("1", 1, 4)]).await, [STALE], "versions are remembered");
    }
}

/// Rule 7. The writer of version 1 has looked at the tombstones and not committed yet when the other
/// deletes at version 2.
#[tokio::test]
async fn two_writers_racing_on_one_resource_of_an_unkeyed_topic_leave_what_is_newest() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await.with_keying(Keying::Unkeyed);
        bare.execute_ddl(&bare.ddl()).await.unwrap();
        let sink = Arc::new(bare);
        let mut owners = Vec::new();
        for number in 0..2 {
            let partition = TopicPartition::new("unkeyed", number);
            let epoch = sink.take_over(&partition).await.unwrap().epoch;
            owners.push(Owner::Task { partition, epoch });
        }
        for round in 0..5 {
            let id = round.to_string();
            for removal in [delete(&id, 2, 0), left_out(&id, 2, 0)] {
                let old = (owners[0].clone(), upsert(&id, 1, 0));
                meet(&database, &sink, old, (owners[1].clone(), removal)).await;
                assert_eq!(database.patients().await, [""; 0], "{}", database.name);
                database.execute("DELETE FROM rowcast_tombstone").await;
            }
        }
    }
}

/// The same for what a view shows.
#[tokio::test]
async fn two_writers_racing_on_one_resource_of_a_view_leave_what_is_newest() {
    for database in databases().await {
        let bare = database.bare_sink(views(&["patient_address"])).await;
        let bare = bare.with_keying(Keying::Unkeyed);
        bare.execute_ddl(&bare.ddl()).await.unwrap();
        let sink = Arc::new(bare);
        let mut owners = Vec::new();
        for number in 0..2 {
            let partition = TopicPartition::new("unkeyed", number);
            let epoch = sink.take_over(&partition).await.unwrap().epoch;
            owners.push(Owner::Task { partition, epoch });
        }
        let old = (owners.remove(0), super::fixture::shown("1", 1, 0, &["a"]));
        meet(&database, &sink, old, (owners.remove(0), delete("1", 2, 0))).await;
        assert_eq!(database.rows("patient_address", &["name"]).await, [""; 0]);
        assert!(database.guards().await.is_empty(), "{}", database.name);
    }
}

/// Two writers meet: the first is held up at the child table, after it has looked at everything else
/// and before it commits, until the second has had its chance. SQLite holds the second up by itself.
async fn meet(
    database: &TestDatabase,
    sink: &Arc<SqlSink>,
    first: (Owner, RowChange),
    second: (Owner, RowChange),
) {
    let write = |(owner, change): (Owner, RowChange)| {
        let sink = Arc::clone(sink);
        tokio::spawn(async move { sink.apply(&owner, &[&change], None).await })
    };
    let blockade = Blockade::of(database, "patient_address").await;
    let first = write(first);
    blockade.is_met(database).await;
    let second = write(second);
    tokio::time::sleep(Duration::from_millis(200)).await;
    blockade.lift().await;
    assert_eq!(first.await.unwrap().unwrap(), [WRITTEN]);
    second.await.unwrap().unwrap();
}

/// Nobody writes to a table while it stands.
enum Blockade {
    Postgres(PgConnection),
    Mariadb(MySqlConnection),
    None,
}

impl Blockade {
    async fn of(database: &TestDatabase, table: &str) -> Self {
        if database.is_postgres() {
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            connection.execute("BEGIN").await.unwrap();
            let lock = format!("LOCK TABLE {table} IN EXCLUSIVE MODE");
            connection.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
            Self::Postgres(connection)
        } else if database.is_mariadb() {
            let mut connection = MySqlConnection::connect(&database.url).await.unwrap();
            let lock = format!("LOCK TABLES {table} WRITE");
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.unwrap();
            Self::Mariadb(connection)
        } else {
            Self::None
        }
    }

    /// Waits until somebody waits.
    async fn is_met(&self, database: &TestDatabase) {
        let waiting = database.pick(
            "pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = current_schema",
            "information_schema.processlist WHERE db = DATABASE() AND state LIKE 'Waiting for table%'",
            "",
        );
        while !waiting.is_empty() && database.rows(waiting, &["1"]).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn lift(self) {
        match self {
            Self::Postgres(connection) => connection.close().await.unwrap(),
            Self::Mariadb(connection) => connection.close().await.unwrap(),
            Self::None => {}
        }
    }
}
