//! rowcast inside another program, with transformers of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowcast::application::{Application, ApplicationError};
use rowcast::error::{Cause, Refusal};
use rowcast::model::{
    Catalog, Change, ColumnType, Offset, Record, ResourceRows, RootTable, TopicPartition, Value,
};
use rowcast::runtime::RunError;
use rowcast::transform::fhirpath::Path as FhirPath;
use rowcast::transform::{Absence, Filling, Rows, Transformer};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

use crate::support::block_on;

const IDLE: Duration = Duration::from_millis(500);

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a topology on the embedded broker and SQLite.
fn folder(transform: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let topology = format!(
        "name: embedded\nsource: {{ topic: changes, embedded: {{ path: log.db }} }}\n{transform}\n\
         sink: {{ url: 'sqlite://rows.db?mode=rwc' }}\nhttp: {{ listen: '127.0.0.1:0' }}\n"
    );
    std::fs::write(folder.path().join("topology.yaml"), topology).expect("written");
    folder
}

fn load(folder: &tempfile::TempDir) -> Application {
    Application::load(folder.path().join("topology.yaml")).expect("a good topology")
}

/// The cells of a query as text.
fn query(database: &Path, sql: &str) -> Vec<Vec<String>> {
    block_on(async {
        let url = format!("sqlite://{}", database.display());
        let mut connection = SqliteConnection::connect(&url).await.expect("it opens");
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await;
        let rows = rows.expect("SQL is right");
        let text = |row: &SqliteRow, cell| row.get::<Option<String>, _>(cell).unwrap_or_default();
        let cells = |row: &SqliteRow| (0..row.len()).map(|cell| text(row, cell)).collect();
        rows.iter().map(cells).collect()
    })
}

/// Every name of a patient with its length: a root with a child table.
struct Names {
    catalog: Catalog,
    gender: FhirPath,
    families: FhirPath,
}

impl Names {
    fn new() -> Self {
        let root = RootTable::new("Patient", "named")
            .column("gender", ColumnType::String)
            .child("named_family")
            .column("family", ColumnType::String)
            .column("letters", ColumnType::Int);
        let path = |path| FhirPath::compile(path, Some("Patient")).expect("a path");
        Self {
            catalog: root.into(),
            gender: path("gender"),
            families: path("name.family.join(' ')"),
        }
    }
}

impl Transformer for Names {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
        let Some(mut rows) = Rows::of(&self.catalog, 0, change) else { return Ok(Vec::new()) };
        let gender = rows.read(&self.gender, ColumnType::String)?;
        if let Value::Text(families) = rows.read(&self.families, ColumnType::String)?
            && !families.is_empty()
        {
            let root = rows.root([gender]);
            for family in families.split(' ') {
                let letters = i64::try_from(family.len()).unwrap_or(i64::MAX);
                rows.child(1, root, [Value::Text(family.into()), Value::Int(letters)]);
            }
        }
        Ok(vec![rows.finish()])
    }
}

fn patient(version: u32, names: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"1","meta":{{"versionId":"{version}"}},"gender":"other","name":[{names}]}}"#
    )
}

/// The change of a resource.
fn change(resource: &str) -> Change {
    let record = Record {
        source: TopicPartition::new("t", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(resource.to_owned().into()),
        headers: Vec::new(),
    };
    rowcast::source::Decoder::default().decode(&record).expect("a change").remove(0)
}

/// The example's program: `cargo test` has built it beside the tests, unless it was told to build
/// the tests alone.
fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let folder = tests.parent().and_then(Path::parent).expect("target/PROFILE/deps/tests");
    let program = folder.join("examples/custom_transformer");
    if !program.exists() {
        let build = ["build", "--quiet", "--locked", "--example", "custom_transformer"];
        let mut command = Command::new(env!("CARGO"));
        assert!(command.current_dir(project()).args(build).status().expect("cargo").success());
    }
    program
}

