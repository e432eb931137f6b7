//! What databases really say when things go wrong, and writers that meet.

use std::sync::Arc;

use rowcast::error::{Cause, ErrorClass};
use rowcast::model::{
    Catalog, ColumnSource, ColumnType, ResourceRows, RowChange, RowOperation, RowSet,
    TopicPartition, Value, Version,
};
use rowcast::sink::{Keying, Owner, Sink, SinkError};

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, change, databases, delete, delete_what_is_there,
    named, rule, shown, sink_at, table, upsert, views,
};
use super::{STALE, WRITTEN};

#[tokio::test]
async fn every_code_of_postgres_is_treated_by_its_class() {
    for database in databases().await.into_iter().filter(TestDatabase::is_postgres) {
        let sink = database.sink(catalog()).await;
        database
            .execute(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE EXCEPTION 'name is %', NEW.name USING ERRCODE = NEW.name, \
                 DETAIL = 'secret'; END $$; \
                 CREATE TRIGGER fail BEFORE INSERT ON patient \
                 FOR EACH ROW EXECUTE FUNCTION fail()",
            )
            .await;
        for (code, class) in [
            ("08006", ErrorClass::Retriable),
            ("53300", ErrorClass::Retriable),
            ("57P01", ErrorClass::Retriable),
            ("58030", ErrorClass::Retriable),
            ("40001", ErrorClass::Retriable),
            ("40P01", ErrorClass::Retriable),
            ("55P03", ErrorClass::Retriable),
            ("22003", ErrorClass::Poison),
            ("23514", ErrorClass::Poison),
            ("53100", ErrorClass::Fatal),
            ("42501", ErrorClass::Fatal),
            ("28000", ErrorClass::Fatal),
            ("25006", ErrorClass::Fatal),
            ("XX001", ErrorClass::Fatal),
        ] {
            let name = Value::Text(code.into());
            let error = sink.try_apply(&[named("1", 1, 0, name)]).await.unwrap_err();
            assert_eq!(error.class(), class, "{code}: {error}");
            let told = format!("{error:?}");
            assert!(!told.contains("secret") && !told.contains("name is"), "{told}");
        }
        database.execute("DROP TRIGGER fail ON patient").await;
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_read_only_database_is_fatal() {
    for database in databases().await.into_iter().filter(TestDatabase::is_postgres) {
        let sink = database.sink(catalog()).await;
        let url = format!("{}%20-c%20default_transaction_read_only%3Don", database.url);
        let read_only = sink_at(&url, catalog()).await;
        let error = read_only.apply(&sink.owner, &[&upsert("1", 1, 0)], None).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_is_replaced() {
    for database in databases().await.into_iter().filter(TestDatabase::is_postgres) {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        database
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = current_schema AND pid <> pg_backend_pid()",
            )
            .await;
        assert_eq!(sink.apply(&[upsert("1", 2, 1)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_widened_column_is_noticed() {
    for database in databases().await {
        if database.file().is_some() {
            continue; // no column there has a limit
        }
        let sink = database.sink(catalog()).await;
        let long = named("1", 1, 0, Value::Text("x".repeat(30).into()));
        let results = sink.write(std::slice::from_ref(&long)).await;
        assert_eq!(results[0].as_ref().unwrap_err().cause, Cause::ValueTooLong);
        let alter = "ALTER TABLE patient ALTER COLUMN name TYPE text";
        database.execute(database.pick(alter, "ALTER TABLE patient MODIFY name text", "")).await;
        sink.sink.check_schema().await.unwrap();
        assert_eq!(sink.apply(&[long]).await, [WRITTEN]);
    }
}

/// Patients whose `id` the rules map from the resource's id, with contacts.
fn mapped(id_type: ColumnType) -> Catalog {
    let mut patient = table("patient", None, Vec::new());
    patient.columns[0] = rule("id", id_type);
    patient.columns[2].optional = true;
    let mut contact = table("contact", Some(0), Vec::new());
    contact.columns[3].column_type = id_type;
    assert_eq!(contact.columns[3].source, ColumnSource::ParentReference);
    catalog_of(vec![patient, contact], true)
}

fn mapped_upsert(id: &str, value: &Value, version: i64, offset: i64) -> RowChange {
    let text = Value::Text(id.into());
    let contact = Value::Uuid(super::fixture::row_id("contact", id, 0));
    let number = Value::Int(version);
    let rows = [
        vec![value.clone(), number.clone(), text.clone()],
        vec![contact, number, text, value.clone()],
    ];
    let sets = (0..).zip(rows).map(|(table, row)| RowSet { table, rows: vec![row] }).collect();
    let version = Version::new(version).unwrap();
    let rows = vec![ResourceRows { root: 0, row_sets: Some(sets) }];
    change(id, offset, RowOperation::Upsert { version, rows })
}

#[tokio::test]
async fn an_id_mapped_from_the_resource_finds_its_rows_whatever_its_type() {
    let uuid = "0D6B1C1E-5A9C-4B1A-9F6E-1F2E3D4C5B6A";
    for (column_type, id, value, shown) in [
        (ColumnType::String, "a.b", Value::Text("a.b".into()), "a.b".to_owned()),
        (ColumnType::BigInt, "0123", Value::Int(123), "123".to_owned()),
        (ColumnType::Uuid, uuid, Value::Uuid(uuid.parse().unwrap()), uuid.to_lowercase()),
    ] {
        for database in databases().await {
            if column_type != ColumnType::String && database.file().is_some() {
                continue; // text there: upper and lower case are two ids, as are 0123 and 123
            }
            let bare = database.bare_sink(mapped(column_type)).await;
            let ddl = bare.ddl();
            // our own type is text in MariaDB too, but that which the server has is accepted
            let ddl: Vec<_> = ddl.iter().map(|ddl| ddl.replace("char(36)", "uuid")).collect();
            bare.execute_ddl(&ddl).await.unwrap();
            assert_eq!(bare.check_schema().await.unwrap(), []);
            let sink = TestSink::new(&database, bare).await;
            let apply = |version, offset| mapped_upsert(id, &value, version, offset);
            assert_eq!(sink.apply(&[apply(2, 0)]).await, [WRITTEN], "{column_type}");
            assert_eq!(sink.apply(&[apply(1, 1)]).await, [STALE]);
            assert_eq!(sink.apply(&[apply(3, 2)]).await, [WRITTEN]);
            assert_eq!(
                database.rows("contact", &["parent_reference"]).await,
                std::slice::from_ref(&shown)
            );
            let history = "patient_history p JOIN contact_history c \
                           ON c.parent_reference = p.id AND c.version = p.version";
            let found = database.rows(history, &["p.id", "p.version"]).await;
            let expected: Vec<_> = (1..4).map(|version| format!("{shown}|{version}")).collect();
            assert_eq!(found, expected);
            assert_eq!(sink.apply(&[delete(id, 3, 3)]).await, [WRITTEN]);
            assert!(database.rows("contact", &["id"]).await.is_empty());
            sink.apply(&[apply(4, 4)]).await;
            let unstorable = delete_what_is_there("not an id of any such type", 5);
            assert_eq!(sink.apply(&[unstorable]).await, [WRITTEN]);
            assert_eq!(sink.apply(&[delete_what_is_there(id, 6)]).await, [WRITTEN]);
            assert!(database.rows("patient", &["id"]).await.is_empty());
        }
    }
}

/// Two writers of unkeyed topics meet, one with version 1 and one with deletes of version 2.
async fn meet(database: &TestDatabase, catalog: Catalog, upsert: impl Fn(&str) -> RowChange) {
    let bare = database.bare_sink(catalog).await.with_keying(Keying::Unkeyed);
    bare.execute_ddl(&bare.ddl()).await.unwrap();
    let sink = Arc::new(TestSink::new(database, bare).await.sink);
    let mut owners = Vec::new();
    for number in 0..2 {
        let partition = TopicPartition::new("unkeyed", number);
        let epoch = sink.take_over(&partition).await.unwrap().epoch;
        owners.push(Owner::Task { partition, epoch });
    }
    for round in 0..40 {
        let ids = || (0..40).map(|id| format!("{round}-{id}"));
        let upserts: Vec<_> = ids().map(|id| upsert(&id)).collect();
        let deletes: Vec<_> = ids().map(|id| delete(&id, 2, 0)).collect();
        let upserts: Vec<_> = upserts.iter().collect();
        let deletes: Vec<_> = deletes.iter().collect();
        let (added, removed) = tokio::join!(
            sink.apply(&owners[0], &upserts, None),
            sink.apply(&owners[1], &deletes, None)
        );
        added.unwrap();
        removed.unwrap();
    }
}

#[tokio::test]
async fn writers_of_unkeyed_topics_leave_no_row_that_was_deleted() {
    for database in databases().await {
        meet(&database, catalog(), |id| upsert(id, 1, 0)).await;
        assert!(database.patients().await.is_empty(), "{}", database.name);
    }
}

#[tokio::test]
async fn writers_of_unkeyed_topics_leave_no_view_row_that_was_deleted() {
    for database in databases().await {
        meet(&database, views(&["patient_name"]), |id| shown(id, 1, 0, &["a"])).await;
        assert!(database.guards().await.is_empty(), "{}", database.name);
        assert!(database.rows("patient_name", &["name"]).await.is_empty());
    }
}

#[tokio::test]
async fn a_cancelled_write_leaves_nothing_behind() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let batch: Vec<_> = (0..500).map(|at| upsert(&format!("{at}"), 1, at)).collect();
        for microseconds in [0, 300, 2_000, 5_000] {
            let limit = std::time::Duration::from_micros(microseconds);
            drop(tokio::time::timeout(limit, sink.try_apply(&batch)).await);
        }
        let outcomes = sink.apply(&batch).await;
        assert_eq!(outcomes.len(), 500);
        assert_eq!(database.lines().await.len(), 500);
        let error = sink.sink.take_over(&TopicPartition::new("other", 0)).await.err();
        assert!(!matches!(error, Some(SinkError::Fenced)), "{error:?}");
    }
}
