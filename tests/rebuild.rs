//! `rowcast rebuild` and whose a table is, through the binary: SQLite on the embedded broker always,
//! PostgreSQL and MariaDB on Kafka where they are.

use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, deleted, patient};
use crate::support::{self, wait_for};

/// The same behaviour on all grounds.
fn on_all(rules: &str, more: &str, behaves: impl Fn(&Pipeline)) {
    behaves(&Pipeline::embedded(rules, more));
    let Some(kafka) = support::requires_kafka() else { return };
    if let Some(postgres) = support::requires_postgres() {
        let (topic, database) = (kafka.topic("rebuild", 2), postgres.database("rebuild"));
        behaves(&Pipeline::servers(kafka.servers(), topic, database, rules, more));
    }
    if let Some(mariadb) = support::requires_mariadb() {
        let (topic, database) = (kafka.topic("rebuild", 2), mariadb.database("rebuild"));
        behaves(&Pipeline::servers(kafka.servers(), topic, database, rules, more));
    }
}

/// The rules, their `gender` in capitals.
fn capitals() -> String {
    RULES.replace("\"Patient.gender\"", "\"Patient.gender.upper()\"")
}

fn only(rules: &str, condition: &str) -> String {
    rules.replace(
        "\"tableName\": \"patient\",",
        &format!("\"tableName\": \"patient\", \"where\": \"{condition}\","),
    )
}

fn female(id: &str, version: i64) -> String {
    patient(id, version, &json!({ "gender": "female" }))
}

fn male(id: &str, version: i64) -> String {
    patient(id, version, &json!({ "gender": "male" }))
}

fn genders(pipeline: &Pipeline) -> Vec<String> {
    let rows = pipeline.query("SELECT id, gender FROM patient ORDER BY id");
    rows.iter().map(|row| row.join(" ")).collect()
}

