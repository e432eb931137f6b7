//! `rowcast schema`, through the binary, on every database: what it prints, how it ends, what it
//! changes and what not.

use serde_json::{Value, json};

use crate::sink::fixture::{TestDatabase, databases};
use crate::support::Rowcast;

/// A topology over a database.
struct Topology<'a> {
    database: &'a TestDatabase,
    folder: tempfile::TempDir,
}

/// All types, awkward names, a child, and history.
fn rules() -> Value {
    let column = |name: &str, path: &str, kind: &str| json!({ "columnName": name, "fhirPath": path, "columnType": kind });
    let kinds = "STRING INT BIGINT DECIMAL DOUBLE BOOLEAN DATE DATETIME TIME UUID JSON BINARY";
    let mut columns: Vec<_> =
        kinds.split(' ').map(|kind| column(&format!("a {kind}"), "Patient.id", kind)).collect();
    columns.push(column("select", "Patient.name.where(use = 'it\\'s; --').family", "STRING"));
    columns.push(column(&"x".repeat(63), "Patient.gender", "STRING"));
    json!({ "retainAllHistory": true, "transformers": [{
        "resourceType": "Patient", "tableName": "Order \"By\"", "columns": columns,
        "childTables": [{ "fhirPath": "Patient.name", "tableName": "t".repeat(55), "columns": [
            { "columnName": "family", "fhirPath": "family", "columnType": "STRING",
              "maximumSize": 40 } ] }] }] })
}

/// One table with one column.
fn small() -> Value {
    json!({ "transformers": [{ "resourceType": "Patient", "tableName": "patient", "columns": [
        { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING",
          "maximumSize": 64 },
        { "columnName": "born", "fhirPath": "Patient.birthDate", "columnType": "DATE" } ] }] })
}

impl<'a> Topology<'a> {
    fn new(database: &'a TestDatabase, rules: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topology = "name: t\nsource: { topic: changes, embedded: { path: log.db } }\n\
                        transform: { rules: [rules.json] }\nsink: { url: '${DATABASE}' }\n";
        std::fs::write(folder.path().join("topology.yaml"), topology).unwrap();
        std::fs::write(folder.path().join("rules.json"), rules.to_string()).unwrap();
        Self { database, folder }
    }

    /// Exit code, stdout, stderr of `schema`.
    fn ends(&self, arguments: &[&str]) -> (i32, String, String) {
        self.command_ends("schema", arguments)
    }