#[test]
fn the_example_writes_the_rows_that_it_promises() {
    let folder = tempfile::tempdir().expect("a folder");
    let topology = folder.path().join("vitals.yaml");
    std::fs::copy(project().join("examples/vitals.yaml"), &topology).expect("copied");
    for _ in 0..2 {
        let output = Command::new(example()).arg(&topology).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    let rows = query(
        &folder.path().join("vitals.db"),
        "SELECT source_resource_id, cast(version AS text), cast(beats AS text), \
         cast(news_score AS text) FROM vitals",
    );
    assert_eq!(rows, [["1", "1", "104", "1"]]);
}

#[test]
fn the_example_has_fewer_than_forty_lines() {
    let example = std::fs::read_to_string(project().join("examples/custom_transformer.rs"));
    let lines = example.expect("the example").lines().count();
    assert!(lines < 40, "{lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_in_rust_keeps_children_in_step_with_their_root() {
    let folder = folder("");
    let rowcast = load(&folder).transformer(Names::new());
    rowcast.create_tables().await.expect("tables");
    let feed = rowcast.feed().await.expect("a feed");
    let database = folder.path().join("rows.db");
    let families = "SELECT family, cast(letters AS text) FROM named_family JOIN named \
                    ON named.id = parent_reference ORDER BY 1";

    let two = patient(1, r#"{"family":"Ng"},{"family":"Okafor"}"#);
    feed.put("Patient/1", Some(&two)).await.expect("appended");
    rowcast.run_until_idle(IDLE).await.expect("it runs");
    assert_eq!(query(&database, families), [["Ng", "2"], ["Okafor", "6"]]);

    let one = patient(2, r#"{"family":"Li"}"#);
    feed.put("Patient/1", Some(&one)).await.expect("appended");
    rowcast.run_until_idle(IDLE).await.expect("it runs");
    assert_eq!(query(&database, families), [["Li", "2"]]);

    feed.put("Patient/1", Some(&patient(3, ""))).await.expect("appended");
    rowcast.run_until_idle(IDLE).await.expect("it runs");
    let none: [[&str; 1]; 0] = [];
    assert_eq!(query(&database, "SELECT id FROM named"), none, "no root: no rows at version 3");
    assert_eq!(query(&database, "SELECT id FROM named_family"), none);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_in_rust_stands_beside_rules() {
    let folder = folder("transform: { rules: [rules.json] }");
    std::fs::write(
        folder.path().join("rules.json"),
        r#"{"transformers":[{"resourceType":"Patient","tableName":"patient","columns":[
            {"columnName":"gender","fhirPath":"gender","columnType":"STRING"}]}]}"#,
    )
    .expect("written");
    let rowcast = load(&folder).transformer(Names::new());
    rowcast.create_tables().await.expect("tables");
    let feed = rowcast.feed().await.expect("a feed");
    feed.put("Patient/1", Some(&patient(1, r#"{"family":"Ng"}"#))).await.expect("appended");
    rowcast.run_until_idle(IDLE).await.expect("it runs");
    let database = folder.path().join("rows.db");
    assert_eq!(query(&database, "SELECT gender FROM patient"), [["other"]]);
    assert_eq!(query(&database, "SELECT family FROM named_family"), [["Ng"]]);
}

#[test]
fn what_a_transformer_in_rust_cannot_read_is_refused_with_its_place() {
    let names = Names::new();
    let change = change(&patient(1, "").replace(r#""other""#, r#"["a","b"]"#));
    let refusal = names.transform(&change).expect_err("two genders");
    assert_eq!(refusal.cause, Cause::MultipleValues);
    assert_eq!(refusal.place.table.as_deref(), Some("named"));
    assert_eq!(refusal.place.path.as_deref(), Some("gender"));
    let rule = refusal.place.rule.as_deref().unwrap_or_default();
    assert!(rule.contains("embedding.rs:"), "{rule}");
}

#[test]
fn a_transformer_in_rust_is_explained_by_its_rows() {
    let names = Names::new();
    let explained = |text: &str| {
        let mut explained = names.explain(&change(text));
        assert_eq!(explained.len(), 1);
        explained.remove(0)
    };
    let made = explained(&patient(1, r#"{"family":"Ng"}"#));
    assert_eq!(made.tables[1].rows.len(), 1);
    assert_eq!(made.tables[0].columns.last(), Some(&Filling::Code));
    assert_eq!(made.tables[0].columns.first(), Some(&Filling::Managed));
    let none = explained(&patient(1, ""));
    assert!(none.is_filtered());
    assert_eq!(none.tables[0].absences, [Absence::NotMade]);
    let refused = explained(&patient(1, "").replace(r#""other""#, r#"["a","b"]"#));
    assert!(!refused.is_filtered());
    assert_eq!(refused.refusals[0].cause, Cause::MultipleValues);
    assert_eq!(refused.tables[0].absences, [Absence::Refused]);
}

#[test]
fn without_rules_and_transformers_nothing_starts() {
    for transform in ["", "transform: { rules: [] }"] {
        let folder = folder(transform);
        let Err(ApplicationError::Configuration(problems)) = load(&folder).check() else {
            panic!("it has no table")
        };
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "/transform/rules");
    }
}

#[test]
fn a_table_that_two_transformers_fill_is_a_problem() {
    let twice = load(&folder("")).transformer(Names::new()).transformer(Names::new());
    let Err(ApplicationError::Configuration(problems)) = twice.check() else {
        panic!("two transformers fill one table")
    };
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "the root and its child: {said:?}");
    assert!(said[0].contains("`named` is filled by"), "{said:?}");
}

/// A transformer with a fault.
struct Faulty(Catalog);

impl Transformer for Faulty {
    fn catalog(&self) -> &Catalog {
        &self.0
    }

    fn transform(&self, _change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
        panic!("a fault")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_that_panics_ends_the_run_and_nothing_is_committed() {
    let folder = folder("");
    let catalog = RootTable::new("Patient", "named").column("gender", ColumnType::String).into();
    let rowcast = load(&folder).transformer(Faulty(catalog));
    rowcast.create_tables().await.expect("tables");
    let feed = rowcast.feed().await.expect("a feed");
    feed.put("Patient/1", Some(&patient(1, ""))).await.expect("appended");
    for _ in 0..2 {
        let ended = rowcast.run_until_idle(IDLE).await;
        assert!(matches!(ended, Err(ApplicationError::Run(RunError::Panicked))), "{ended:?}");
    }
}

#[tokio::test]
async fn a_runtime_without_worker_threads_is_refused() {
    let folder = folder("");
    let rowcast = load(&folder).transformer(Names::new());
    let ended = rowcast.run_until_idle(IDLE).await;
    assert!(matches!(ended, Err(ApplicationError::SingleThreaded)), "{ended:?}");
}
