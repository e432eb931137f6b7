//! `schema apply`, on every database: what is missing is created, what is there is left alone.

use rowcast::model::{Catalog, ColumnType};
use rowcast::plan::{ForeignKeys, Mending, ProblemKind, SchemaProblem, Severity, creating};

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, delete, living_in, rule, table, upsert,
    views, with_history,
};
use super::{STALE, WRITTEN};

/// What is to be said about the schema.
async fn found(database: &TestDatabase, catalog: &Catalog) -> Vec<SchemaProblem> {
    database.schema(catalog).compare(ForeignKeys::Declared).await.unwrap()
}

fn kinds(problems: &[SchemaProblem]) -> Vec<(&str, &str, ProblemKind)> {
    let kinds = problems.iter().map(|problem| {
        (problem.table.as_str(), problem.column.as_deref().unwrap_or(""), problem.kind)
    });
    kinds.collect()
}

#[tokio::test]
async fn comparing_creates_nothing_and_applying_twice_has_nothing_left_to_do() {
    for database in databases().await {
        let catalog = with_history();
        let missing = creating(&found(&database, &catalog).await);
        assert_eq!(creating(&found(&database, &catalog).await), missing, "{}", database.name);
        database.apply_schema(&catalog).await;
        assert_eq!(found(&database, &catalog).await, [], "{}", database.name);
    }
}

#[tokio::test]
async fn columns_that_are_missing_are_added_to_a_filled_table_and_take_null() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        sink.apply(&[upsert("1", 1, 0), upsert("2", 1, 1)]).await;
        let mut wider = catalog();
        let columns = &mut wider.roots[0].tables[0].columns;
        columns.extend(ColumnType::ALL.map(|kind| rule(&format!("New {kind}"), kind)));
        let problems = found(&database, &wider).await;
        assert!(
            problems.iter().all(|problem| problem.kind == ProblemKind::MissingColumn
                && problem.severity == Severity::Error),
            "{problems:?}"
        );
        assert_eq!(problems.len(), ColumnType::ALL.len());
        database.apply_schema(&wider).await;
        assert_eq!(found(&database, &wider).await, []);
        let new = database.quote("New JSON");
        let rows = database.rows("patient", &["source_resource_id", &new]).await;
        assert_eq!(rows, ["1|null", "2|null"]);
    }
}

#[tokio::test]
async fn a_table_that_lost_its_managed_columns_key_and_indexes_gets_them_back() {
    for database in databases().await {
        database.execute("CREATE TABLE patient (name varchar(20))").await;
        let problems = found(&database, &catalog()).await;
        let of_patient = kinds(&problems).into_iter().filter(|(table, ..)| *table == "patient");
        assert_eq!(
            of_patient.map(|(_, column, kind)| (column, kind)).collect::<Vec<_>>(),
            [
                ("id", ProblemKind::MissingColumn),
                ("version", ProblemKind::MissingColumn),
                ("source_resource_id", ProblemKind::MissingColumn),
                ("id", ProblemKind::MissingKey),
                ("source_resource_id", ProblemKind::MissingIndex),
            ]
        );
        // the foreign key of its children is left out: its `id` is not unique yet
        let sink = database.sink(catalog()).await;
        assert_eq!(found(&database, &catalog()).await, []);
        let batch = [living_in("1", 1, 0, &["a", "b"]), upsert("2", 1, 1)];
        assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN]);
        assert_eq!(sink.apply(&batch).await, [STALE, STALE]);
        assert_eq!(sink.apply(&[delete("1", 1, 2)]).await, [WRITTEN]);
        assert_eq!(database.addresses().await, ["2|city 1"]);
    }
}

#[tokio::test]
async fn what_is_there_is_never_dropped_narrowed_or_changed() {
    for database in databases().await {
        let uuid = database.pick("uuid", "char(36)", "TEXT");
        let id = database.pick("text", "varchar(64) COLLATE utf8mb4_bin", "TEXT");
        let wrong = database.pick("integer", "integer", "NUMERIC");
        database
            .execute(&format!(
                "CREATE TABLE patient (id {uuid} PRIMARY KEY, version bigint NOT NULL, \
                 source_resource_id {id} NOT NULL, name varchar(7), amount {wrong}, \
                 notes varchar(9), must integer NOT NULL)"
            ))
            .await;
        let mut catalog = catalog();
        catalog.roots[0].tables[0].columns.push(rule("amount", ColumnType::Decimal));
        let problems = found(&database, &catalog).await;
        let left = |problems: &[SchemaProblem]| {
            let left = problems.iter().filter(|found| !matches!(found.mending, Mending::Create(_)));
            left.map(|found| (found.column.clone().unwrap(), found.kind, found.severity))
                .collect::<Vec<_>>()
        };
        let expected = [
            // SQLite's varchar(7) takes any text
            ("name", ProblemKind::NarrowColumn, Severity::Warning),
            ("amount", ProblemKind::WrongType, Severity::Error),
            ("notes", ProblemKind::SuperfluousColumn, Severity::Information),
            ("must", ProblemKind::UnfilledColumn, Severity::Error),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .skip(database.pick(0, 0, 1))
            .map(|(column, kind, severity)| (column.to_owned(), kind, severity))
            .collect();
        assert_eq!(left(&problems), expected, "{}", database.name);
        let statements = creating(&problems);
        for word in ["DROP", "MODIFY", "ALTER COLUMN", "RENAME", "UPDATE", "DELETE"] {
            assert!(statements.iter().all(|ddl| !ddl.contains(word)), "{statements:?}");
        }
        database.apply_schema(&catalog).await;
        let problems = found(&database, &catalog).await;
        assert_eq!(creating(&problems), [""; 0]);
        assert_eq!(left(&problems), expected);
    }
}

#[tokio::test]
async fn a_statement_that_fails_undoes_the_others_or_leaves_the_rest_for_the_next_time() {
    for database in databases().await {
        let text = database.pick("text", "varchar(64)", "TEXT");
        let uuid = database.pick("uuid", "char(36)", "TEXT");
        database
            .execute(&format!(
                "CREATE TABLE patient_address (id {uuid}, source_resource_id {text}, \
                 parent_reference {uuid}, city {text}); \
                 INSERT INTO patient_address (id) VALUES \
                 ('00000000-0000-0000-0000-000000000001'), \
                 ('00000000-0000-0000-0000-000000000001')"
            ))
            .await;
        let schema = database.schema(&catalog());
        let before = found(&database, &catalog()).await;
        let statements = creating(&before);
        let failed = schema.execute(&statements).await.unwrap_err();
        let told = failed.error.to_string();
        assert!(told.contains("the rows that are there") && told.contains("unique"), "{told}");
        let statement = failed.statement.unwrap();
        assert!(statement.contains("UNIQUE"), "{statement}");
        let left = creating(&found(&database, &catalog()).await);
        if database.is_mariadb() {
            assert_eq!((&left[0], left.len()), (&statement, statements.len() - failed.done));
        } else {
            assert_eq!((failed.done, &left), (0, &statements), "{}", database.name);
        }
        database.execute("DELETE FROM patient_address").await;
        database.apply_schema(&catalog()).await;
        let sink = database.sink(catalog()).await;
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN]);
    }
}

