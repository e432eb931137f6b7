//! The sink's battery: every guard rule of the design, over SQLite always, over PostgreSQL and MariaDB
//! when `ROWCAST_TEST_POSTGRES` and `ROWCAST_TEST_MARIADB` name a database.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so

mod apply;
mod counted;
mod counterexamples;
mod ddl;
mod failures;
pub(crate) mod fixture;
mod heard;
mod histories;
mod mariadb;
mod mending;
mod other;
mod outages;
mod rebuild;
mod refusals;
mod rehearsal;
mod schema;
mod types;
mod views;

use fixture::{
    catalog, databases, delete, delete_what_is_there, left_out, living_in, named, partition,
    upsert, with_history,
};
use rowcast::error::{Cause, Stage};
use rowcast::model::{Offset, TopicPartition, Value};
use rowcast::sink::{Outcome, Owner, Sink, SinkError, write};

const WRITTEN: Option<Outcome> = Some(Outcome::Written);
const STALE: Option<Outcome> = Some(Outcome::Stale);
const FILTERED: Option<Outcome> = Some(Outcome::Filtered);

#[tokio::test]
async fn an_upsert_writes_root_and_children_together() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let outcomes = sink.apply(&[living_in("1", 1, 0, &["a", "b"]), upsert("2", 5, 1)]).await;
        assert_eq!(outcomes, [WRITTEN, WRITTEN]);
        assert_eq!(database.patients().await, ["1|1|n", "2|5|name 5"]);
        assert_eq!(database.addresses().await, ["1|a", "1|b", "2|city 5"]);
        assert_eq!(database.lines().await, ["1|a 1", "1|b 1", "2|city 5 1"]);
    }
}

#[tokio::test]
async fn a_newer_version_replaces_all_children() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[living_in("1", 1, 0, &["a", "b", "c"])]).await;
        assert_eq!(sink.apply(&[living_in("1", 2, 1, &["d"])]).await, [WRITTEN]);
        assert_eq!(database.addresses().await, ["1|d"]);
        assert_eq!(database.lines().await, ["1|d 1"]);
    }
}

#[tokio::test]
async fn a_stale_upsert_touches_no_child() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 2, 0)]).await;
        assert_eq!(sink.apply(&[living_in("1", 1, 1, &["old"])]).await, [STALE]);
        assert_eq!(sink.apply(&[living_in("1", 2, 2, &["same"])]).await, [STALE]);
        assert_eq!(database.patients().await, ["1|2|name 2"]);
        assert_eq!(database.addresses().await, ["1|city 2"]);
    }
}

#[tokio::test]
async fn a_batch_may_hold_several_versions_of_a_resource() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let batch = [upsert("1", 1, 0), upsert("1", 3, 1), upsert("1", 2, 2), left_out("1", 0, 3)];
        assert_eq!(sink.apply(&batch).await, [STALE, WRITTEN, STALE, FILTERED]);
        assert_eq!(database.patients().await, ["1|3|name 3"]);
    }
}

#[tokio::test]
async fn a_deleted_resource_stays_deleted_when_an_older_upsert_follows() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        assert_eq!(sink.apply(&[delete("1", 3, 1)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[upsert("1", 2, 2)]).await, [STALE]);
        assert!(database.patients().await.is_empty());
        assert!(database.addresses().await.is_empty());
        assert_eq!(sink.apply(&[upsert("1", 4, 3)]).await, [WRITTEN]);
        assert_eq!(database.patients().await, ["1|4|name 4"]);
    }
}

#[tokio::test]
async fn a_delete_of_an_unknown_resource_is_remembered() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        assert_eq!(sink.apply(&[delete("1", 2, 0)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[delete("1", 2, 0)]).await, [STALE]);
        assert_eq!(sink.apply(&[upsert("1", 2, 1)]).await, [STALE]);
        assert_eq!(database.tombstones().await, ["1|2|null|null"]);
    }
}

#[tokio::test]
async fn a_delete_of_the_stored_version_wins_and_an_older_one_does_not() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 5, 0), upsert("2", 5, 1)]).await;
        assert_eq!(sink.apply(&[delete("1", 5, 2), delete("2", 4, 3)]).await, [WRITTEN, WRITTEN]);
        assert_eq!(database.patients().await, ["2|5|name 5"]);
        assert_eq!(database.addresses().await, ["2|city 5"]);
        assert_eq!(database.lines().await, ["2|city 5 1"]);
    }
}

#[tokio::test]
async fn a_version_that_where_leaves_out_removes_the_older_rows_and_stays_filtered() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        assert_eq!(sink.apply(&[left_out("1", 2, 1)]).await, [FILTERED]);
        assert!(database.patients().await.is_empty());
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [STALE]);
        assert!(database.patients().await.is_empty());
    }
}

