//! Tables without root rows: a resource has any number of rows there, none included, and its row in
//! `rowcast_resource` holds the version that guards them.

use rowcast::error::{Cause, Stage};
use rowcast::model::{Catalog, ColumnType, RowChange, RowOperation, Value};
use rowcast::plan::Severity;
use rowcast::sink::{Outcome, Sink, TaskIdentity};

use super::fixture::{
    TestDatabase, TestSink, databases, delete, delete_what_is_there, left_out, partition, rule,
    shown, shown_in_all, view, views,
};
use super::{STALE, WRITTEN};

impl TestDatabase {
    /// The rows of a view, without the columns that a user may add.
    async fn names(&self, table: &str) -> Vec<String> {
        self.rows(table, &["source_resource_id", "name"]).await
    }
}

fn names() -> Catalog {
    views(&["patient_name"])
}

#[tokio::test]
async fn the_rows_of_a_view_are_replaced_as_a_set() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        let batch = [shown("1", 1, 0, &["a", "b", "b"]), shown("2", 1, 1, &["c"])];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|a", "1|b", "1|b", "2|c"]);
        let batch = [shown("1", 3, 2, &["d"]), shown("1", 2, 3, &["e"])];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, STALE]);
        assert_eq!(database.names("patient_name").await, ["1|d", "2|c"]);
        assert_eq!(database.guards().await, ["patient_name|1|3", "patient_name|2|1"]);
    }
}

#[tokio::test]
async fn an_empty_set_is_guarded_like_any_other() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        sink.apply(&[shown("1", 1, 0, &["a"])]).await;
        assert_eq!(sink.apply(&[shown("1", 3, 1, &[])]).await, [WRITTEN]);
        assert!(database.names("patient_name").await.is_empty());
        assert_eq!(sink.apply(&[shown("1", 2, 2, &["old"])]).await, [STALE]);
        assert_eq!(sink.apply(&[shown("1", 3, 3, &["same"])]).await, [STALE]);
        assert!(database.names("patient_name").await.is_empty());
    }
}

#[tokio::test]
async fn a_version_that_a_view_leaves_out_takes_older_rows_away_and_keeps_them_away() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        sink.apply(&[shown("1", 1, 0, &["a"])]).await;
        assert_eq!(sink.apply(&[left_out("1", 3, 1)]).await, [Some(Outcome::Filtered)]);
        assert!(database.names("patient_name").await.is_empty());
        assert_eq!(sink.apply(&[shown("1", 2, 2, &["old"])]).await, [STALE]);
        assert_eq!(sink.apply(&[shown("1", 4, 3, &["new"])]).await, [WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|new"]);
    }
}

#[tokio::test]
async fn a_view_without_rows_for_a_resource_still_remembers_its_version() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        assert_eq!(sink.apply(&[shown("1", 7, 0, &[])]).await, [WRITTEN]);
        assert_eq!(database.guards().await, ["patient_name|1|7"]);
        assert_eq!(sink.apply(&[delete_what_is_there("1", 1)]).await, [WRITTEN]);
        assert!(database.guards().await.is_empty());
        assert_eq!(database.tombstones().await, ["1|7|1|null"]);
        assert_eq!(sink.apply(&[shown("1", 7, 2, &["old"])]).await, [STALE]);
        assert_eq!(sink.apply(&[shown("1", 8, 3, &["new"])]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_deleted_resource_leaves_no_view_rows_and_stays_gone() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        sink.apply(&[shown("1", 1, 0, &["a", "b"]), shown("2", 1, 1, &["c"])]).await;
        let batch = [delete("1", 2, 2), delete("2", 0, 3)];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["2|c"]);
        assert_eq!(database.guards().await, ["patient_name|2|1"]);
        assert_eq!(sink.apply(&[shown("1", 1, 0, &["a"])]).await, [STALE]);
        assert_eq!(sink.apply(&[shown("1", 2, 4, &["a"])]).await, [STALE]);
        assert_eq!(database.names("patient_name").await, ["2|c"]);
        assert_eq!(sink.apply(&[delete_what_is_there("2", 5)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[shown("2", 1, 1, &["c"])]).await, [STALE]);
        assert!(database.names("patient_name").await.is_empty());
        assert_eq!(sink.apply(&[shown("1", 3, 6, &["again"])]).await, [WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|again"]);
    }
}

#[tokio::test]
async fn a_redelivered_version_does_not_double_the_rows_of_a_view() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        let batch = [shown("1", 1, 0, &["a"]), shown("2", 4, 1, &["b", "c"])];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert_eq!(sink.apply(&batch).await, [STALE, STALE]);
        let twice = [batch[1].clone(), batch[1].clone()];
        assert_eq!(sink.apply(&twice).await, [STALE, STALE]);
        assert_eq!(database.names("patient_name").await, ["1|a", "2|b", "2|c"]);
    }
}

