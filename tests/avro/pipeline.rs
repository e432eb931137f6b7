//! The whole way, through the binary: Avro in, rows out, with the registry there and away. Embedded
//! broker and SQLite always; Kafka and PostgreSQL where they are.

use apache_avro::types::Value as AvroValue;
use bytes::Bytes;
use rowcast::Application;
use rowcast::broker::OutgoingRecord;
use serde_json::{Value, json};

use super::server::Server;
use super::{encoded, framed};
use crate::support::pipeline::{Pipeline, RULES, Ready};
use crate::support::{self, Rowcast, wait_for};

fn on_both(behaves: impl Fn(&Pipeline)) {
    behaves(&Pipeline::embedded(RULES, ""));
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("avro", 2), postgres.database("avro"));
    behaves(&Pipeline::servers(kafka.servers(), topic, database, RULES, ""));
}

/// Adds members to the topology's `source`.
pub(crate) fn source(pipeline: &Pipeline, more: &str) {
    let path = pipeline.path("topology.yaml");
    let topology = std::fs::read_to_string(&path).expect("it is there");
    let topology = topology.replacen("source: {", &format!("source: {{ {more},"), 1);
    std::fs::write(path, topology).expect("it is written");
}

pub(super) fn send(pipeline: &Pipeline, values: Vec<(String, Vec<u8>)>) {
    support::block_on(async {
        let application = Application::load(pipeline.path("topology.yaml")).expect("it loads");
        let feed = application.feed().await.expect("the topic opens");
        let records = values.into_iter().map(|(key, value)| OutgoingRecord {
            topic: feed.topic().clone(),
            partition: None,
            key: Some(Bytes::from(key)),
            value: Some(Bytes::from(value)),
            headers: Vec::new(),
        });
        feed.send(records.collect()).await.expect("they are there");
    });
}

pub(crate) fn schema() -> Value {
    let human_name = json!({ "type": "record", "name": "HumanName", "fields": [
        { "name": "family", "type": ["null", "string"] } ] });
    json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" },
        { "name": "meta", "type": { "type": "record", "name": "Meta", "fields": [
            { "name": "versionId", "type": "string" } ] } },
        { "name": "birthDate", "type": ["null", { "type": "int", "logicalType": "date" }] },
        { "name": "gender", "type": "string" },
        { "name": "name", "type": { "type": "array", "items": human_name } } ] })
}

/// A patient as an Avro record by the schema with this number: key and value.
pub(crate) fn patient(schema_id: u32, id: &str) -> (String, Vec<u8>) {
    let text = |text: &str| AvroValue::String(text.to_owned());
    let family = AvroValue::Union(1, Box::new(text("secret-family")));
    let value = AvroValue::Record(vec![
        ("resourceType".into(), text("Patient")),
        ("id".into(), text(id)),
        ("meta".into(), AvroValue::Record(vec![("versionId".into(), text("1"))])),
        ("birthDate".into(), AvroValue::Union(1, Box::new(AvroValue::Date(0)))),
        ("gender".into(), text("female")),
        ("name".into(), AvroValue::Array(vec![AvroValue::Record(vec![("family".into(), family)])])),
    ]);
    (format!("Patient/{id}"), framed(schema_id, &encoded(&schema(), &value, None)))
}

#[test]
fn a_registry_that_is_away_holds_the_partition_and_nothing_is_lost() {
    on_both(|pipeline| {
        let port = support::free_port();
        source(pipeline, &format!("schema_registry: {{ url: 'http://127.0.0.1:{port}' }}"));
        pipeline.create_tables();
        send(pipeline, (0..20).map(|n| patient(7, &format!("p{n}"))).collect());
        let run = pipeline.start(&["run"]);
        wait_for("the registry is missed", support::pipeline::SOON, || {
            let answer = support::http::get(pipeline.port(), "/readyz")?;
            answer.body.contains("the schema registry does not answer").then_some(())
        });
        let retries = [("component", "schema_registry"), ("cause", "unavailable")];
        assert!(pipeline.metric("rowcast_retries_total", &retries) > Some(0.0));
        assert!(pipeline.patients().is_empty());

        let server = Server::start_at(port);
        server.put("/schemas/ids/7", &schema());
        pipeline.wait_for_patients(20);
        pipeline.wait_until_ready(Ready::Yes);
        assert_eq!(pipeline.letters(), Vec::<Value>::new());
        let dates = pipeline.query("SELECT DISTINCT CAST(birth_date AS varchar(10)) FROM patient");
        assert_eq!(dates, [["1970-01-01"]]);
        let families = pipeline.query("SELECT DISTINCT family FROM patient_name");
        assert_eq!(families, [["secret-family"]]);
        // not by each partition, and not by each record
        assert_eq!(server.asked(), ["/schemas/ids/7"]);
        assert!(!run.messages().contains("secret"), "{}", run.messages());
    });
}

