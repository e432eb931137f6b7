//! Systemic failures of a real database under a running `rowcast`: the partition pauses, nothing is
//! committed or dead-lettered, `/readyz` is red and says why, and once the cause is gone everything
//! goes on by itself and nothing is lost.

use std::time::Duration;

use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker as _, OutgoingRecord};
use serde_json::json;

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::small_disk::SmallDisk;
use crate::support::{self, Database, Instance, Mariadb, Postgres, wait_for};

const RECORDS: usize = 300;

/// What `/readyz` and the metrics say of the failure.
struct Told {
    message: &'static str,
    /// Whether it is a circuit, which a person closes, or a database that comes back by itself.
    circuit: bool,
}

fn circuit(message: &'static str) -> Told {
    Told { message, circuit: true }
}

fn noise(seed: usize) -> String {
    let mut state = seed as u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    };
    std::iter::repeat_with(&mut next).take(200).collect()
}

/// Three kilobytes that no database makes smaller.
fn records(from: usize) -> Vec<String> {
    let record = |n: usize| {
        let canary = json!({ "gender": "canary-5f1c", "address": [{ "city": noise(n) }] });
        patient(&format!("p{n:05}"), 1, &canary)
    };
    (from..from + RECORDS).map(record).collect()
}

/// Breaks something below a running rowcast and mends it.
fn pauses_and_recovers(
    pipeline: &Pipeline,
    more: &[&str],
    told: &Told,
    breaks: impl Fn(),
    mends: impl Fn(),
) {
    pipeline.produce(&records(0));
    let run = [&["run"], more].concat();
    let mut run = pipeline.start(&run);
    pipeline.wait_for_patients(RECORDS);
    pipeline.wait_until_ready(Ready::Yes);
    let committed = || pipeline.metric("rowcast_consumer_committed_offset", &[]);
    let all_committed =
        |count: f64| committed().filter(|offset| (offset - count).abs() < 0.5).map(drop);
    wait_for("the first commit", SOON, || all_committed(300.0));

    breaks();
    // a database with little room left takes some of them yet
    let mut produced = RECORDS;
    let said = wait_for("an unready answer", SOON * 2, || {
        if produced < 40 * RECORDS {
            pipeline.produce(&records(produced));
            produced += RECORDS;
        }
        std::thread::sleep(Duration::from_millis(500));
        let answer = support::http::get(pipeline.port(), "/readyz")?;
        (answer.status == 503).then_some(answer.body)
    });
    assert!(said.contains(told.message), "{said}");
    let open = || pipeline.metric("rowcast_circuit_open", &[("component", "database")]);
    assert_eq!(open().unwrap_or_default() > 0.5, told.circuit, "{said}");
    let before = committed();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(committed(), before, "nothing is committed meanwhile");
    assert!(before < Some(produced_as_f64(produced)), "something waits");
    assert!(run.ended().is_none(), "{}", run.messages());

    mends();
    pipeline.wait_for_patients(produced);
    wait_for("the last commit", SOON, || all_committed(produced_as_f64(produced)));
    pipeline.wait_until_ready(Ready::Yes);
    assert_eq!(open(), Some(0.0));
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    assert_eq!(pipeline.letters().len(), 0);
    assert!(!run.messages().contains("canary"), "{}", run.messages());
}

fn produced_as_f64(records: usize) -> f64 {
    f64::from(u32::try_from(records).expect("few records"))
}

/// The same on SQLite, and on PostgreSQL and MariaDB where they are.
fn on_each(behaves: impl Fn(&Pipeline)) {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    behaves(&pipeline);
    for database in servers() {
        let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
        pipeline.create_tables();
        behaves(&pipeline);
    }
}

/// A database on each server there is.
fn servers() -> impl Iterator<Item = Database> {
    let postgres = support::requires_postgres().map(|server| server.database("circuit"));
    let mariadb = support::requires_mariadb().map(|server| server.database("circuit"));
    [postgres, mariadb].into_iter().flatten()
}

/// A user of the database who may only read and write, and the url for them.
fn ordinary(database: &Database) -> (String, String) {
    let name = support::unique("user").replace("rowcast_test_", "");
    let mut url = url::Url::parse(database.url()).expect("a url");
    let schema = url.path().trim_start_matches('/').to_owned();
    if url.scheme() == "mysql" {
        database.execute(&format!(
            "CREATE USER {name} IDENTIFIED BY 'ordinary'; \
             GRANT SELECT, UPDATE, DELETE ON {schema}.* TO {name}; \
             GRANT INSERT ON {schema}.* TO {name}"
        ));
    } else {
        database.execute(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'ordinary'; GRANT USAGE ON SCHEMA public TO {name}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
        ));
    }
    url.set_username(&name).expect("a user");
    url.set_password(Some("ordinary")).expect("a password");
    (name, url.into())
}