#[tokio::test]
async fn two_views_of_one_type_keep_versions_of_their_own() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        sink.apply(&[shown("1", 3, 0, &["a"])]).await;
        // another topology fills another view from the beginning
        let identity = TaskIdentity { cluster_id: "cluster".into(), name: "another".into() };
        let catalog = views(&["other_name"]).into();
        let other = rowcast::sink::SqlSink::connect(&database.url, 2, catalog, identity).await;
        let other = other.unwrap();
        other.execute_ddl(&other.ddl()).await.unwrap();
        let other = TestSink::new(&database, other).await;
        assert_eq!(other.apply(&[shown("1", 2, 0, &["b"])]).await, [WRITTEN]);
        assert_eq!(database.guards().await, ["other_name|1|2", "patient_name|1|3"]);
        assert_eq!(other.apply(&[delete("1", 2, 1)]).await, [WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|a"]);
        assert_eq!(database.guards().await, ["patient_name|1|3"]);
        assert_eq!(other.apply(&[delete_what_is_there("1", 2)]).await, [WRITTEN]);
        assert_eq!(database.guards().await, ["patient_name|1|3"]);
        // both in one transaction: each lets through what is news to it
        let both = database.bare_sink(views(&["patient_name", "other_name"])).await;
        let both = TestSink::new(&database, both).await;
        let change = |version, offset| shown_in_all("1", version, offset, &[&["x"], &["y"]]);
        assert_eq!(both.apply(&[change(3, 3)]).await, [WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|a"]);
        assert_eq!(database.names("other_name").await, ["1|y"]);
        assert_eq!(both.apply(&[change(3, 3)]).await, [STALE]);
        assert_eq!(both.apply(&[change(4, 4)]).await, [WRITTEN]);
        assert_eq!(database.names("patient_name").await, ["1|x"]);
        assert_eq!(database.guards().await, ["other_name|1|4", "patient_name|1|4"]);
    }
}

#[tokio::test]
async fn a_row_that_a_view_refuses_does_not_raise_the_guard() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        database.execute("CREATE UNIQUE INDEX one_name ON patient_name (name)").await;
        sink.apply(&[shown("1", 1, 0, &["a"]), shown("2", 1, 1, &["secret"])]).await;
        let batch = [
            shown("3", 1, 2, &["c"]),
            shown("1", 2, 3, &["b"]),
            shown("1", 3, 4, &["fine", "secret"]),
            shown("4", 1, 5, &["d"]),
        ];
        let results = sink.write(&batch).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
        let refusal = results[2].as_ref().unwrap_err();
        assert_eq!((refusal.stage, refusal.cause), (Stage::Sink, Cause::ConstraintUnique));
        assert_eq!(refusal.place.table.as_deref(), Some("patient_name"));
        assert_eq!(refusal.place.version, Some(3));
        assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
        assert_eq!(database.names("patient_name").await, ["1|b", "2|secret", "3|c", "4|d"]);
        assert!(database.guards().await.contains(&"patient_name|1|2".to_owned()));
        let drop = "DROP INDEX one_name";
        let alter = "ALTER TABLE patient_name DROP INDEX one_name";
        database.execute(database.pick(drop, alter, drop)).await;
        assert_eq!(sink.apply(&batch[2..3]).await, [WRITTEN]);
        assert!(database.guards().await.contains(&"patient_name|1|3".to_owned()));
    }
}

