//! Records that real systems wrote. They are not part of the project: where the folder is absent
//! these tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rowcast::source::DecodeSettings;
use serde_json::{Value, json};

use super::{columns, record, said};

/// A file of the captures.
fn captured(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: the captured {name} is not at hand");
        return None;
    }
    Some(path)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("it is read");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn say(value: &Value) -> Vec<String> {
    said(&DecodeSettings::default(), &record(None, value, &[]))
}

#[test]
fn hapis_broker_messages_say_their_changes() {
    let Some(path) = captured("messages/hapi-8.8.0-ResourceModifiedJsonMessage.txt") else {
        return;
    };
    let text = fs::read_to_string(path).expect("it is read");
    let mut heard = Vec::new();
    for message in text.split("--- ").skip(1) {
        let (title, value) = message.split_once('\n').expect("a head and a value");
        let key = title.split_once("key=").map(|(_, key)| key.trim().to_owned());
        let value = Value::String(value.trim().to_owned());
        heard.extend(said(&DecodeSettings::default(), &record(key, &value, &[])));
    }
    let upsert = "upsert Patient/123 @2";
    assert_eq!(heard, [upsert, upsert, "delete Patient/123 @2", upsert]);
}

#[test]
fn hapis_history_says_each_version_and_the_deletes() {
    let Some(path) = captured("messages/hapi-history-instance.json") else { return };
    let value = Value::String(fs::read_to_string(path).expect("it is read"));
    let expected = [
        "upsert Patient/labpat1 @4",
        "delete Patient/labpat1 @3",
        "upsert Patient/labpat1 @2",
        "upsert Patient/labpat1 @1",
    ];
    assert_eq!(say(&value), expected);
}