#[tokio::test]
async fn a_type_that_no_transformer_takes_is_filtered() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let mut batch = [upsert("1", 1, 0), delete("1", 1, 1), delete_what_is_there("1", 2)];
        for change in &mut batch {
            change.resource.resource_type = "Observation".into();
        }
        assert_eq!(sink.apply(&batch).await, [FILTERED; 3]);
        assert!(database.tombstones().await.is_empty());
    }
}

#[tokio::test]
async fn a_delete_without_version_removes_what_is_there_and_remembers_version_and_origin() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 7, 0)]).await;
        let batch = [delete_what_is_there("1", 1), delete_what_is_there("2", 2)];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert!(database.patients().await.is_empty());
        assert!(database.lines().await.is_empty());
        assert_eq!(database.tombstones().await, ["1|7|1|null", "2|-1|2|null"]);
        assert_eq!(sink.apply(&[upsert("1", 7, 0)]).await, [STALE]);
        assert_eq!(sink.apply(&[upsert("1", 8, 3)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn an_upsert_from_before_a_delete_without_version_stays_out() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        // nothing was known of the resource, so only the origin can tell
        sink.apply(&[delete_what_is_there("1", 10)]).await;
        assert_eq!(sink.apply(&[upsert("1", 3, 9)]).await, [STALE]);
        assert!(database.patients().await.is_empty());
        let mut elsewhere = upsert("1", 3, 9);
        elsewhere.origin.source.partition = 1;
        assert_eq!(sink.apply(&[elsewhere]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn within_a_bundle_the_order_of_its_changes_counts() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let at = |mut change: rowcast::model::RowChange, index| {
            change.origin.index = index;
            change
        };
        sink.apply(&[at(delete_what_is_there("1", 10), 1)]).await;
        assert_eq!(sink.apply(&[at(upsert("1", 3, 10), 0)]).await, [STALE]);
        assert_eq!(sink.apply(&[at(upsert("1", 3, 10), 2)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[at(delete_what_is_there("1", 10), 0)]).await, [STALE]);
        assert_eq!(sink.apply(&[at(delete_what_is_there("1", 10), 3)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_delete_without_version_that_comes_again_does_not_remove_what_came_after_it() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let all = [upsert("1", 1, 0), delete_what_is_there("1", 1), upsert("1", 2, 2)];
        assert_eq!(sink.apply(&all).await, [STALE, WRITTEN, WRITTEN]);
        assert_eq!(sink.apply(&all).await, [STALE, STALE, STALE]);
        assert_eq!(sink.apply(&all[1..2]).await, [STALE]);
        assert_eq!(database.patients().await, ["1|2|name 2"]);
    }
}

#[tokio::test]
async fn a_refused_delete_is_not_tried_again_unless_forced() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let refused = delete_what_is_there("1", 5);
        sink.apply(&[upsert("1", 1, 4)]).await;
        sink.sink.note_refused_delete(&sink.owner, &refused).await.unwrap();
        assert_eq!(sink.apply(&[refused.clone(), upsert("1", 2, 6)]).await, [None, WRITTEN]);
        let results = sink.write(std::slice::from_ref(&refused)).await;
        let refusal = results[0].as_ref().unwrap_err();
        assert_eq!((refusal.cause, refusal.stage), (Cause::RefusedDelete, Stage::Sink));
        let replay = |force| Owner::Replay { partition: partition(), force };
        let outcomes = sink.sink.apply(&replay(false), &[&refused], None).await.unwrap();
        assert_eq!(outcomes, [None]);
        assert_eq!(database.patients().await, ["1|2|name 2"]);
        let outcomes = sink.sink.apply(&replay(true), &[&refused], None).await.unwrap();
        assert_eq!(outcomes, [WRITTEN]);
        assert!(database.patients().await.is_empty());
        assert_eq!(database.tombstones().await, ["1|2|5|null"]);
    }
}

#[tokio::test]
async fn a_former_owner_is_fenced_and_writes_nothing() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.sink.take_over(&partition()).await.unwrap();
        let result = sink.try_apply(&[upsert("1", 1, 0)]).await;
        assert!(matches!(result, Err(SinkError::Fenced)), "{result:?}");
        let refused = delete_what_is_there("1", 1);
        let result = sink.sink.note_refused_delete(&sink.owner, &refused).await;
        assert!(matches!(result, Err(SinkError::Fenced)), "{result:?}");
        assert!(database.patients().await.is_empty());
    }
}

#[tokio::test]
async fn replay_needs_no_epoch_and_leaves_the_partition_alone() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let elsewhere = TopicPartition::new("patients", 9);
        let owner = Owner::Replay { partition: elsewhere.clone(), force: false };
        let change = upsert("1", 1, 0);
        let outcomes = sink.sink.apply(&owner, &[&change], Some(Offset(1))).await.unwrap();
        assert_eq!(outcomes, [WRITTEN]);
        let remembered = sink.sink.next_offsets().await.unwrap();
        assert_eq!(remembered, [(partition(), None), (elsewhere.clone(), None)]);
        assert_eq!(sink.sink.take_over(&elsewhere).await.unwrap().epoch, 1);
    }
}

#[tokio::test]
async fn the_next_offset_never_goes_back_and_can_be_forgotten() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        for next in [7, 3] {
            write(&sink.sink, &sink.owner, &[], Some(Offset(next))).await.unwrap();
        }
        sink.apply(&[delete_what_is_there("1", 5)]).await;
        let found = sink.sink.take_over(&partition()).await.unwrap();
        assert_eq!((found.epoch, found.next_offset), (2, Some(Offset(7))));
        sink.sink.forget("patients").await.unwrap();
        assert_eq!(sink.sink.next_offsets().await.unwrap(), [(partition(), None)]);
        assert_eq!(database.tombstones().await, ["1|-1|null|null"]);
    }
}