#[tokio::test]
async fn a_delete_that_a_view_refused_is_never_applied_late_by_itself() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        let refused = delete_what_is_there("1", 5);
        sink.apply(&[shown("1", 1, 4, &["a"])]).await;
        sink.sink.note_refused_delete(&sink.owner, &refused).await.unwrap();
        let results = sink.write(&[refused, shown("1", 2, 6, &["b"])]).await;
        assert_eq!(results[0].as_ref().unwrap_err().cause, Cause::RefusedDelete);
        assert_eq!(results[1], Ok(Outcome::Written));
        assert_eq!(database.names("patient_name").await, ["1|b"]);
    }
}

#[tokio::test]
async fn a_batch_larger_than_the_limit_of_binds_is_guarded_whole() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        let ids = || (0..5_000).map(|at| format!("{at}"));
        let batch: Vec<_> = ids().zip(0..).map(|(id, at)| shown(&id, 1, at, &["a"])).collect();
        let outcomes = sink.apply(&batch).await;
        assert!(outcomes.iter().all(|outcome| *outcome == WRITTEN));
        assert_eq!(database.guards().await.len(), 5_000);
        let deletes: Vec<_> = ids().map(|id| delete(&id, 1, 20_000)).collect();
        sink.apply(&deletes).await;
        assert!(database.guards().await.is_empty());
        assert!(database.names("patient_name").await.is_empty());
    }
}

#[tokio::test]
async fn the_table_of_a_view_needs_no_key_and_its_index_is_advice() {
    for database in databases().await {
        let sink = database.bare_sink(names()).await;
        let problems = sink.check_schema().await.unwrap();
        let [missing] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(missing.table, "patient_name");
        let text = database.pick("text", "varchar(64)", "TEXT");
        database
            .execute(&format!("CREATE TABLE patient_name (source_resource_id {text}, name {text})"))
            .await;
        let problems = sink.check_schema().await.unwrap();
        let [advice] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(advice.severity, Severity::Warning);
        assert_eq!(advice.column.as_deref(), Some("source_resource_id"));
        sink.execute_ddl(advice.mending.statements()).await.unwrap();
        assert_eq!(sink.check_schema().await.unwrap(), []);
        database.execute("DROP TABLE patient_name").await;
        sink.execute_ddl(missing.mending.statements()).await.unwrap();
        assert_eq!(sink.check_schema().await.unwrap(), []);
        let resource = database.quote("source_resource_id");
        let ddl = missing.mending.statements().join(";\n");
        assert!(ddl.contains(&format!("{resource} ")) && !ddl.contains("KEY"), "{ddl}");
        assert!(ddl.contains("NOT NULL") && ddl.contains(&format!("({resource})")), "{ddl}");
    }
}

