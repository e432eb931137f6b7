//! The rows that are counted: of committed transactions only, by table and operation.

use std::sync::Arc;

use rowcast::model::Catalog;
use rowcast::sink::{Sink, SinkError};
use rowcast::telemetry::metrics::Metrics;

use super::fixture::{
    TestDatabase, TestSink, catalog, databases, delete, living_in, shown, upsert, views,
    with_history,
};
use super::{STALE, WRITTEN};

/// A sink that counts, and what it counted.
async fn counting(
    database: &TestDatabase,
    catalog: Catalog,
) -> (TestSink<'_>, impl Fn() -> Vec<String> + use<>) {
    database.apply_schema(&catalog).await;
    let metrics = Arc::new(Metrics::new());
    metrics.expect_tables(&catalog);
    let sink = database.bare_sink(catalog).await.counting(Arc::clone(&metrics));
    let counted = move || {
        let text = metrics.exposition();
        let prefix = "rowcast_db_rows_total{operation=";
        let rows = text.lines().filter_map(|line| line.strip_prefix(prefix));
        rows.map(|row| row.replace(['"', '}'], "").replace(",table=", " ")).collect()
    };
    (TestSink::new(database, sink).await, counted)
}

#[tokio::test]
async fn rows_are_counted_by_table_and_operation_and_all_of_them_begin_at_0() {
    for database in databases().await {
        let (sink, counted) = counting(&database, catalog()).await;
        let all = |counts: [u32; 6]| {
            let names = [
                "delete patient",
                "delete patient_address",
                "delete patient_address_line",
                "insert patient_address",
                "insert patient_address_line",
                "upsert patient",
            ];
            names.iter().zip(counts).map(|(name, count)| format!("{name} {count}")).collect()
        };
        let expected: Vec<String> = all([0; 6]);
        assert_eq!(counted(), expected);
        sink.apply(&[living_in("1", 1, 0, &["a", "b"]), upsert("2", 1, 1)]).await;
        let expected: Vec<String> = all([0, 0, 0, 3, 3, 2]);
        assert_eq!(counted(), expected, "{}", database.name);
        // children are removed and inserted anew, what is stale touches nothing
        let newer = [upsert("1", 2, 2), living_in("2", 1, 3, &["old", "older"])];
        assert_eq!(sink.apply(&newer).await, [WRITTEN, STALE]);
        let expected: Vec<String> = all([0, 2, 2, 4, 4, 3]);
        assert_eq!(counted(), expected, "{}", database.name);
        sink.apply(&[delete("1", 3, 4), delete("unknown", 1, 5)]).await;
        let expected: Vec<String> = all([1, 3, 3, 4, 4, 3]);
        assert_eq!(counted(), expected, "{}", database.name);
    }
}

#[tokio::test]
async fn what_is_rolled_back_is_not_counted() {
    for database in databases().await {
        let (sink, counted) = counting(&database, catalog()).await;
        let nothing = counted();
        let change = upsert("1", 1, 0);
        sink.sink.rehearse(&sink.owner, &[&change]).await.unwrap();
        assert_eq!(counted(), nothing, "{}: a rehearsal", database.name);
        // after root and addresses are written
        database.execute("ALTER TABLE patient_address_line RENAME TO elsewhere").await;
        let result = sink.try_apply(std::slice::from_ref(&change)).await;
        assert!(matches!(result, Err(SinkError::Fatal { .. })), "{result:?}");
        assert_eq!(counted(), nothing, "{}", database.name);
        database.execute("ALTER TABLE elsewhere RENAME TO patient_address_line").await;
        sink.apply(&[change]).await;
        assert!(counted().contains(&"upsert patient 1".to_owned()), "{}", database.name);
    }
}

#[tokio::test]
async fn history_counts_each_version_once() {
    for database in databases().await {
        let (sink, counted) = counting(&database, with_history()).await;
        sink.apply(&[upsert("1", 2, 0), living_in("1", 1, 1, &["a", "b"])]).await;
        sink.apply(&[upsert("1", 2, 2)]).await;
        let counted = counted();
        for row in [
            "upsert patient 1",
            "insert patient_address 1",
            "insert patient_history 2",
            "insert patient_address_history 3",
            "insert patient_address_line_history 3",
        ] {
            assert!(counted.contains(&row.to_owned()), "{}: {row} in {counted:?}", database.name);
        }
    }
}

#[tokio::test]
async fn of_a_view_its_rows_are_counted_and_not_what_guards_them() {
    for database in databases().await {
        let (sink, counted) = counting(&database, views(&["patient_name"])).await;
        sink.apply(&[shown("1", 1, 0, &["a", "b", "b"])]).await;
        sink.apply(&[shown("1", 2, 1, &["c"])]).await;
        let expected = ["delete patient_name 3", "insert patient_name 4"];
        assert_eq!(counted(), expected, "{}", database.name);
    }
}
