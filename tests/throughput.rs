//! The throughput bench keeps its word: the rows that its generator expects are those that rowcast
//! makes of its documents, and its check finds a row that is not right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::avro::Server;
use crate::support::process::run_program;
use crate::support::{self, Rowcast};

#[test]
fn the_benchs_documents_become_the_rows_it_expects() {
    // next to nothing, less and more than FHIR servers send; the other tests have the usual size
    for bytes in ["100", "1000", "10000"] {
        let bench = Bench::over_documents_of(bytes, "patient.json");
        assert_eq!(bench.verdict(&[]), "check: every row is right", "documents of {bytes} bytes");
    }
}

#[test]
fn the_benchs_documents_in_avro_become_the_same_rows() {
    for encoding in ["avro-text", "avro-record"] {
        let bench = Bench::of_documents("2500");
        let workload = bench.path("workload");
        let encoding_it = ["avro.py", "--workload", &workload, "--encoding", encoding];
        run_program("python3", &encoding_it, &programs());
        let told = fs::read_to_string(format!("{workload}/{encoding}.json")).expect("it is told");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let registry = Server::start();
        registry.put("/schemas/ids/7", &told["schema"]);
        let more = json!({ "schema_registry": { "url": registry.url() }, "avro": {
            "document": "resource", "operation": "operation", "type": "type", "id": "id",
            "version": "version" } });
        bench.run("patient.json", &format!("{encoding}.ndjson"), more);
        assert_eq!(bench.verdict(&[]), "check: every row is right", "{encoding}");
        assert_eq!(registry.asked(), ["/schemas/ids/7"], "the values were Avro");
    }
}

#[test]
fn the_benchs_child_tables_are_as_it_expects() {
    let bench = Bench::over_documents_of("2500", "patient-and-children.json");
    assert_eq!(bench.verdict(&["--children"]), "check: every row is right");
    bench.execute("DELETE FROM patient_name WHERE name_use = 'nickname'");
    assert_eq!(bench.verdict(&["--children"]), "check: 12 missing in patient_name");
}

#[test]
fn the_benchs_check_finds_a_lost_row_and_a_lost_millisecond() {
    let bench = Bench::over_documents_of("2500", "patient.json");
    bench.execute("DELETE FROM patient WHERE id = 'zz-end-0'");
    bench.execute(
        "UPDATE patient SET last_updated = replace(last_updated, '.', '.9') WHERE id = 'zz-end-1'",
    );
    assert_eq!(bench.verdict(&[]), "check: 1 differing last_updated, 1 missing");
}

/// A folder with a small workload and the table that rowcast filled with it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn over_documents_of(bytes: &str, rules: &str) -> Self {
        let bench = Self::of_documents(bytes);
        bench.run(rules, "records.ndjson", json!({}));
        bench
    }

    /// With a workload, and nothing done yet.
    fn of_documents(bytes: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        let workload = bench.path("workload");
        let making = ["workload.py", "--keys", "10", "--size", bytes, "--out", &workload];
        run_program("python3", &making, &programs());
        bench
    }

    /// Writes a file of the workload. `more`: of `source`.
    fn run(&self, rules: &str, records: &str, more: Value) {
        let topology = self.path("topology.json");
        let mut written = json!({
            "name": "throughput",
            "source": { "topic": "changes", "embedded": { "path": self.path("log.db") } },
            "sink": { "url": format!("sqlite://{}", self.path("rows.db")) },
            "transform": {
                "rules": [programs().join("rules").join(rules)]
            },
            "http": { "listen": format!("127.0.0.1:{}", support::free_port()) },
        });
        if let (Some(source), Value::Object(more)) = (written["source"].as_object_mut(), more) {
            source.extend(more);
        }
        fs::write(&topology, written.to_string()).expect("the topology is written");
        let schema = Rowcast::run(&["schema", "--topology", &topology]).stdout;
        let schema = String::from_utf8(schema).expect("the schema is UTF-8");
        // the table of the bench has what rowcast fills if it is there
        self.execute(&schema);
        self.execute("ALTER TABLE patient ADD COLUMN source_resource_id text");
        let records = format!("{}/{records}", self.path("workload"));
        Rowcast::run(&["produce", "--topology", &topology, "--as", "records", &records]);
        Rowcast::run(&["run", "--topology", &topology, "--until-idle", "100ms"]);
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn execute(&self, script: &str) {
        let url = format!("sqlite://{}?mode=rwc", self.path("rows.db"));
        support::block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
            let script = sqlx::raw_sql(AssertSqlSafe(script.to_owned()));
            connection.execute(script).await.expect("the script runs");
            connection.close().await.expect("closed");
        });
    }

    /// What the bench's check says; it fails if anything is wrong.
    fn verdict(&self, more: &[&str]) -> String {
        let (workload, database) =
            (self.path("workload"), format!("sqlite://{}", self.path("rows.db")));
        let check = Command::new("python3")
            .current_dir(programs())
            .args(["check.py", "--workload", &workload, "--database", &database])
            .args(more)
            .output()
            .expect("python3 runs");
        let said = String::from_utf8_lossy(&check.stdout).trim_end().to_owned();
        let right = said == "check: every row is right";
        assert_eq!(check.status.success(), right, "{}", String::from_utf8_lossy(&check.stderr));
        said
    }
}

/// Where the bench's programs are.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/throughput")
}
