//! Several topics, each with its format and its source of versions.

use serde_json::{Value, json};

use super::operations::{WRITERS, Writer, expected, table};
use crate::support::pipeline::{Pipeline, RULES};

pub(super) fn writer(name: &str) -> &'static Writer {
    WRITERS.iter().find(|writer| writer.name == name).expect("a writer")
}

pub(super) fn produce(pipeline: &Pipeline, topic: &str, lines: &[String]) {
    let file = pipeline.path("lines.ndjson");
    std::fs::write(&file, lines.join("\n")).expect("lines are written");
    pipeline.expect(&["produce", "--as", "records", "--topic", topic, &file]);
}

#[test]
fn topics_have_formats_and_version_sources_of_their_own() {
    let source = "
source:
  embedded: { path: log.db }
  topics:
    - { topic: server, format: hapi }
    - topic: ^rows[.]
      format: debezium
      debezium: { document: resource, type: Patient, id: id, version: txid }
    - { topic: dated, version_from: last_updated }
dead_letter: { topic: letters }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    pipeline.create_tables();
    produce(&pipeline, "server", &writer("hapi").lines());
    produce(&pipeline, "rows.patient", &writer("debezium").lines());
    let dated = json!({ "resourceType": "Patient", "id": "z-dated", "name": [{ "family": "F" }],
        "meta": { "versionId": "opaque", "lastUpdated": "1970-01-01T00:00:01Z" } });
    produce(&pipeline, "dated", &[json!({ "value": dated }).to_string()]);
    // a topic with a format of its own takes no other
    let resource = json!({ "resourceType": "Patient", "id": "x", "meta": { "versionId": "1" } });
    produce(&pipeline, "server", &[json!({ "value": resource }).to_string()]);
    pipeline.run_until_idle();

    let mut rows = expected([writer("hapi"), writer("debezium")]);
    rows.push(vec!["z-dated".to_owned(), "1000000".to_owned(), "F".to_owned()]);
    assert_eq!(table(&pipeline), rows);
    let letters = pipeline.letters();
    let told: Vec<_> = letters.iter().map(|letter| (&letter["cause"], &letter["topic"])).collect();
    assert_eq!(told, [(&json!("unknown_format"), &json!("server"))], "{letters:?}");
}

#[test]
fn commands_that_need_one_topic_ask_for_its_name() {
    let source = "source: { embedded: { path: log.db }, topics: [{ topic: a }, { topic: b }] }
dead_letter: { topic: letters }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    let output = pipeline.command(&["produce"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && told.contains("--topic"), "{told}");
    let output = pipeline.command(&["produce", "--topic", "elsewhere"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("does not read `elsewhere`"), "{told}");
    let output = pipeline.command(&["offsets", "forget"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && told.contains("--topic"), "{told}");
}

#[test]
fn a_rebuild_reads_all_topics_again() {
    let source = "source: { embedded: { path: log.db }, topics: [{ topic: a }, { topic: b }] }
dead_letter: { topic: letters }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    pipeline.create_tables();
    let patient = |id: &str| {
        json!({ "key": format!("Patient/{id}"), "value": { "resourceType": "Patient", "id": id,
            "meta": { "versionId": "1" }, "gender": "female" } })
        .to_string()
    };
    produce(&pipeline, "a", &[patient("1")]);
    produce(&pipeline, "b", &[patient("2")]);
    pipeline.run_until_idle();
    pipeline.write_rules(&RULES.replace("\"Patient.gender\"", "\"Patient.id\""));
    pipeline.expect(&["rebuild"]);
    let genders: Vec<String> =
        pipeline.query("SELECT gender FROM patient ORDER BY id").into_iter().flatten().collect();
    assert_eq!(genders, ["1", "2"]);
    let described: Value =
        serde_json::from_str(&pipeline.expect(&["topology", "--output", "json"])).expect("JSON");
    assert_eq!(described["stages"][0]["settings"]["topics"], "[a, b]");
}