#[test]
fn a_run_that_waits_for_the_registry_stops_at_once_and_begins_again() {
    let pipeline = Pipeline::embedded(RULES, "");
    let port = support::free_port();
    source(&pipeline, &format!("schema_registry: {{ url: 'http://127.0.0.1:{port}' }}"));
    pipeline.create_tables();
    send(&pipeline, vec![patient(7, "p")]);
    let mut run = pipeline.start(&["run"]);
    wait_for("the registry is missed", support::pipeline::SOON, || {
        let answer = support::http::get(pipeline.port(), "/readyz")?;
        answer.body.contains("the schema registry does not answer").then_some(())
    });
    run.terminate();
    assert!(run.wait(support::pipeline::SOON).success(), "{}", run.messages());
    let server = Server::start_at(port);
    server.put("/schemas/ids/7", &schema());
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["p"]);
}

#[test]
fn poisonous_avro_becomes_letters_of_its_own_causes_and_is_replayed_once_the_schema_is_there() {
    on_both(|pipeline| {
        let server = Server::start();
        server.put("/schemas/ids/7", &schema());
        source(pipeline, &format!("schema_registry: {{ url: '{}' }}", server.url()));
        pipeline.create_tables();
        let mut values: Vec<_> = (0..6).map(|n| patient(7, &format!("good{n}"))).collect();
        let (key, mut cut) = patient(7, "cut");
        cut.truncate(cut.len() - 3);
        values.insert(1, (key, cut));
        values.insert(2, patient(8, "late"));
        values.insert(3, ("Patient/none".into(), vec![0, 0]));
        send(pipeline, values);
        pipeline.run_until_idle();
        let good: Vec<_> = (0..6).map(|n| format!("good{n}")).collect();
        assert_eq!(pipeline.patients(), good);
        let letters = pipeline.letters();
        let causes = letters.iter().filter_map(|letter| letter["cause"].as_str());
        let mut causes: Vec<_> = causes.collect();
        causes.sort_unstable();
        assert_eq!(causes, ["invalid_avro", "unknown_format", "unknown_format"]);

        server.put("/schemas/ids/8", &schema());
        pipeline.command(&["dead-letters", "replay"]);
        assert!(pipeline.patients().contains(&"late".to_owned()));
    });
}

#[test]
fn schemas_of_files_are_looked_at_before_anything_starts() {
    let pipeline = Pipeline::embedded(RULES, "");
    source(&pipeline, "avro: { schemas: [patient.avsc] }");
    std::fs::write(pipeline.path("patient.avsc"), "{}").expect("written");
    let refused = pipeline.command(&["check", "--offline"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("patient.avsc") && said.contains("no valid Avro schema"), "{said}");
    std::fs::write(pipeline.path("patient.avsc"), schema().to_string()).expect("written");
    assert!(pipeline.command(&["check", "--offline"]).status.success());
}

#[test]
fn a_machine_without_certificates_is_told_so_where_they_are_needed() {
    let checked = |url: &str| {
        let pipeline = Pipeline::embedded(RULES, "");
        source(&pipeline, &format!("schema_registry: {{ url: '{url}' }}"));
        let topology = pipeline.path("topology.yaml");
        let mut check = Rowcast::command(&["check", "--offline", "--topology", &topology]);
        check.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
        check.output().expect("rowcast runs")
    };
    assert!(checked("http://registry:8081").status.success());
    let refused = checked("https://registry:8081");
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("/source/schema_registry/ca: the connection"), "{said}");
}
