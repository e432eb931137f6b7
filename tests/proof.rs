//! The proof, in its short form: a shuffled, repeated, deleting stream of changes goes through the
//! `rowcast` binary, which is killed and ended on the way; then every row is compared with what an
//! independent program (`tests/oracle`, Python) computes from the same stream. The long form is
//! `make proof`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::support::process::run_program;
use crate::support::{self, Rowcast};

const ENOUGH: Duration = Duration::from_mins(2);

/// How deletes are told.
#[derive(Clone, Copy, PartialEq)]
enum Deletes {
    /// With their version, in any order.
    Versioned,
    /// As tombstones, in key order.
    Versionless,
}

#[test]
fn kafka_to_postgres_is_right_after_kills() {
    kafka_to_postgres(Deletes::Versioned);
}

#[test]
fn kafka_to_postgres_is_right_with_tombstones_after_kills() {
    kafka_to_postgres(Deletes::Versionless);
}

#[test]
fn embedded_to_sqlite_is_right_after_kills() {
    embedded_to_sqlite(Deletes::Versioned);
}

#[test]
fn embedded_to_sqlite_is_right_with_tombstones_after_kills() {
    embedded_to_sqlite(Deletes::Versionless);
}

#[test]
fn the_oracle_finds_what_is_broken_in_sqlite_and_postgres() {
    let database = support::requires_postgres().map(|postgres| postgres.database("broken"));
    let url = database.as_ref().map(support::Database::url);
    python("self_test.py", url.as_slice());
}

fn kafka_to_postgres(deletes: Deletes) {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let database = postgres.database("proof");
    let topic = kafka.topic("proof", 4);
    // Short sessions: a killed member is otherwise waited for.
    let source = format!(
        "{{ topic: {}, kafka: {{ bootstrap.servers: '{}', session.timeout.ms: 1500, \
         heartbeat.interval.ms: 300 }} }}",
        topic.name(),
        kafka.servers()
    );
    let proof = Proof::prepare(deletes, &source, database.url());
    database.execute(&proof.schema());
    proof.feed_kill_and_compare(database.url());
}

fn embedded_to_sqlite(deletes: Deletes) {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("rows.db").display().to_string();
    let log = folder.path().join("log.db").display().to_string();
    let source = format!("{{ topic: proof, embedded: {{ path: '{log}' }} }}");
    let proof = Proof::prepare(deletes, &source, &format!("sqlite://{rows}"));
    let schema = proof.schema();
    support::block_on(async {
        let url = format!("sqlite://{rows}?mode=rwc");
        let mut connection = SqliteConnection::connect(&url).await.expect("a new file");
        connection.execute(sqlx::raw_sql(AssertSqlSafe(schema))).await.expect("the tables");
        connection.close().await.expect("closed");
    });
    proof.feed_kill_and_compare(&rows);
}

/// A folder with the stream and the topology.
struct Proof {
    folder: tempfile::TempDir,
}

impl Proof {
    fn prepare(deletes: Deletes, source: &str, sink: &str) -> Self {
        let proof = Self { folder: tempfile::tempdir().expect("a folder") };
        let (input, records) = (proof.path("input"), proof.path("records.ndjson"));
        python("synthetic.py", &["--seed", "7", "--resources", "300", "--out", &input]);
        let mut feeding =
            vec!["--seed", "7", "--input", &input, "--out", &records, "--poison", "9"];
        if deletes == Deletes::Versionless {
            feeding.push("--versionless");
        }
        python("feed.py", &feeding);
        let topology = format!(
            "name: {}\nsource: {source}\nsink: {{ url: '{sink}' }}\n\
             transform: {{ rules: ['{}/topology/rules/*.json'] }}\n\
             batch: {{ rows: 50 }}\nhttp: {{ listen: '127.0.0.1:{}' }}\n",
            support::unique("proof"),
            env!("CARGO_MANIFEST_DIR"),
            support::free_port()
        );
        fs::write(proof.path("topology.yaml"), topology).expect("the topology is written");
        proof
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn schema(&self) -> String {
        let printed = Rowcast::run(&["schema", "--topology", &self.path("topology.yaml")]);
        String::from_utf8(printed.stdout).expect("the schema is UTF-8")
    }

    fn feed_kill_and_compare(&self, database: &str) {
        let (topology, records) = (self.path("topology.yaml"), self.path("records.ndjson"));
        Rowcast::run(&["produce", "--topology", &topology, "--as", "records", &records]);
        let run = ["run", "--topology", &topology, "--until-idle", "1s"];
        for moment in [150, 400, 900, 2200] {
            let mut rowcast = Rowcast::start(&run);
            std::thread::sleep(Duration::from_millis(moment));
            rowcast.kill();
        }
        let mut rowcast = Rowcast::start(&run);
        std::thread::sleep(Duration::from_millis(1800));
        if rowcast.ended().is_none() {
            rowcast.terminate();
        }
        let status = rowcast.wait(ENOUGH);
        assert!(status.success(), "asked to end, it ended with {status}: {}", rowcast.messages());
        let mut rowcast = Rowcast::start(&run);
        let status = rowcast.wait(ENOUGH);
        assert!(status.success(), "it ended with {status}: {}", rowcast.messages());

        let listing = ["dead-letters", "list", "--topology", &topology, "--output", "json"];
        let letters = self.path("letters.ndjson");
        fs::write(&letters, Rowcast::run(&listing).stdout).expect("the letters are written");
        let verdict = python(
            "oracle.py",
            &["--records", &records, "--letters", &letters, "--database", database],
        );
        assert!(verdict.contains("oracle: right"), "{verdict}");
    }
}

fn python(program: &str, arguments: &[&str]) -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut all = vec![program];
    all.extend(arguments);
    run_program("python3", &all, &folder)
}

/// They are run by `make mutations`, for half an hour; this only keeps them from growing stale.
#[test]
fn every_mutation_still_fits_the_sources() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutations.sh");
    let ended = Command::new("bash").args([script, "--fits"]).output().expect("bash runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