fn checked(pipeline: &Pipeline) -> String {
    let output = pipeline.command(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Runs the rebuild; its summary.
fn rebuilt(pipeline: &Pipeline, more: &[&str]) -> Value {
    let arguments = [&["rebuild", "--output", "json"], more].concat();
    serde_json::from_str(&pipeline.expect(&arguments)).expect("a summary")
}

const WARNING: &str = "the table `patient` was filled under other rules";

#[test]
fn an_edited_mapping_and_an_edited_where_reach_the_rows_that_are_there() {
    on_all(&only(RULES, "gender = 'female'"), "", |pipeline| {
        pipeline.create_tables();
        let names = json!({ "gender": "female", "name": [{ "family": "A" }, { "family": "B" }] });
        pipeline.produce(&[
            female("a", 1),
            patient("b", 7, &names),
            male("c", 1),
            female("gone", 1),
            deleted("gone", 2),
            male("never", 3),
            deleted("never", 3),
        ]);
        pipeline.run_until_idle();
        assert_eq!(genders(pipeline), ["a female", "b female"]);
        assert!(!checked(pipeline).contains(WARNING));

        let edited = only(&capitals(), "gender = 'male' or id = 'b'")
            .replace("Patient.name\"", "Patient.name.first()\"");
        pipeline.write_rules(&edited);
        assert!(checked(pipeline).contains(WARNING));
        let said = pipeline.run_until_idle();
        assert!(
            said.contains(WARNING) && said.contains("rowcast rebuild --table patient"),
            "{said}"
        );
        assert_eq!(genders(pipeline), ["a female", "b female"], "without a rebuild all stays");

        let summary = rebuilt(pipeline, &["--table", "patient"]);
        assert_eq!(genders(pipeline), ["b FEMALE", "c MALE"]);
        assert_eq!(summary["read"], 7, "{summary}");
        assert_eq!(summary["written"], 2, "{summary}");
        assert_eq!(
            (&summary["left_out"], &summary["refused"]),
            (&json!(2), &json!(0)),
            "{summary}"
        );
        let families = pipeline.query("SELECT family FROM patient_name ORDER BY family");
        assert_eq!(families, [["A"], ["F1"]]);
        assert!(!checked(pipeline).contains(WARNING), "the warning is gone");
        assert!(!pipeline.run_until_idle().contains(WARNING));

        // and back: what is deleted stays deleted, whatever the rules say
        pipeline.write_rules(RULES);
        rebuilt(pipeline, &[]);
        assert_eq!(genders(pipeline), ["a female", "b female", "c male"]);
    });
}

#[test]
fn live_traffic_goes_on_during_a_rebuild_and_newer_versions_win() {
    on_all(RULES, "batch: { rows: 50 }", |pipeline| {
        pipeline.create_tables();
        let some = |version: i64| -> Vec<String> {
            (0..3000).map(|n| female(&format!("p{n:04}"), version)).collect()
        };
        pipeline.produce(&some(1));
        pipeline.run_until_idle();
        pipeline.write_rules(&capitals());
        let mut run = pipeline.start(&["run"]);
        pipeline.wait_until_ready(Ready::Yes);
        let mut rebuild = pipeline.start(&["rebuild"]);
        let newer: Vec<_> = (0..3000).step_by(3).map(|n| male(&format!("p{n:04}"), 2)).collect();
        pipeline.produce(&newer);
        assert!(rebuild.wait(SOON * 2).success(), "{}", rebuild.messages());
        let count = |gender: &str| {
            pipeline.query(&format!("SELECT id FROM patient WHERE gender = '{gender}'")).len()
        };
        wait_for("the newer versions", SOON, || (count("MALE") == 1000).then_some(()));
        assert_eq!(count("FEMALE"), 2000);
        let families = pipeline.query("SELECT family FROM patient_name WHERE family = 'F2'");
        assert_eq!((families.len(), pipeline.patients().len()), (1000, 3000));
        run.terminate();
        assert!(run.wait(SOON).success(), "{}", run.messages());
        assert!(pipeline.letters().is_empty());
        assert!(!checked(pipeline).contains(WARNING));
    });
}

#[test]
fn a_killed_rebuild_goes_on_where_it_was() {
    on_all(RULES, "", |pipeline| {
        pipeline.create_tables();
        let lines: Vec<_> = (0..12_000).map(|n| female(&format!("p{n:05}"), 1)).collect();
        pipeline.produce(&lines);
        pipeline.run_until_idle();
        pipeline.write_rules(&capitals());
        let done = || pipeline.query("SELECT id FROM patient WHERE gender = 'FEMALE'").len();
        let mut rebuild = pipeline.start(&["rebuild"]);
        wait_for("the first rows", SOON, || (done() > 0).then_some(()));
        rebuild.kill();
        let before = done();
        assert!((1..12_000).contains(&before), "{before} rows were rebuilt before the kill");
        assert_eq!(pipeline.patients().len(), 12_000, "no row vanishes meanwhile");
        assert!(checked(pipeline).contains(WARNING), "it is not through");
        let summary = rebuilt(pipeline, &[]);
        let read = summary["read"].as_u64().unwrap_or_default();
        // what was written and not yet noted as done is read again: one batch of a partition at most
        assert!(read <= 12_000 - before as u64 + 1000, "{before} were done, {read} read again");
        assert_eq!(done(), 12_000);
        assert!(!checked(pipeline).contains(WARNING));
        assert!(
            pipeline
                .query("SELECT topic FROM rowcast_task WHERE name LIKE '% rebuild %'")
                .is_empty()
        );
    });
}

#[test]
fn a_second_topology_cannot_fill_the_table_unless_it_takes_it_over() {
    on_all(RULES, "", |pipeline| {
        pipeline.create_tables();
        pipeline.produce(&[female("a", 1)]);
        pipeline.run_until_idle();
        let file = pipeline.path("topology.yaml");
        let topology = std::fs::read_to_string(&file).expect("it is there");
        let first = topology.lines().next().and_then(|line| line.strip_prefix("name: "));
        let first = first.expect("the name comes first").to_owned();
        std::fs::write(&file, topology.replace(&first, "second")).expect("it is written");
        for command in [&["check"][..], &["run", "--until-idle", "1s"], &["rebuild", "--yes"]] {
            let output = pipeline.command(command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{command:?}: {said}");
            for named in ["patient", &first, "second", "--take-over"] {
                assert!(said.contains(named), "{command:?} does not name {named}: {said}");
            }
        }
        let unasked = pipeline.command(&["rebuild", "--table", "patient", "--take-over"]);
        assert_eq!(unasked.status.code(), Some(2));
        rebuilt(pipeline, &["--table", "patient", "--take-over", "--yes"]);
        assert!(!checked(pipeline).contains(WARNING));
        pipeline.run_until_idle();
        std::fs::write(&file, topology).expect("it is written");
        assert_eq!(pipeline.command(&["check"]).status.code(), Some(78));
    });
}

#[test]
fn clearing_needs_every_instance_stopped_and_the_next_run_fills_the_table_anew() {
    on_all(&only(RULES, "gender = 'female'"), "", |pipeline| {
        pipeline.create_tables();
        pipeline.produce(&[
            female("a", 1),
            male("b", 1),
            female("gone", 1),
            json!({ "key": "Patient/gone", "value": null }).to_string(),
            female("again", 1),
            json!({ "key": "Patient/again", "value": null }).to_string(),
            female("again", 2),
        ]);
        let mut run = pipeline.start(&["run"]);
        pipeline.wait_for_patients(2);
        pipeline.write_rules(&capitals());
        let refused = pipeline.command(&["rebuild", "--clear", "--yes"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("run"), "{said}");
        assert_eq!(pipeline.patients().len(), 2, "nothing was cleared");
        run.terminate();
        assert!(run.wait(SOON).success());

        let unasked = pipeline.command(&["rebuild", "--clear"]);
        assert_eq!(unasked.status.code(), Some(2));
        pipeline.expect(&["rebuild", "--clear", "--yes"]);
        assert!(pipeline.patients().is_empty());
        assert!(pipeline.query("SELECT family FROM patient_name").is_empty());
        assert!(!pipeline.run_until_idle().contains(WARNING));
        assert_eq!(genders(pipeline), ["a FEMALE", "again FEMALE", "b MALE"]);
    });
}

#[test]
fn what_a_rebuild_cannot_write_is_told_and_the_warning_stays() {
    on_all(RULES, "", |pipeline| {
        pipeline.create_tables();
        let two_cities = json!({ "address": [{ "city": "A" }, { "city": "B" }], "gender": "male" });
        pipeline
            .write_rules(&RULES.replace("Patient.address.city", "Patient.address.first().city"));
        pipeline.produce(&[patient("CANARY", 1, &two_cities), female("a", 1)]);
        pipeline.run_until_idle();
        pipeline.write_rules(&capitals());
        let output = pipeline.command(&["rebuild", "--output", "json"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        let summary: Value = serde_json::from_slice(&output.stdout).expect("a summary");
        assert_eq!((&summary["written"], &summary["refused"]), (&json!(1), &json!(1)));
        assert_eq!(summary["refusals"][0]["cause"], "multiple_values");
        assert_eq!(summary["refusals"][0]["column"], "city");
        assert!(!said.contains("CANARY") && !summary.to_string().contains("CANARY"));
        assert_eq!(genders(pipeline), ["CANARY male", "a FEMALE"], "its rows stay as they were");
        assert!(pipeline.letters().is_empty());
        assert!(checked(pipeline).contains(WARNING));
        let summary = rebuilt(pipeline, &["--accept-refused"]);
        assert_eq!(summary["rules_recorded"], true);
        assert!(!checked(pipeline).contains(WARNING));
    });
}

#[test]
fn a_file_of_resources_fills_what_the_topic_no_longer_holds() {
    on_all(RULES, "", |pipeline| {
        pipeline.create_tables();
        pipeline.produce(&[female("a", 1), female("b", 2), female("gone", 1), deleted("gone", 2)]);
        pipeline.run_until_idle();
        pipeline.write_rules(&capitals());
        let resource = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("a record");
            record["value"].to_string()
        };
        let lines = [female("a", 1), male("b", 1), female("gone", 1), male("new", 1)];
        let lines: Vec<_> = lines.iter().map(|line| resource(line)).collect();
        std::fs::write(pipeline.path("export.ndjson"), lines.join("\n")).expect("written");
        let file = pipeline.path("export.ndjson");
        let summary = rebuilt(pipeline, &["--from-ndjson", &file]);
        assert_eq!((&summary["written"], &summary["stale"]), (&json!(2), &json!(2)), "{summary}");
        assert_eq!(genders(pipeline), ["a FEMALE", "b female", "new MALE"]);
    });
}

#[test]
fn a_table_that_is_no_root_is_refused_with_the_ones_there_are() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    for (table, said_of_it) in
        [("patient_name", "child table of `patient`"), ("x", "there are: patient")]
    {
        let output = pipeline.command(&["rebuild", "--table", table]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(said_of_it), "{said}");
    }
}

#[test]
fn writers_of_an_unkeyed_topic_wait_for_who_holds_the_table() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("unkeyed", 1), postgres.database("unkeyed"));
    let url = database.url().to_owned();
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let file = pipeline.path("topology.yaml");
    let topology = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, topology.replace("source: {", "source: { keyed: false,"))
        .expect("written");
    pipeline.produce(&[female("a", 1)]);
    let mut run = support::block_on(async {
        use sqlx::Connection as _;
        let mut holder = sqlx::PgConnection::connect(&url).await.expect("it connects");
        let mut held = holder.begin().await.expect("it begins");
        sqlx::raw_sql("SELECT pg_advisory_xact_lock(hashtextextended('public.patient', 0))")
            .execute(&mut *held)
            .await
            .expect("it is free");
        let run = pipeline.start(&["run"]);
        pipeline.wait_until_ready(Ready::Yes);
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert!(pipeline.patients().is_empty(), "the table is held");
        held.rollback().await.expect("it lets go");
        run
    });
    pipeline.wait_for_patients(1);
    run.terminate();
    assert!(run.wait(SOON).success());
}