    fn command_ends(&self, command: &str, arguments: &[&str]) -> (i32, String, String) {
        let file = self.folder.path().join("topology.yaml");
        let mut command = Rowcast::command(&[&[command], arguments].concat());
        command.arg("--topology").arg(file).env("DATABASE", &self.database.url);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Its findings as `--output json` tells them: severity, kind, column, who mends it.
    fn findings(&self) -> Vec<String> {
        let (_, found, _) = self.ends(&["diff", "--output", "json"]);
        let found = found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = |found: Value| {
            let of = |name: &str| found[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", of("severity"), of("kind"), of("column"), of("mending"))
        };
        found.map(told).collect()
    }
}

#[tokio::test]
async fn what_schema_prints_runs_as_it_stands_and_fits() {
    for database in databases().await {
        for flags in [&[][..], &["show"], &["show", "--without-foreign-keys"]] {
            let topology = Topology::new(&database, &rules());
            let (code, ddl, said) = topology.ends(flags);
            assert_eq!(code, 0, "{said}");
            let declared = flags.len() < 2;
            assert_eq!(ddl.contains("FOREIGN KEY"), declared, "{ddl}");
            database.execute(&ddl).await;
            let (code, found, said) = topology.ends(&["diff"]);
            assert_eq!((code, &*found, &*said), (0, "", "schema: fits\n"), "{}", database.name);
            let (code, ran, said) = topology.ends(&["apply"]);
            assert_eq!((code, &*ran, &*said), (0, "", "nothing to do\n"));
            for table in ["t".repeat(55), "Order \"By\"".to_owned()] {
                let history = format!("{table}_history");
                for table in [table, history] {
                    database.execute(&format!("DROP TABLE {}", database.quote(&table))).await;
                }
            }
            database.execute("DROP TABLE rowcast_task").await;
            database.execute("DROP TABLE rowcast_tombstone").await;
            database.execute("DROP TABLE rowcast_resource").await;
            database.execute("DROP TABLE IF EXISTS rowcast_table").await;
        }
    }
}

#[tokio::test]
async fn any_dialect_is_shown_without_a_connection() {
    let database = crate::sink::fixture::sqlite().await;
    let topology = Topology::new(&database, &small());
    for (dialect, sign) in [
        ("postgres", "COMMENT ON COLUMN \"patient\".\"born\" IS 'Patient.birthDate (rules.json#"),
        ("mysql", "`born` date COMMENT 'Patient.birthDate (rules.json#"),
        ("mariadb", "ENGINE=InnoDB"),
        ("sqlite", "  -- Patient.birthDate (rules.json#/transformers/0/columns/1)\n  \"born\""),
    ] {
        let (code, ddl, said) = topology.ends(&["--dialect", dialect]);
        assert_eq!(code, 0, "{said}");
        assert!(ddl.contains(sign), "{dialect}: {ddl}");
    }
    assert!(!database.file().unwrap().exists(), "nobody connected");
}

#[tokio::test]
async fn apply_needs_a_yes_and_the_second_time_has_nothing_to_do() {
    for database in databases().await {
        let topology = Topology::new(&database, &rules());
        let (code, statements, said) = topology.ends(&["apply"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("--yes") && statements.contains("CREATE TABLE"), "{said}");
        let missing = topology.findings();
        assert!(missing.contains(&"error missing_table - create".to_owned()), "{missing:?}");
        assert_eq!(topology.ends(&["diff"]).0, 78);
        let (code, ran, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!((code, ran), (0, statements), "{said}");
        assert!(said.contains("ran ") && !said.contains("rowcast:rowcast"), "{said}");
        let (code, ran, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!((code, &*ran, &*said), (0, "", "nothing to do\n"), "{}", database.name);
        assert!(topology.findings().is_empty());
    }
}

#[tokio::test]
async fn what_is_not_applys_to_mend_is_named_and_the_rest_is_done() {
    for database in databases().await {
        let topology = Topology::new(&database, &small());
        let id = database.pick("text", "varchar(64) COLLATE utf8mb4_bin", "TEXT");
        let born = database.pick("timestamptz", "integer", "REAL");
        database
            .execute(&format!(
                "CREATE TABLE patient (id {id} NOT NULL, born {born}, more {id}, \
                 must integer NOT NULL)"
            ))
            .await;
        let expected = [
            "error missing_column version create".to_owned(),
            format!("error wrong_type born {}", database.pick("change", "change", "advice")),
            "error missing_key id create".to_owned(),
            "information superfluous_column more -".to_owned(),
            format!("error unfilled_column must {}", database.pick("change", "advice", "advice")),
        ];
        let found: Vec<_> =
            topology.findings().into_iter().filter(|found| !found.contains("_table")).collect();
        assert_eq!(found, expected, "{}", database.name);
        let (code, printed, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("2 findings make writing impossible"), "{said}");
        let table = database.quote("patient");
        let yours = database.pick(
            format!("ALTER TABLE {table} ALTER COLUMN \"born\" TYPE date USING \"born\"::date;"),
            format!("ALTER TABLE {table} MODIFY `born` date;"),
            "-- SQLite cannot change the type of a column".to_owned(),
        );
        assert!(printed.contains(&yours), "{printed}");
        let left: Vec<_> = [1, 3, 4].map(|left| expected[left].clone()).to_vec();
        assert_eq!(topology.findings(), left);
        let (code, printed, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!(code, 78, "{said}");
        assert!(said.starts_with("nothing to do") && printed.contains(&yours), "{said}{printed}");
    }
}

#[tokio::test]
async fn a_missing_index_and_a_narrow_column_are_advice_and_no_failure() {
    for database in databases().await {
        let topology = Topology::new(&database, &rules());
        topology.ends(&["apply", "--yes"]);
        let child = "t".repeat(55);
        if database.is_postgres() {
            let narrow = format!("ALTER TABLE {child} ALTER COLUMN family TYPE varchar(9)");
            database.execute(&narrow).await;
        } else if database.is_mariadb() {
            database.execute(&format!("ALTER TABLE {child} MODIFY family varchar(9)")).await;
        }
        let history = format!("{child}_history");
        database.execute(&format!("DROP TABLE {history}")).await;
        let ddl = topology.ends(&["show"]).1;
        let start = ddl.find(&format!("CREATE TABLE {} (", database.quote(&history))).unwrap();
        let create = ddl[start..].split(";\n").next().unwrap();
        let create: Vec<_> = create.lines().filter(|line| !line.contains(" INDEX ")).collect();
        let create = create.join("\n").replace("),\n) ENGINE", ")\n) ENGINE");
        database.execute(&create).await;
        let narrow = "warning narrow_column family change".to_owned();
        let index = |column: &str| format!("warning missing_index {column} create");
        let mut expected = vec![narrow, index("source_resource_id"), index("parent_reference")];
        expected.drain(..database.pick(0, 0, 1));
        assert_eq!(topology.findings(), expected, "{}", database.name);
        assert_eq!(topology.ends(&["diff"]).0, 0);
        let (code, ran, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!(code, 0, "{said}");
        assert_eq!(ran.matches("CREATE INDEX").count(), 2, "{ran}");
        expected.truncate(database.pick(1, 1, 0));
        assert_eq!(topology.findings(), expected);
    }
}

#[tokio::test]
async fn check_and_diff_change_nothing_and_judge_alike() {
    for database in databases().await {
        let topology = Topology::new(&database, &small());
        let before = topology.findings();
        let (code, _, said) = topology.command_ends("check", &[]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("patient: the table is missing") && said.contains("CREATE TABLE"));
        assert_eq!(topology.findings(), before, "{}", database.name);
        assert!(before.contains(&"information missing_table - create".to_owned()), "{before:?}");
        topology.ends(&["apply", "--yes"]);
        assert_eq!(topology.command_ends("check", &[]).0, 0);
    }
}

#[tokio::test]
async fn a_failing_statement_is_shown_with_what_became_of_the_others() {
    for database in databases().await {
        let topology = Topology::new(&database, &small());
        let id = database.pick("text", "varchar(64) COLLATE utf8mb4_bin", "TEXT");
        database.execute(&format!("CREATE TABLE patient (id {id})")).await;
        database.execute("INSERT INTO patient VALUES ('secret'), ('secret')").await;
        let (code, _, said) = topology.ends(&["apply", "--yes"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("UNIQUE INDEX") && !said.contains("secret"), "{said}");
        let outcome = database.pick("nothing was changed", "run it again", "nothing was changed");
        assert!(said.contains(outcome), "{said}");
        database.execute("DELETE FROM patient").await;
        assert_eq!(topology.ends(&["apply", "--yes"]).0, 0);
        assert_eq!(topology.ends(&["diff"]).0, 0);
    }
}

#[test]
fn a_database_that_is_away_is_a_dependency_that_is_unavailable() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut database = runtime.block_on(crate::sink::fixture::sqlite());
    database.url = "postgres://nobody:secret@127.0.0.1:1/none".to_owned();
    let topology = Topology::new(&database, &small());
    for arguments in [&["diff"][..], &["apply", "--yes"]] {
        let (code, _, said) = topology.ends(arguments);
        assert_eq!((code, said.contains("secret")), (69, false), "{said}");
    }
    assert_eq!(topology.ends(&["show"]).0, 0);
    assert_eq!(topology.database.name, "sqlite");
}
