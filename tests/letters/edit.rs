//! Corrected copies.

use bytes::Bytes;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker as _, OutgoingRecord};
use rowcast::model::Header;
use serde_json::{Value, json};

use super::{CANARY, command, expect, id_of, list, object, refused, stderr};
use crate::support;
use crate::support::pipeline::Pipeline;

const DEAD: &str = "changes.dead-letter";

/// Appends a record as it is.
pub(super) fn append(pipeline: &Pipeline, topic: &str, key: Option<&str>, value: Option<&[u8]>) {
    let record = OutgoingRecord {
        topic: topic.into(),
        partition: None,
        key: key.map(|key| Bytes::from(key.to_owned())),
        value: value.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    };
    send(pipeline, record);
}

/// Appends the letter once more, as a replay does that is refused for the nth time.
pub(super) fn append_copy_with_replays(pipeline: &Pipeline, id: &str, replays: &str) {
    let file = pipeline.path("log.db");
    let id = id.to_owned();
    let letter = support::block_on(async move {
        let broker = EmbeddedBroker::open(file).await.expect("the log opens");
        let mut reader = broker.reader(DEAD).await.expect("it is read");
        while let Some(records) = reader.next().await.expect("it is read") {
            let found = records.into_iter().find(|one| one.header("rowcast.error.id") == Some(&id));
            if found.is_some() {
                return found;
            }
        }
        None
    });
    let letter = letter.expect("the letter");
    let mut headers = letter.headers;
    headers.retain(|header| header.name != "rowcast.error.replays");
    headers.push(Header::text("rowcast.error.replays", replays));
    let record = OutgoingRecord {
        topic: DEAD.into(),
        partition: Some(letter.source.partition),
        key: letter.key,
        value: letter.value,
        headers,
    };
    send(pipeline, record);
}

fn send(pipeline: &Pipeline, record: OutgoingRecord) {
    let file = pipeline.path("log.db");
    support::block_on(async move {
        let broker = EmbeddedBroker::open(file).await.expect("the log opens");
        let sent = broker.producer().expect("a producer").send(vec![record]).await;
        assert!(sent.iter().all(Result::is_ok));
    });
}

fn written(pipeline: &Pipeline, value: &Value) -> String {
    let file = pipeline.path("mended.json");
    std::fs::write(&file, value.to_string()).expect("it is written");
    file
}

fn mended() -> Value {
    json!({
        "resourceType": "Patient", "id": format!("{CANARY}-date"),
        "meta": { "versionId": "3" }, "birthDate": "1970-01-31",
    })
}

#[test]
fn a_corrected_copy_is_open_and_replayed_in_place_of_the_letter() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    expect(&pipeline, &["discard", "--id", &id, "--reason", "too early"]);
    let file = written(&pipeline, &mended());
    let edited =
        object(&pipeline, &["edit", &id[..12], "--with", &file, "--reason", "typed wrong"]);
    assert_eq!(edited["id"], *id);
    assert_eq!(edited["previous_status"], "discarded");
    let shown = object(&pipeline, &["show", &id]);
    assert_eq!(shown["status"], "open");
    assert_eq!(shown["dead_letter"], edited["dead_letter"]);
    expect(&pipeline, &["replay", "--id", &id]);
    let written = pipeline.query("SELECT birth_date FROM patient WHERE version = 3");
    assert_eq!(written, [["1970-01-31"]]);
}

#[test]
fn a_corrected_copy_says_when_why_and_what_it_replaced() {
    let pipeline = refused();
    let id = id_of(&pipeline, "invalid_json");
    let mut value = mended();
    value["id"] = json!(format!("{CANARY}-3"));
    let file = written(&pipeline, &value);
    let before = object(&pipeline, &["show", &id]);
    expect(&pipeline, &["edit", &id, "--with", &file, "--reason", "cut off"]);
    let after = object(&pipeline, &["show", &id]);
    assert_eq!(after["edited"]["reason"], "cut off");
    // printf '{canary7f' | sha256sum
    let hash = "a4249c779b70ee31c9aeb75161c4c699505e47db413c103e208793b4236a4b89";
    assert_eq!(after["headers"]["rowcast.error.edited_sha256"], hash);
    for kept in ["cause", "topic", "partition", "offset", "first_failed_at", "original_headers"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(list(&pipeline, &["--all"]).len(), 5, "it is the same letter");
}

#[test]
fn a_value_that_cannot_be_read_or_is_of_another_resource_is_refused() {
    let pipeline = refused();
    let date = id_of(&pipeline, "type_mismatch");
    let mut other = mended();
    other["id"] = json!("someone-else");
    let refusals = [
        (&date, other, "key"),
        (&date, json!({ "resourceType": "Patient" }), "cannot be read"),
        (&date, json!({ "resourceType": "Group", "id": "g", "meta": { "versionId": "1" } }), "key"),
    ];
    for (id, value, why) in refusals {
        let file = written(&pipeline, &value);
        let output = command(&pipeline, &["edit", id, "--with", &file]);
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    let shown = object(&pipeline, &["show", &date]);
    assert_eq!(shown["edited"], Value::Null, "nothing was appended");
}

#[test]
fn a_delete_is_not_made_an_upsert_unless_forced() {
    let pipeline = refused();
    // the record without key and value
    let id = id_of(&pipeline, "missing_id");
    let file = written(&pipeline, &mended());
    let output = command(&pipeline, &["edit", &id, "--with", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is a delete"), "{}", stderr(&output));
    expect(&pipeline, &["edit", &id, "--with", &file, "--force"]);
    assert_ne!(object(&pipeline, &["show", &id])["edited"], Value::Null);
}

#[test]
fn a_letter_without_key_is_edited_only_into_the_resource_it_was() {
    let pipeline = Pipeline::embedded(crate::support::pipeline::RULES, "");
    pipeline.create_tables();
    let of = |id: &str, birth: &str| json!({ "resourceType": "Patient", "id": id, "meta": { "versionId": "1" }, "birthDate": birth });
    append(&pipeline, "changes", None, Some(of("a", "soon").to_string().as_bytes()));
    pipeline.run_until_idle();
    let id = id_of(&pipeline, "type_mismatch");
    let file = written(&pipeline, &of("b", "2020-01-01"));
    let output = command(&pipeline, &["edit", &id, "--with", &file]);
    assert!(stderr(&output).contains("another resource"), "{}", stderr(&output));
    let file = written(&pipeline, &of("a", "2020-01-01"));
    expect(&pipeline, &["edit", &id, "--with", &file]);
}

#[test]
fn a_copy_of_a_quarantined_letter_is_open() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    append_copy_with_replays(&pipeline, &id, "5");
    assert_eq!(object(&pipeline, &["show", &id])["status"], "quarantined");
    let file = written(&pipeline, &mended());
    expect(&pipeline, &["edit", &id, "--with", &file]);
    assert_eq!(object(&pipeline, &["show", &id])["status"], "open");
}
