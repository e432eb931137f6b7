//! Whoever decodes in a process of its own brings the schemas first: the commands, and the retry tier
//! after a restart. One that forgot it would take Avro for a value of an unknown schema.

use super::pipeline::{patient, schema, send, source};
use super::server::Server;
use crate::support::pipeline::{Pipeline, RULES, SOON};
use crate::support::wait_for;

/// An embedded topology with a registry that knows the schema 7; no tables yet.
fn with_registry(more: &str) -> (Pipeline, Server) {
    let pipeline = Pipeline::embedded(RULES, more);
    let server = Server::start();
    server.put("/schemas/ids/7", &schema());
    source(&pipeline, &format!("schema_registry: {{ url: '{}' }}", server.url()));
    (pipeline, server)
}

#[test]
fn letters_in_avro_are_edited_and_tested_with_the_registry_too() {
    let (pipeline, _server) = with_registry("");
    pipeline.create_tables();
    let (key, whole) = patient(7, "cut");
    let cut = whole.iter().copied().take(whole.len() - 3).collect();
    send(&pipeline, vec![(key, cut)]);
    pipeline.run_until_idle();
    let letters = pipeline.letters();
    let id = letters.first().and_then(|letter| letter["id"].as_str()).expect("a letter");

    let file = pipeline.path("mended.avro");
    let edit = ["dead-letters", "edit", id, "--with", &file];
    for (value, objection) in [
        (patient(8, "cut").1, "no schema with the id"),
        (patient(7, "other").1, "different resources"),
    ] {
        std::fs::write(&file, value).expect("it is written");
        let refused = pipeline.command(&edit);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(objection), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    std::fs::write(&file, whole).expect("it is written");
    pipeline.expect(&edit);
    pipeline.expect(&["dead-letters", "test"]);
    assert!(pipeline.patients().is_empty());
    pipeline.expect(&["dead-letters", "replay"]);
    assert_eq!(pipeline.patients(), ["cut"]);
}

#[test]
fn a_letter_in_avro_is_replayed_by_a_process_that_has_read_nothing_before() {
    let (pipeline, server) = with_registry("");
    pipeline.create_tables();
    pipeline.execute(
        "CREATE TRIGGER refuses BEFORE INSERT ON patient BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    send(&pipeline, vec![patient(7, "p")]);
    pipeline.run_until_idle();
    assert_eq!(pipeline.letters().len(), 1);
    pipeline.execute("DROP TRIGGER refuses");
    let before = server.asked().len();
    pipeline.expect(&["dead-letters", "replay", "--dry-run"]);
    assert!(pipeline.patients().is_empty());
    pipeline.expect(&["dead-letters", "replay"]);
    assert_eq!(pipeline.patients(), ["p"]);
    assert_eq!(server.asked().len() - before, 2, "once by each of the two commands");
}

#[test]
fn a_record_that_waits_for_a_retry_is_read_after_a_restart() {
    let (pipeline, server) = with_registry("retry: { delay: 1h, maximum_delay: 1h }");
    let ddl = pipeline.expect(&["schema"]);
    let keyed = ddl.replace("\"gender\" TEXT", "\"gender\" TEXT REFERENCES known (code)");
    assert_ne!(keyed, ddl);
    pipeline.execute(&format!("CREATE TABLE known (code TEXT PRIMARY KEY); {keyed}"));
    send(&pipeline, vec![patient(7, "p")]);
    let mut run = pipeline.start(&["run"]);
    wait_for("one that waits", SOON, || {
        let waiting = pipeline.metric("rowcast_retry_waiting_records", &[]);
        waiting.filter(|waiting| (waiting - 1.0).abs() < 0.5)
    });
    run.terminate();
    assert!(run.wait(SOON).success(), "{}", run.messages());
    pipeline.execute("INSERT INTO known VALUES ('female')");
    let before = server.asked().len();
    // nothing is left in the ingest topic that would bring the schema by the way
    let sooner = ["--set", "retry.maximum_delay=50ms", "--set", "retry.delay=50ms"];
    let mut run = pipeline.start(&[&["run", "--until-idle", "1s"], &sooner[..]].concat());
    assert!(run.wait(SOON).success(), "{}", run.messages());
    assert_eq!(pipeline.letters(), Vec::<serde_json::Value>::new());
    assert_eq!(pipeline.patients(), ["p"]);
    assert_eq!(server.asked().len() - before, 1);
}

#[test]
fn a_rebuild_reads_avro_again() {
    let (pipeline, _server) = with_registry("");
    pipeline.create_tables();
    send(&pipeline, (0..3).map(|n| patient(7, &format!("p{n}"))).collect());
    pipeline.run_until_idle();
    pipeline.write_rules(&RULES.replace("\"Patient.gender\"", "\"Patient.gender.upper()\""));
    pipeline.expect(&["rebuild"]);
    assert_eq!(pipeline.query("SELECT DISTINCT gender FROM patient"), [["FEMALE"]]);
    assert_eq!(pipeline.letters(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_file_with_an_avro_value_is_explained() {
    let (pipeline, server) = with_registry("");
    let file = pipeline.path("value.avro");
    std::fs::write(&file, patient(7, "p").1).expect("it is written");
    let explained = pipeline.expect(&["explain", &file]);
    assert!(explained.starts_with("Patient, version 1: written\n"), "{explained}");
    assert!(explained.contains("secret-family"), "the rows are shown: {explained}");
    server.change(|contents| contents.failing = Some(401));
    let refused = pipeline.command(&["explain", &file]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("refuses our credentials"), "{said}");
}
