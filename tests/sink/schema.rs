//! What a live schema lacks, and the DDL that mends it.

use rowcast::model::ColumnType;
use rowcast::plan::{ForeignKeys, Mending, ProblemKind, Severity, creating};
use rowcast::sink::DatabaseKind;

use super::fixture::{
    catalog, catalog_of, databases, rule, sqlite, statements, table, upsert, with_history,
};
use super::{WRITTEN, fixture};

#[tokio::test]
async fn every_missing_table_is_reported_at_once_with_ddl_that_mends_it() {
    for database in databases().await {
        let sink = database.bare_sink(with_history()).await;
        let problems = sink.check_schema().await.unwrap();
        let tables: Vec<_> = problems.iter().map(|problem| problem.table.as_str()).collect();
        assert_eq!(
            tables,
            [
                "patient",
                "patient_address",
                "patient_address_line",
                "patient_history",
                "patient_address_history",
                "patient_address_line_history"
            ]
        );
        sink.execute_ddl(&creating(&problems)).await.unwrap();
        assert_eq!(sink.check_schema().await.unwrap(), []);
    }
}

#[tokio::test]
async fn wrong_columns_keys_and_indexes_are_reported_at_once() {
    for database in databases().await {
        let text = database.pick("text", "varchar(36)", "TEXT");
        database
            .execute(&format!(
                "CREATE TABLE patient (id {text}, version {text}, source_resource_id {text}, \
                 {} {text}, extra integer NOT NULL, filled integer NOT NULL DEFAULT 1)",
                database.quote("Name")
            ))
            .await;
        let sink = database.bare_sink(catalog()).await;
        let problems = sink.check_schema().await.unwrap();
        let found: Vec<_> = problems
            .iter()
            .filter(|problem| problem.table == "patient")
            .map(|problem| (problem.column.as_deref().unwrap_or(""), problem.severity))
            .collect();
        assert_eq!(
            found,
            [
                ("version", Severity::Error),
                ("name", Severity::Error),
                ("id", Severity::Error),
                ("extra", Severity::Error),
                ("source_resource_id", Severity::Warning),
            ],
            "{}",
            database.name
        );
        assert!(problems.iter().any(|problem| problem.message.contains("case counts")));
        if database.is_postgres() {
            let ddl = statements(&problems);
            database.execute("ALTER TABLE patient ALTER COLUMN id TYPE uuid USING id::uuid").await;
            sink.execute_ddl(&ddl).await.unwrap();
            assert_eq!(sink.check_schema().await.unwrap(), []);
        }
    }
}

/// Every type that a column may have wrongly, beside every type of a rule: what is shown runs, and
/// advice is only where PostgreSQL has no cast.
#[tokio::test]
async fn a_change_of_type_is_shown_only_where_the_database_can_make_it() {
    let Ok(url) = std::env::var("ROWCAST_TEST_POSTGRES") else { return };
    let database = fixture::postgres(&url).await;
    let wrong = "text varchar(9) words bool int2 int4 int8 numeric float4 float8 date time timetz \
                 timestamp timestamptz interval uuid json jsonb bytea inet mood text[]";
    database.execute("CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN words AS text").await;
    let columns: Vec<_> =
        ColumnType::ALL.iter().map(|kind| rule(&kind.to_string(), *kind)).collect();
    let catalog = catalog_of(vec![table("mine", None, columns)], false);
    let (mut changes, mut advised) = (0, 0);
    for from in wrong.split_whitespace() {
        let typed = ColumnType::ALL.iter().map(|kind| format!("\"{kind}\" {from}"));
        let typed: Vec<_> = typed.collect();
        database
            .execute(&format!(
                "CREATE TABLE mine (id text PRIMARY KEY, version bigint NOT NULL, \
                 source_resource_id text UNIQUE, {})",
                typed.join(", ")
            ))
            .await;
        let schema = database.schema(&catalog);
        for problem in schema.compare(ForeignKeys::default()).await.unwrap() {
            if problem.kind != ProblemKind::WrongType || problem.column.as_deref() == Some("id") {
                continue;
            }
            match &problem.mending {
                Mending::Change(statements) => {
                    schema.execute(statements).await.unwrap_or_else(|error| {
                        panic!("{from}: {statements:?}: {:?}", error.error)
                    });
                    changes += 1;
                }
                Mending::Advice(advice) => {
                    let column = problem.column.as_deref().unwrap();
                    let ours = catalog.roots[0].tables[0].columns.iter();
                    let ours = ours.clone().find(|ours| &*ours.name == column).unwrap();
                    let ours = DatabaseKind::Postgres.dialect().column_type(ours);
                    // jsonb has casts that few of its values take
                    let is_cast = format!("SELECT NULL::{from}::{ours}");
                    assert!(from == "jsonb" || database.refuses(&is_cast).await, "{advice}");
                    advised += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        schema.close().await;
        database.execute("DROP TABLE mine").await;
    }
    assert!(changes > 50 && advised > 150, "{changes} changes, {advised} advised");
}

#[tokio::test]
async fn optional_columns_are_filled_where_they_are() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await;
        bare.execute_ddl(&bare.ddl()).await.unwrap();
        database.execute("ALTER TABLE patient_address ADD COLUMN version bigint").await;
        assert_eq!(bare.check_schema().await.unwrap(), []);
        let sink = fixture::TestSink::new(&database, bare).await;
        assert_eq!(sink.apply(&[upsert("1", 4, 0)]).await, [WRITTEN]);
        assert_eq!(database.rows("patient_address", &["version", "city"]).await, ["4|city 4"]);
    }
}

#[tokio::test]
async fn numeric_affinity_for_a_decimal_is_an_error() {
    let database = sqlite().await;
    database
        .execute(
            "CREATE TABLE mine (id TEXT PRIMARY KEY, version INTEGER NOT NULL, \
             source_resource_id TEXT NOT NULL UNIQUE, amount DECIMAL(10, 2))",
        )
        .await;
    let columns = vec![fixture::rule("amount", ColumnType::Decimal)];
    let catalog = fixture::catalog_of(vec![fixture::table("mine", None, columns)], false);
    let problems = database.bare_sink(catalog).await.check_schema().await.unwrap();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((problem.severity, problem.column.as_deref()), (Severity::Error, Some("amount")));
    assert!(problem.message.contains("72.50"), "{problem}");
}

#[test]
fn a_url_tells_the_kind_of_database() {
    assert_eq!(DatabaseKind::of_url("postgresql://h/d"), Some(DatabaseKind::Postgres));
    for url in ["mysql://h/d", "mariadb://h/d"] {
        assert_eq!(DatabaseKind::of_url(url), Some(DatabaseKind::Mysql));
    }
    assert_eq!(DatabaseKind::of_url("sqlite:x.db"), Some(DatabaseKind::Sqlite));
    assert_eq!(DatabaseKind::of_url("oracle://h"), None);
    assert_eq!(DatabaseKind::of_url("x.db"), None);
}