/// A pipeline on the database as this user; all tables are made by another.
fn as_ordinary(database: &Database) -> (Pipeline, String) {
    let maker = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
    maker.create_tables();
    maker.run_until_idle();
    // they belong to who comes next
    maker.execute("DELETE FROM rowcast_table");
    let (name, url) = ordinary(database);
    (Pipeline::embedded_at(url, RULES, ""), name)
}

#[test]
fn a_dropped_column_pauses_everything_until_it_is_back() {
    on_each(|pipeline| {
        pauses_and_recovers(
            pipeline,
            &[],
            &circuit("gender"),
            || pipeline.execute("ALTER TABLE patient DROP COLUMN gender"),
            || pipeline.execute("ALTER TABLE patient ADD COLUMN gender text"),
        );
    });
}

#[test]
fn a_lost_privilege_pauses_everything_until_it_is_granted() {
    for database in servers() {
        let (pipeline, name) = as_ordinary(&database);
        let is_mysql = database.url().starts_with("mysql");
        let on = if is_mysql {
            database.url().rsplit('/').next().map(|schema| format!("{schema}.*")).expect("a path")
        } else {
            "ALL TABLES IN SCHEMA public".to_owned()
        };
        let end = if is_mysql {
            // sessions keep what they were allowed on a whole database
            format!("; KILL USER {name}")
        } else {
            String::new()
        };
        pauses_and_recovers(
            &pipeline,
            &[],
            &circuit("privilege"),
            || database.execute(&format!("REVOKE INSERT ON {on} FROM {name}{end}")),
            || database.execute(&format!("GRANT INSERT ON {on} TO {name}")),
        );
    }
}

#[test]
fn a_database_that_became_read_only_pauses_everything_until_it_takes_writes() {
    if let Some(server) = support::requires_postgres() {
        let database = server.database("circuit");
        let (pipeline, name) = as_ordinary(&database);
        let sessions = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
        );
        let set = |switch| {
            database.execute(&format!(
                "ALTER ROLE {name} SET default_transaction_read_only = {switch}; {sessions}"
            ));
        };
        pauses_and_recovers(&pipeline, &[], &circuit("read-only"), || set("on"), || set("off"));
    }
    if let Some(server) = support::requires_own_mariadb() {
        let database = Mariadb::at(server.address()).database("circuit");
        let (pipeline, _) = as_ordinary(&database);
        let set = |switch| database.execute(&format!("SET GLOBAL read_only = {switch}"));
        pauses_and_recovers(&pipeline, &[], &circuit("read-only"), || set(1), || set(0));
    }
}

/// A server of the test's own with a database on it.
fn own_postgres() -> Option<(Instance, Database)> {
    let server = support::requires_own_postgres()?;
    let database = Postgres::at(server.address()).database("circuit");
    Some((server, database))
}

/// The same.
fn own_mariadb() -> Option<(Instance, Database)> {
    let server = support::requires_own_mariadb()?;
    let database = Mariadb::at(server.address()).database("circuit");
    Some((server, database))
}

#[test]
fn a_full_disk_pauses_everything_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(48, "root") else { return };
    let url = format!("sqlite://{}?mode=rwc", disk.path().join("rows.db").display());
    let pipeline = Pipeline::embedded_at(url, RULES, "");
    pipeline.create_tables();
    pauses_and_recovers(&pipeline, &[], &circuit("make room"), || disk.fill(), || disk.make_room());

    for owner in ["postgres", "nobody"] {
        // before the server, which would not live on without it
        let Some(disk) = SmallDisk::mount(64, owner) else { return };
        let place = disk.path().display();
        let is_mysql = owner == "nobody";
        let server = if is_mysql { own_mariadb() } else { own_postgres() };
        let Some((_server, database)) = server else { continue };
        let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
        if is_mysql {
            let ddl = pipeline.expect(&["schema"]);
            let on_small = |statement: &str| {
                let is_patient = statement.contains("CREATE TABLE `patient` (");
                let place = is_patient.then(|| format!(" DATA DIRECTORY = '{place}'"));
                statement.trim_end_matches([';', '\n']).to_owned() + &place.unwrap_or_default()
            };
            let ddl: Vec<_> = ddl.split(";\n").map(on_small).collect();
            pipeline.execute(&ddl.join(";\n"));
        } else {
            pipeline.create_tables();
            pipeline.execute(&format!("CREATE TABLESPACE small LOCATION '{place}'"));
            pipeline.execute("ALTER TABLE patient SET TABLESPACE small");
        }
        let (fill, room) = (|| disk.fill(), || disk.make_room());
        pauses_and_recovers(&pipeline, &[], &circuit("make room"), fill, room);
    }
}