/// As `fhir` would have them: a `DELETE` is a tombstone, and who sends nothing says nothing.
#[test]
fn every_hook_of_hapi_says_its_change_or_is_refused() {
    let Some(path) = captured("hapi-rest-hook/received-r4.jsonl") else { return };
    let mut heard = BTreeMap::new();
    for request in lines(&path) {
        let segments = request["path"].as_str().unwrap_or_default().splitn(3, '/');
        let resource = segments.last().unwrap_or_default().to_owned();
        let headers = request["headers"].as_array().expect("headers");
        let matched = headers.iter().find(|header| header[0] == "If-Match");
        let version = matched.and_then(|header| header[1].as_str()).unwrap_or_default();
        let version = version.trim_matches(['W', '/', '"']);
        let body = request["body"].as_str().unwrap_or_default();
        let (kind, key, value, expected) = match request["method"].as_str() {
            Some("DELETE") => {
                let expected = format!("delete {resource}");
                ("delete", Some(resource), Value::Null, expected)
            }
            Some("POST") => {
                let expected = "refused invalid_json".to_owned();
                ("empty", None, Value::from(body), expected)
            }
            _ if body.starts_with('<') => {
                let expected = "refused unknown_format".to_owned();
                ("XML", Some(resource), Value::from(body), expected)
            }
            _ => {
                let expected = format!("upsert {resource} @{version}");
                ("JSON", Some(resource), Value::from(body), expected)
            }
        };
        assert_eq!(said(&DecodeSettings::default(), &record(key, &value, &[])), [expected]);
        *heard.entry(kind).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([("JSON", 16), ("XML", 5), ("delete", 3), ("empty", 6)]);
    assert_eq!(heard, expected, "hooks");
}

/// What the folders hold, so that nothing that is added to them stays unread.
#[test]
fn nothing_captured_is_left_out() {
    let read = [
        "messages/confluent-avro-samples.json", // by the tests of Avro
        "messages/debezium-3.2.0-postgres-schema.jsonl",
        "messages/google-and-aidbox.md",
        "messages/hapi-8.8.0-ResourceModifiedJsonMessage.txt",
        "messages/hapi-history-instance.json",
        "messages/hl7-r5-notifications",
        "hapi-rest-hook/received-r4.jsonl",
    ];
    // texts about messages, and what a client and a server say to each other
    let no_messages = [
        "messages/backport-R4-notification.fsh",
        "messages/cloudevents-kafka-binding.md",
        "messages/headers.md",
        "hapi-rest-hook/client-r4.txt",
    ];
    for name in ["messages", "hapi-rest-hook"] {
        let Some(folder) = captured(name) else { return };
        for file in fs::read_dir(folder).expect("it is listed") {
            let file = file.expect("it is listed").file_name();
            let file = format!("{name}/{}", file.to_string_lossy());
            assert!(read.iter().chain(&no_messages).any(|known| *known == file), "{file}");
        }
    }
}

#[test]
fn debeziums_events_say_the_changes_of_the_row() {
    let Some(path) = captured("messages/debezium-3.2.0-postgres-schema.jsonl") else { return };
    let heard = |written: Value, strip_schema: bool| -> Vec<String> {
        let settings = DecodeSettings { debezium: columns(&written), ..DecodeSettings::default() };
        let plain = |value: &Value| match value.get("payload") {
            Some(payload) if strip_schema => payload.clone(),
            _ => value.clone(),
        };
        let line = |line: &Value| {
            let key = plain(&line["key"]).to_string();
            said(&settings, &record(Some(key), &plain(&line["value"]), &[])).join(", ")
        };
        lines(&path).iter().map(line).collect()
    };
    let named = json!({ "document": "resource", "type": "Patient", "id": "id", "version": "txid" });
    let expected = [
        "upsert Patient/snap1 @1",
        "upsert Patient/p1 @2",
        "upsert Patient/p1 @3",
        "delete Patient/p1",
        "delete Patient/p1",
        "upsert Patient/big @4",
        "hint Patient/big",
        "delete Patient/snap1",
        "delete Patient/snap1",
        // the row got another id, the document in it did not
        "refused key_mismatch",
    ];
    assert_eq!(heard(named.clone(), false), expected);
    assert_eq!(heard(named, true), expected, "without the schema");

    // before a delete the row holds defaults, so a column cannot tell what type it was of
    let by_column =
        json!({ "document": "resource", "type": "resource_type", "id": "id", "version": "txid" });
    let deletes = &heard(by_column, false)[3..5];
    assert_eq!(deletes, ["refused unknown_resource_type", ""]);
}

#[test]
fn official_r5_notifications_say_their_changes_and_nothing_of_their_context() {
    let Some(folder) = captured("messages/hl7-r5-notifications") else { return };
    let expected = [
        ("Bundle-00b99077", "upsert Encounter/2 @1"),
        ("Bundle-0f322dbe", "refused unknown_format"),
        ("Bundle-3945182f", "hint Encounter/2"),
        ("Bundle-3d20ea4b", ""),
        ("Bundle-40464b74", ""),
        ("Bundle-54f808cf", ""),
        ("Bundle-787e69f6", "upsert Encounter/307 @1, upsert Encounter/308 @1"),
        ("Bundle-920a46b7", "hint Encounter/2"),
        ("Bundle-9601c07a", "refused incomplete_document"),
        ("Bundle-e2c9dc20", "refused incomplete_document"),
        ("Bundle-fdd78223", "upsert Encounter/2 @1"),
        ("SubscriptionStatus-example", "refused missing_version"),
    ];
    let mut seen = 0;
    for file in fs::read_dir(folder).expect("it is listed") {
        let path = file.expect("it is listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (_, expected) = expected.iter().find(|(of, _)| name.starts_with(of)).expect("known");
        let value = Value::String(fs::read_to_string(&path).expect("it is read"));
        assert_eq!(say(&value).join(", "), *expected, "{name}");
        seen += 1;
    }
    assert_eq!(seen, expected.len());
}

#[test]
fn printed_samples_of_other_systems_say_their_changes_or_are_refused() {
    let Some(path) = captured("messages/google-and-aidbox.md") else { return };
    let text = fs::read_to_string(path).expect("it is read");
    let samples = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let samples: Vec<Value> =
        samples.map(|sample| serde_json::from_str(sample).expect("JSON")).collect();
    let [google, aidbox, linux_for_health] = samples.as_slice() else {
        panic!("three samples are printed, {} were found", samples.len())
    };
    assert_eq!(say(google), ["refused unknown_format"]);
    assert_eq!(say(&aidbox["value"]), ["upsert Patient/5e78f7b8-e6dc-404b-93b5-2356ed1e48b6 @17"]);
    assert_eq!(say(aidbox), ["refused unknown_format"], "another transport's wrapper");
    assert_eq!(say(linux_for_health), ["upsert Observation/3859 @1"]);
}