#[tokio::test]
async fn history_keeps_every_version_once_stale_or_folded_away_or_not() {
    for database in databases().await {
        let sink = database.sink(with_history()).await;
        let batch = [upsert("1", 3, 0), upsert("1", 1, 1), upsert("1", 4, 2), left_out("1", 5, 3)];
        sink.apply(&batch).await;
        sink.apply(&[
            upsert("1", 2, 4),
            living_in("1", 3, 5, &["another", "more"]),
            delete("1", 9, 6),
        ])
        .await;
        assert!(database.patients().await.is_empty());
        let versions = database.rows("patient_history", &["version", "name"]).await;
        assert_eq!(versions, ["1|name 1", "2|name 2", "3|name 3", "4|name 4"]);
        let joined = "patient_address_line_history l \
            JOIN patient_address_history a ON a.id = l.parent_reference \
            JOIN patient_history p ON p.id = a.parent_reference";
        let lines = database.rows(joined, &["l.version", "a.version", "p.version", "line"]).await;
        let expected = ["1|1|1|city 1 1", "2|2|2|city 2 1", "3|3|3|city 3 1", "4|4|4|city 4 1"];
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn a_violation_isolates_one_change_and_names_the_column() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await;
        let ddl: Vec<_> = bare
            .ddl()
            .iter()
            .map(|ddl| {
                let kind = database.pick("varchar(20)", "varchar(20)", "TEXT");
                let name = format!("{} {kind}", database.quote("name"));
                ddl.replace(&name, &format!("{name} NOT NULL"))
            })
            .collect();
        bare.execute_ddl(&ddl).await.unwrap();
        let sink = fixture::TestSink::new(&database, bare).await;
        let mut batch: Vec<_> = (0..9).map(|at| upsert(&format!("{at}"), 1, at)).collect();
        batch[4] = named("4", 1, 4, Value::Null);
        let results = sink.write(&batch).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 8);
        let refusal = results[4].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::ConstraintNotNull);
        assert_eq!(refusal.place.table.as_deref(), Some("patient"));
        assert_eq!(refusal.place.column.as_deref(), Some("name"));
        assert_eq!(refusal.place.version, Some(1));
        assert!(refusal.place.sqlstate.is_some());
        assert_eq!(database.patients().await.len(), 8);
    }
}

#[tokio::test]
async fn a_delete_that_was_refused_is_never_applied_late_by_itself() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        let uuid = database.pick("uuid", "char(36)", "TEXT");
        let key = "FOREIGN KEY (patient) REFERENCES patient (id)";
        database.execute(&format!("CREATE TABLE visit (patient {uuid}, {key})")).await;
        database.execute("INSERT INTO visit SELECT id FROM patient").await;
        let batch = [delete_what_is_there("1", 1), upsert("1", 2, 2), upsert("2", 1, 3)];
        let results = sink.write(&batch).await;
        let refusal = results[0].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::ConstraintForeignKey, "{}", database.name);
        assert_eq!(results[1..], [Ok(Outcome::Written), Ok(Outcome::Written)]);
        database.execute("DELETE FROM visit").await;
        let results = sink.write(&batch).await;
        assert_eq!(results[0].as_ref().unwrap_err().cause, Cause::RefusedDelete);
        assert_eq!(results[1..], [Ok(Outcome::Stale), Ok(Outcome::Stale)]);
        assert_eq!(database.patients().await, ["1|2|name 2", "2|1|name 1"]);
    }
}