#[tokio::test]
async fn a_view_may_have_managed_columns_and_columns_of_their_names() {
    for database in databases().await {
        let bare = database.bare_sink(names()).await;
        let uuid = database.pick("uuid", "uuid", "TEXT");
        database
            .execute(&format!(
                "CREATE TABLE patient_name (id {uuid} PRIMARY KEY, version bigint NOT NULL, \
                 source_resource_id varchar(64) NOT NULL, name varchar(20)); \
                 CREATE INDEX by_resource ON patient_name (source_resource_id)"
            ))
            .await;
        assert_eq!(bare.check_schema().await.unwrap(), []);
        let sink = TestSink::new(&database, bare).await;
        assert_eq!(sink.apply(&[shown("1", 4, 0, &["a", "b"])]).await, [WRITTEN]);
        assert_eq!(database.rows("patient_name", &["version", "name"]).await, ["4|a", "4|b"]);

        let mut mapped = view("mapped", vec![rule("parent_reference", ColumnType::String)]);
        mapped.tables[1].columns[0] = rule("id", ColumnType::String);
        mapped.tables[1].columns[1] = rule("version", ColumnType::String);
        let sink = database.sink(Catalog { roots: vec![mapped] }).await;
        let mut change = shown("1", 5, 1, &["parent"]);
        for row in &mut rows_of(&mut change)[1].rows {
            row[0] = Value::Null;
            row[1] = Value::Text("five".into());
        }
        assert_eq!(sink.apply(&[change]).await, [WRITTEN]);
        let columns = ["id", "version", "source_resource_id", "parent_reference"];
        assert_eq!(database.rows("mapped", &columns).await, ["null|five|1|parent"]);
    }
}

#[tokio::test]
async fn the_table_of_a_view_may_have_an_id_that_the_database_makes() {
    for database in databases().await {
        let bare = database.bare_sink(names()).await;
        let id = database.pick("bigserial", "bigint AUTO_INCREMENT", "INTEGER");
        database
            .execute(&format!(
                "CREATE TABLE patient_name (id {id} PRIMARY KEY, source_resource_id varchar(64), \
                 name text); CREATE INDEX by_resource ON patient_name (source_resource_id)"
            ))
            .await;
        assert_eq!(bare.check_schema().await.unwrap(), []);
        let sink = TestSink::new(&database, bare).await;
        assert_eq!(sink.apply(&[shown("1", 1, 0, &["a", "b"])]).await, [WRITTEN]);
        assert_eq!(database.rows("patient_name", &["id", "name"]).await, ["1|a", "2|b"]);
    }
}

fn rows_of(change: &mut RowChange) -> &mut [rowcast::model::RowSet] {
    let RowOperation::Upsert { rows, .. } = &mut change.operation else { panic!("no upsert") };
    rows[0].row_sets.as_deref_mut().unwrap()
}

#[tokio::test]
async fn the_table_of_a_view_may_lie_in_a_schema_and_its_name_in_mixed_case() {
    for database in databases().await {
        let schema = database.other_schema().await;
        let name = format!("{schema}.Patient \"View\"");
        let sink = database.sink(views(&[&name])).await;
        let batch = [shown("1", 1, 0, &["a"]), shown("2", 1, 1, &["b"])];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert_eq!(sink.apply(&[delete("2", 1, 2)]).await, [WRITTEN]);
        let quoted = format!("{}.{}", database.quote(&schema), database.quote("Patient \"View\""));
        assert_eq!(database.names(&quoted).await, ["1|a"]);
        let named = format!("{name}|1");
        assert_eq!(database.rows("rowcast_resource", &["table_name", "version"]).await, [named]);
        let tombstones = database.rows("rowcast_tombstone", &["table_name"]).await;
        assert_eq!(tombstones, [name.as_str()]);
        let mut narrow = shown("3", 1, 3, &["b"]);
        rows_of(&mut narrow)[1].rows[0][3] = Value::Boolean(true);
        let results = sink.write(&[narrow]).await;
        let refusal = results[0].as_ref().unwrap_err();
        assert_eq!(refusal.place.table.as_deref(), Some(name.as_str()));
    }
}

#[tokio::test]
async fn a_former_owner_is_fenced_from_a_view_too() {
    for database in databases().await {
        let sink = database.sink(names()).await;
        sink.sink.take_over(&partition()).await.unwrap();
        sink.try_apply(&[shown("1", 1, 0, &["a"])]).await.unwrap_err();
        assert!(database.guards().await.is_empty());
        assert!(database.names("patient_name").await.is_empty());
    }
}