#[test]
fn a_server_that_is_stopped_killed_or_frozen_is_waited_for() {
    for (server, database) in [own_postgres(), own_mariadb()].into_iter().flatten() {
        let ends: [fn(&Instance); 3] = [Instance::stop, Instance::kill, Instance::freeze];
        let begins: [fn(&Instance); 3] =
            [Instance::start_again, Instance::start_again, Instance::thaw];
        let refused = "connection refused";
        for ((ends, begins), message) in ends.iter().zip(begins).zip([refused, refused, "no "]) {
            let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
            pipeline.create_tables();
            let told = Told { message, circuit: false };
            let more = ["--set", "sink.statement_timeout=1s", "--set", "sink.connect_timeout=2s"];
            pauses_and_recovers(&pipeline, &more, &told, || ends(&server), || begins(&server));
            pipeline.execute("DROP TABLE patient_name");
            pipeline.execute("DROP TABLE patient");
            pipeline.execute("DELETE FROM rowcast_table");
        }
    }
}

/// Deletes without version, as a compacted topic has them.
fn append_tombstones(pipeline: &Pipeline, ids: impl Iterator<Item = String>) {
    let tombstone = |id: String| OutgoingRecord {
        topic: "changes".into(),
        partition: None,
        key: Some(format!("Patient/{id}").into()),
        value: None,
        headers: Vec::new(),
    };
    let tombstones = ids.map(tombstone).collect();
    support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let sent = broker.producer().expect("a producer").send(tombstones).await;
        assert!(sent.iter().all(Result::is_ok));
    });
}

#[test]
fn deletes_that_a_key_refuses_are_applied_once_it_is_gone() {
    on_each(|pipeline| {
        let ids = || (0..200).map(|n| format!("p{n}"));
        pipeline.produce(&ids().map(|id| patient(&id, 1, &json!({}))).collect::<Vec<_>>());
        pipeline.run_until_idle();
        let notes = if pipeline.url().starts_with("sqlite") {
            "CREATE TABLE note (patient_id text REFERENCES patient (id)); \
             INSERT INTO note SELECT id FROM patient"
        } else {
            "CREATE TABLE note AS SELECT id AS patient_id FROM patient; \
             ALTER TABLE note ADD FOREIGN KEY (patient_id) REFERENCES patient (id)"
        };
        pipeline.execute(notes);
        append_tombstones(pipeline, ids());
        let mut run = pipeline.start(&["run"]);
        let open = || pipeline.metric("rowcast_circuit_open", &[("component", "rules")]);
        wait_for("the circuit to open", SOON, || open().filter(|open| *open > 0.5));
        // meanwhile it is tried again, and refused again for the same cause
        std::thread::sleep(Duration::from_secs(3));
        assert!(open() > Some(0.5));
        let ready = support::http::get(pipeline.port(), "/readyz").expect("an answer").body;
        assert!(ready.contains("constraint_foreign_key"), "{ready}");
        assert!(!ready.contains("does not take writes"), "{ready}");
        pipeline.execute("DELETE FROM note");
        wait_for("the circuit to close", SOON, || open().filter(|open| *open < 0.5));
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        // those that were refused last before it went are letters, and all others are applied
        let letters = pipeline.letters();
        assert!(letters.len() < 100, "{} letters", letters.len());
        assert!(letters.iter().all(|letter| letter["cause"] == "constraint_foreign_key"));
        let left = pipeline.query("SELECT id FROM patient").len();
        assert_eq!(left, letters.len(), "and no other is left");
    });
}

#[test]
fn a_batch_too_slow_for_the_statement_timeout_is_written_in_smaller_ones() {
    let Some(server) = support::requires_postgres() else { return };
    let database = server.database("circuit");
    let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
    pipeline.create_tables();
    pipeline.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON patient FOR EACH ROW EXECUTE FUNCTION dawdle()",
    );
    pipeline.produce(&records(0));
    let mut run = pipeline.start(&["run", "--set", "sink.statement_timeout=1s"]);
    pipeline.wait_for_patients(RECORDS);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    assert!(run.messages().contains("57014"), "{}", run.messages());
    assert_eq!(pipeline.letters().len(), 0);
}