#[tokio::test]
async fn an_older_good_version_lands_when_a_newer_one_is_refused() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        database.execute("CREATE UNIQUE INDEX one_name ON patient (name)").await;
        sink.apply(&[named("0", 1, 0, Value::Text("secret".into()))]).await;
        let batch = [upsert("1", 1, 1), named("1", 2, 2, Value::Text("secret".into()))];
        let results = sink.write(&batch).await;
        assert_eq!(results[0], Ok(Outcome::Written));
        let refusal = results[1].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::ConstraintUnique);
        assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
        assert_eq!(database.patients().await, ["0|1|secret", "1|1|name 1"]);
    }
}

#[tokio::test]
async fn a_check_and_a_foreign_key_have_their_causes() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await;
        database.execute("CREATE TABLE known (name varchar(20) PRIMARY KEY)").await;
        database.execute("INSERT INTO known VALUES ('ok'), ('bad')").await;
        let ddl: Vec<_> = bare
            .ddl()
            .iter()
            .map(|ddl| {
                if !ddl.starts_with(&format!("CREATE TABLE {} ", database.quote("patient"))) {
                    return ddl.clone();
                }
                let key = format!("  PRIMARY KEY ({})", database.quote("id"));
                let more = "CHECK (name <> 'bad'), FOREIGN KEY (name) REFERENCES known (name)";
                ddl.replace(&key, &format!("{key}, {more}"))
            })
            .collect();
        bare.execute_ddl(&ddl).await.unwrap();
        let sink = fixture::TestSink::new(&database, bare).await;
        let text = |text: &str| Value::Text(text.into());
        let results = sink
            .write(&[
                named("1", 1, 0, text("ok")),
                named("2", 1, 1, text("bad")),
                named("3", 1, 2, text("unheard of")),
            ])
            .await;
        let causes: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().err().map(|refusal| refusal.cause))
            .collect();
        let expected = [None, Some(Cause::ConstraintCheck), Some(Cause::ConstraintForeignKey)];
        assert_eq!(causes, expected, "{}", database.name);
    }
}

#[tokio::test]
async fn postgres_is_spared_a_nul_and_a_text_that_is_too_long() {
    for database in databases().await.into_iter().filter(fixture::TestDatabase::is_postgres) {
        let sink = database.sink(catalog()).await;
        let long = "ä".repeat(21);
        let batch = [
            named("1", 1, 0, Value::Text("a\0b".into())),
            named("2", 1, 1, Value::Text(long.into())),
            named("3", 1, 2, Value::Text("ä".repeat(20).into())),
        ];
        let results = sink.write(&batch).await;
        for (at, cause) in [(0, Cause::DataException), (1, Cause::ValueTooLong)] {
            let refusal = results[at].as_ref().unwrap_err();
            assert_eq!((refusal.stage, refusal.cause), (Stage::Plan, cause));
            assert_eq!(refusal.place.table.as_deref(), Some("patient"));
            assert_eq!(refusal.place.column.as_deref(), Some("name"));
        }
        assert_eq!(results[2], Ok(Outcome::Written));
    }
}

#[tokio::test]
async fn a_missing_table_is_fatal_and_heals_once_it_is_there() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await;
        let sink = fixture::TestSink::new(&database, bare).await;
        let result = sink.try_apply(&[upsert("1", 1, 0)]).await;
        assert!(matches!(result, Err(SinkError::Fatal { .. })), "{result:?}");
        sink.sink.execute_ddl(&sink.sink.ddl()).await.unwrap();
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN]);
        // gone while we were running: the statements were prepared already
        database.execute("DROP TABLE patient_address_line").await;
        let result = sink.try_apply(&[upsert("1", 2, 1)]).await;
        assert!(matches!(result, Err(SinkError::Fatal { .. })), "{result:?}");
        assert_eq!(database.patients().await, ["1|1|name 1"]);
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let identity =
        rowcast::sink::TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
    let url = "postgres://nobody:secret@127.0.0.1:1/none";
    let result = rowcast::sink::SqlSink::connect(url, 1, catalog().into(), identity).await;
    let error = result.err().unwrap();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn a_locked_sqlite_file_is_unavailable_and_nobody_else_may_read_it() {
    let database = fixture::sqlite().await;
    let sink = database.sink(catalog()).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(database.file().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    database.execute("BEGIN IMMEDIATE").await;
    let result = sink.try_apply(&[upsert("1", 1, 0)]).await;
    assert!(matches!(result, Err(SinkError::Unavailable { .. })), "{result:?}");
}

#[tokio::test]
async fn a_batch_larger_than_the_limit_of_binds_is_written_whole() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let batch: Vec<_> = (0..5000).map(|at| upsert(&format!("{at}"), 1, at)).collect();
        let outcomes = sink.apply(&batch).await;
        assert!(outcomes.iter().all(|outcome| *outcome == WRITTEN));
        assert_eq!(database.lines().await.len(), 5000);
    }
}
