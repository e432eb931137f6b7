//! A rehearsal tells what a batch would do and leaves the database as it was.

use rowcast::error::Cause;
use rowcast::model::{ColumnType, Value};
use rowcast::sink::{Owner, Sink, rehearse};

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, delete, delete_what_is_there, left_out,
    named, partition, plain, rule, table, upsert, with_history,
};
use super::{FILTERED, STALE, WRITTEN};

/// Every row of the catalog with history, and of what rowcast remembers.
async fn dump(database: &TestDatabase) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (table, column) in
        [("patient", "name"), ("patient_address", "city"), ("patient_address_line", "line")]
    {
        let columns = ["id", "source_resource_id", column];
        all.push(database.rows(table, &columns).await);
        let columns = ["id", "version", "source_resource_id", column];
        all.push(database.rows(&format!("{table}_history"), &columns).await);
    }
    all.push(database.rows("patient", &["id", "version"]).await);
    all.push(database.tombstones().await);
    all.push(database.rows("rowcast_task", &["topic", "epoch", "next_offset"]).await);
    all
}

fn replay() -> Owner {
    // of a partition that no task has: its row is made by the first transaction
    let partition = rowcast::model::TopicPartition::new("patients", 7);
    Owner::Replay { partition, force: false }
}

#[tokio::test]
async fn a_rehearsal_changes_nothing_and_tells_what_applying_then_does() {
    for database in databases().await {
        let sink = database.sink(with_history()).await;
        sink.apply(&[upsert("1", 4, 0), upsert("2", 1, 1), upsert("3", 1, 2)]).await;
        let batch = [
            upsert("1", 3, 10),
            upsert("2", 2, 11),
            delete("3", 2, 12),
            upsert("4", 1, 13),
            delete_what_is_there("5", 14),
            left_out("6", 1, 15),
        ];
        let batch: Vec<_> = batch.iter().collect();
        let before = dump(&database).await;
        let expected = [STALE, WRITTEN, WRITTEN, WRITTEN, WRITTEN, FILTERED];
        for owner in [&sink.owner, &replay()] {
            assert_eq!(sink.sink.rehearse(owner, &batch).await.unwrap(), expected);
            assert_eq!(dump(&database).await, before, "{}", database.name);
        }
        assert_eq!(sink.sink.apply(&replay(), &batch, None).await.unwrap(), expected);
        assert_ne!(dump(&database).await, before);
        let again = sink.sink.rehearse(&replay(), &batch).await.unwrap();
        assert_eq!(again, [STALE, STALE, STALE, STALE, STALE, FILTERED]);
    }
}

#[tokio::test]
async fn a_poisonous_change_is_told_with_its_place_and_its_neighbours_are_not_blamed() {
    for database in databases().await {
        let sink = database.sink(with_history()).await;
        let unique = database.pick(
            "ALTER TABLE patient ALTER name SET NOT NULL",
            "ALTER TABLE patient MODIFY name varchar(20) NOT NULL",
            "CREATE TRIGGER never BEFORE INSERT ON patient WHEN NEW.name IS NULL \
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        );
        database.execute(unique).await;
        let mut batch: Vec<_> = (0..9).map(|at| upsert(&format!("{at}"), 1, at)).collect();
        batch[4] = named("4", 1, 4, Value::Null);
        let before = dump(&database).await;
        let rehearsed = rehearse(&sink.sink, &replay(), &batch).await.unwrap();
        assert_eq!(dump(&database).await, before, "{}", database.name);
        let refusal = rehearsed[4].as_ref().unwrap_err();
        assert_eq!(refusal.place.table.as_deref(), Some("patient"));
        if database.file().is_none() {
            assert_eq!(refusal.cause, Cause::ConstraintNotNull);
            assert_eq!(refusal.place.column.as_deref(), Some("name"));
        }
        assert_eq!(sink.write(&batch).await, rehearsed, "{}", database.name);
    }
}

#[tokio::test]
async fn what_is_checked_at_the_commit_only_is_rehearsed_too() {
    for database in databases().await.into_iter().filter(|database| !database.is_mariadb()) {
        database.execute("CREATE TABLE other (a integer PRIMARY KEY)").await;
        database
            .execute(&format!(
                "CREATE TABLE plain (id {id} PRIMARY KEY, version {int} NOT NULL, \
                 source_resource_id text NOT NULL UNIQUE, \
                 a integer REFERENCES other(a) DEFERRABLE INITIALLY DEFERRED)",
                id = database.pick("uuid", "", "text"),
                int = database.pick("bigint", "", "integer"),
            ))
            .await;
        let columns = vec![rule("a", ColumnType::Int)];
        let catalog = catalog_of(vec![table("plain", None, columns)], false);
        let sink = TestSink::new(&database, database.bare_sink(catalog).await).await;
        let batch = [
            plain("1", 1, vec![Value::Null]),
            plain("2", 1, vec![Value::Int(51_423_677)]),
            plain("3", 1, vec![Value::Null]),
        ];
        let rehearsed = rehearse(&sink.sink, &sink.owner, &batch).await.unwrap();
        let refusal = rehearsed[1].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::ConstraintForeignKey);
        assert_eq!(refusal.place.table.as_deref(), Some("plain"));
        assert!(!format!("{refusal:?}").contains("51423677"));
        assert!(rehearsed[0].is_ok() && rehearsed[2].is_ok());
        assert_eq!(database.rows("plain", &["id"]).await, Vec::<String>::new());
        database.execute("INSERT INTO other VALUES (51423677)").await;
        let rehearsed = rehearse(&sink.sink, &sink.owner, &batch).await.unwrap();
        assert!(rehearsed.iter().all(Result::is_ok), "{}", database.name);
    }
}

#[tokio::test]
async fn a_refused_delete_is_not_noted_by_a_rehearsal() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        let uuid = database.pick("uuid", "char(36)", "TEXT");
        let key = "FOREIGN KEY (patient) REFERENCES patient (id)";
        database.execute(&format!("CREATE TABLE visit (patient {uuid}, {key})")).await;
        database.execute("INSERT INTO visit SELECT id FROM patient").await;
        let batch = [delete_what_is_there("1", 1)];
        let owner = Owner::Replay { partition: partition(), force: false };
        let rehearsed = rehearse(&sink.sink, &owner, &batch).await.unwrap();
        assert_eq!(rehearsed[0].as_ref().unwrap_err().cause, Cause::ConstraintForeignKey);
        assert_eq!(database.tombstones().await, Vec::<String>::new(), "{}", database.name);
        database.execute("DELETE FROM visit").await;
        assert_eq!(sink.apply(&batch).await, [WRITTEN]);
    }
}
