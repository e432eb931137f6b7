//! The DDL of the rules: its text as it was reviewed, and the same statements on every database.

use std::path::Path;

use rowcast::model::{Catalog, Column, ColumnSource, ColumnType, Value};
use rowcast::plan::{Dialect, ForeignKeys, Mysql, Postgres, Sqlite, catalog_ddl, creating};

use super::fixture::{catalog, catalog_of, databases, delete, plain, rule, table, upsert, view};
use super::{STALE, WRITTEN};

/// Patients with their names, with history, and a view; in a schema, if there is one.
fn reviewed(schema: &str) -> Catalog {
    let mut given = rule("given", ColumnType::String);
    given.maximum_size = Some(40);
    let mut quoted = rule("Order \"by\"", ColumnType::String);
    quoted.source = ColumnSource::Rule {
        rule: "/etc/rowcast/rules/it's.json#/transformers/0/columns/1".into(),
        path: "name.where(use =\n  'a\\\\b;')\n".into(),
    };
    let tables = vec![
        table(&format!("{schema}Patient"), None, ColumnType::ALL.map(typed).to_vec()),
        table(&format!("{schema}select"), Some(0), vec![given.clone(), quoted]),
    ];
    let mut catalog = catalog_of(tables, true);
    catalog.roots.push(view(&format!("{schema}patient view"), vec![given]));
    catalog
}

fn typed(column_type: ColumnType) -> Column {
    rule(&format!("a_{column_type}"), column_type)
}

#[test]
fn the_ddl_of_every_dialect_is_as_reviewed() {
    let dialects: [(&str, &dyn Dialect); 3] =
        [("postgres", &Postgres), ("mysql", &Mysql), ("sqlite", &Sqlite)];
    for (name, dialect) in dialects {
        let schema = if name == "sqlite" { "main." } else { "clinical." };
        let ddl = catalog_ddl(dialect, &reviewed(schema), ForeignKeys::Declared);
        let text = ddl.join(";\n") + ";\n";
        let path = format!("{}/tests/fixtures/ddl/{name}.sql", env!("CARGO_MANIFEST_DIR"));
        let path = Path::new(&path);
        if std::env::var_os("ROWCAST_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == text, "{name}.sql differs; ROWCAST_BLESS=1 cargo test as_reviewed");
        let without = catalog_ddl(dialect, &reviewed(schema), ForeignKeys::LeftOut).join("\n");
        assert!(text.contains("FOREIGN KEY") && !without.contains("FOREIGN KEY"), "{without}");
    }
}

#[tokio::test]
async fn the_ddl_runs_as_one_script_and_its_comments_arrive_whole() {
    for database in databases().await {
        let schema = database.other_schema().await;
        let ddl = database.schema_ddl(&reviewed(&format!("{schema}.")));
        database.execute(&format!("{};\n", ddl.join(";\n"))).await;
        let catalog = reviewed(&format!("{schema}."));
        let left = database.schema(&catalog).compare(ForeignKeys::Declared).await.unwrap();
        assert!(left.iter().all(|problem| problem.table.starts_with("rowcast_")), "{left:?}");
        let expected = "name.where(use = 'a\\\\b;') (it's.json#/transformers/0/columns/1)";
        let child = format!("{}.{}", database.quote(&schema), database.quote("select"));
        let (from, comment) = database.pick(
            (
                format!("pg_attribute WHERE attrelid = '{child}'::regclass AND attnum > 0"),
                "col_description(attrelid, attnum)",
            ),
            (
                format!(
                    "information_schema.columns WHERE table_schema = '{schema}' \
                     AND table_name = 'select'"
                ),
                "column_comment",
            ),
            ("sqlite_schema WHERE name = 'select'".to_owned(), "sql"),
        );
        let comments = database.rows(&from, &[comment]).await.join("\n");
        assert!(comments.contains(expected), "{comments}");
        let parent = format!("managed: the id of the row in {schema}.Patient");
        assert!(comments.contains(&parent), "{comments}");
    }
}

#[tokio::test]
async fn awkward_names_get_indexes_and_keys_of_their_own_within_the_limit() {
    for database in databases().await {
        let schema = database.other_schema().await;
        let columns = ["select", "Mixed Case", "quo\"ted", "back`tick", &"x".repeat(63), "ü"];
        let columns: Vec<_> = columns.iter().map(|name| rule(name, ColumnType::String)).collect();
        // alike but for what is cut off
        let long = |end: &str| format!("{schema}.{}{end}", "t".repeat(54));
        let tables = vec![
            table(&long("x"), None, columns.clone()),
            table(&long("y"), Some(0), columns.clone()),
            table(&format!("{schema}.Group"), Some(1), columns.clone()),
            table(&format!("{schema}.group by; --"), Some(0), columns.clone()),
        ];
        let catalog = catalog_of(tables, true);
        let sink = database.sink(catalog.clone()).await;
        let values = vec![Value::Text("v".into()); columns.len()];
        let batch = [plain("1", 1, values.clone()), plain("1", 2, vec![Value::Null; values.len()])];
        assert_eq!(sink.apply(&batch[..1]).await, [WRITTEN]);
        assert_eq!(sink.apply(&batch).await, [STALE, WRITTEN]);
        let name = long("x").split_once('.').unwrap().1.to_owned();
        let root = format!("{}.{}", database.quote(&schema), database.quote(&name));
        assert_eq!(database.rows(&root, &["version"]).await, ["2"]);
        assert_eq!(sink.apply(&[delete("1", 3, 3)]).await, [WRITTEN]);
        assert!(database.rows(&root, &["version"]).await.is_empty());
        let left = database.schema(&catalog).compare(ForeignKeys::Declared).await.unwrap();
        assert_eq!(left, [], "{}", database.name);
    }
}

#[tokio::test]
async fn children_cannot_lose_their_parent_unless_foreign_keys_are_left_out() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        assert!(!database.refuses("DELETE FROM patient_address_line").await);
        assert!(database.refuses("DELETE FROM patient").await, "{}", database.name);
    }
    for database in databases().await {
        let schema = database.schema(&catalog());
        let missing = creating(&schema.compare(ForeignKeys::LeftOut).await.unwrap());
        schema.execute(&missing).await.unwrap();
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0)]).await;
        assert_eq!(sink.apply(&[upsert("1", 2, 1), delete("2", 1, 2)]).await, [WRITTEN, WRITTEN]);
        assert_eq!(database.lines().await, ["1|city 2 1"]);
        assert!(!database.refuses("DELETE FROM patient").await, "{}", database.name);
    }
}