#[tokio::test]
async fn a_child_of_a_parent_whose_id_is_of_another_type_gets_no_foreign_key() {
    for database in databases().await {
        let other = database.pick("varchar(36)", "uuid", "CHAR(36)");
        database
            .execute(&format!(
                "CREATE TABLE patient (id {other} PRIMARY KEY, version bigint NOT NULL, \
                 source_resource_id varchar(64) NOT NULL UNIQUE, name varchar(20))"
            ))
            .await;
        if database.is_mariadb() {
            database
                .execute(
                    "ALTER TABLE patient MODIFY source_resource_id varchar(64) COLLATE utf8mb4_bin",
                )
                .await;
        }
        let problems = found(&database, &catalog()).await;
        let address = problems.iter().find(|found| found.table == "patient_address").unwrap();
        assert!(address.message.contains("foreign key would be left out"), "{address}");
        let sink = database.sink(catalog()).await;
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[delete("1", 1, 1)]).await, [WRITTEN]);
        // the parent of the lines is ours
        sink.apply(&[upsert("1", 2, 2)]).await;
        assert!(database.refuses("DELETE FROM patient_address").await, "{}", database.name);
        assert!(!database.refuses("DELETE FROM patient").await, "{}", database.name);
    }
}

#[tokio::test]
async fn a_schema_that_is_missing_is_created_with_its_tables() {
    for database in databases().await {
        let schema = format!("New \"{}", crate::support::unique("schema"));
        let catalog = catalog_of(vec![table(&format!("{schema}.select"), None, vec![])], false);
        let problems = found(&database, &catalog).await;
        let problem = problems.iter().find(|found| found.kind == ProblemKind::MissingSchema);
        assert_eq!(problem.unwrap().table, schema, "{}", database.name);
        if database.file().is_some() {
            assert!(matches!(problem.unwrap().mending, Mending::Advice(_)));
            assert!(creating(&problems).iter().all(|ddl| !ddl.contains("select")));
            continue;
        }
        database.apply_schema(&catalog).await;
        assert_eq!(found(&database, &catalog).await, []);
        let cascade = database.pick("CASCADE", "", "");
        database.execute(&format!("DROP SCHEMA {} {cascade}", database.quote(&schema))).await;
    }
}

#[tokio::test]
async fn views_need_the_table_that_guards_them_and_rowcasts_own_columns() {
    for database in databases().await {
        let catalog = views(&["patient_name"]);
        let problems = found(&database, &catalog).await;
        let own = problems.iter().filter(|found| found.table.starts_with("rowcast_"));
        assert!(own.clone().any(|found| found.table == "rowcast_resource"));
        assert!(own.clone().all(|found| found.severity == Severity::Information));
        database.apply_schema(&catalog).await;
        database.execute("DROP TABLE rowcast_resource").await;
        let narrow = "CREATE TABLE rowcast_resource (table_name varchar(99), version bigint)";
        database.execute(narrow).await;
        let problems = found(&database, &catalog).await;
        let expected = ("rowcast_resource", "source_resource_id", ProblemKind::MissingColumn);
        assert_eq!(kinds(&problems), [expected]);
        assert_eq!(problems[0].severity, Severity::Error);
        database.apply_schema(&catalog).await;
        assert_eq!(found(&database, &catalog).await, []);
    }
}

#[tokio::test]
async fn a_sink_that_was_refused_goes_on_once_the_schema_was_applied() {
    for database in databases().await {
        let bare = database.bare_sink(catalog()).await;
        let sink = TestSink::new(&database, bare).await;
        sink.try_apply(&[upsert("1", 1, 0)]).await.unwrap_err();
        database.apply_schema(&catalog()).await;
        assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN], "{}", database.name);
    }
}
