//! However many ids, types, versions, keys, headers, members, schemas and errors there are: the series
//! of `/metrics` stay the same ones, and nothing that varies is in any answer.
//! `ROWCAST_CARDINALITY` says how many records (`make cardinality`: 100,000).

use std::collections::BTreeSet;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::avro;
use crate::support::http;
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, deleted, patient};
use crate::support::wait_for;

/// In a normal run.
const FEW: usize = 3000;
/// So many records have each way to vary once.
const WAYS: usize = 160;
/// Part of everything that varies.
const VARIES: &str = "vary-7c3e";

/// Mebibytes that all of them may cost: batches, the caches of known and unknown schemas.
const MOST_MORE: u64 = 256;

/// What the records come to, and no other cause.
const CAUSES: [&str; 13] = [
    "incomplete_document",
    "integrity_violation",
    "invalid_avro",
    "invalid_json",
    "invalid_utf8",
    "key_mismatch",
    "missing_id",
    "missing_version",
    "multiple_values",
    "too_deep",
    "type_mismatch",
    "unknown_format",
    "unknown_resource_type",
];

/// The record `n`, unlike any other in what its way varies.
fn record(n: usize) -> String {
    let (id, text) = (format!("{VARIES}-{n}"), format!("{VARIES} {n}"));
    let version = i64::try_from(n).expect("few") + 2;
    let keyed = |key: &str, value: Value| json!({ "key": key, "value": value }).to_string();
    let subsetted = json!({
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"
    });
    let with = |members: Value| patient(&id, version, &members);
    let headers = |headers: Value, record: &str| {
        let mut record: Value = serde_json::from_str(record).expect("JSON");
        record["headers"] = headers;
        record.to_string()
    };
    let bytes = |value: Vec<u8>| {
        json!({ "key": format!("Patient/{id}"), "value_base64": STANDARD.encode(value) })
            .to_string()
    };
    match n % 16 {
        0 => with(json!({ "gender": text })),
        1 => with(json!({ "address": [{ "city": text }, { "city": text }] })),
        2 => with(json!({ "birthDate": text })),
        3 => keyed(&id, json!({ "resourceType": format!("Kind{VARIES}{n}"), "id": id })),
        4 => keyed(&id, json!({ text.clone(): n })),
        // of others, whatever they name; and a place of origin that is none of ours
        5 => headers(json!({ format!("x-{id}"): text }), &with(json!({ "birthDate": text }))),
        6 => {
            let origin = json!({ "rowcast.origin.topic": id, "rowcast.origin.partition": n.to_string(),
                "rowcast.origin.offset": n.to_string() });
            headers(origin, &with(json!({ "birthDate": text })))
        }
        7 => deleted(&id, version),
        8 => keyed(
            &format!("Patient/{id}"),
            json!({ "resourceType": "Patient", "id": format!("{id}-b"),
            "meta": { "versionId": "1" } }),
        ),
        9 => with(json!({ text.clone(): { text.clone(): text } })),
        10 => bytes(format!("{{\"resourceType\": \"{text}").into_bytes()),
        11 => bytes([b"{\"resourceType\":\"\xff", text.as_bytes()].concat()),
        12 => keyed(
            &id,
            json!({ "resourceType": "Patient", "meta": { "versionId": "1" }, "gender": text }),
        ),
        13 => keyed(
            &format!("Patient/{id}"),
            json!({ "resourceType": "Patient", "id": id, "gender": text }),
        ),
        // a schema that the registry knows, and a value that is cut off or not; or none that it knows
        14 => {
            let (_, mut value) = avro::patient(u32::try_from(n).expect("few"), &id);
            value.truncate(value.len() - usize::from(n % 64 == 14));
            bytes(value)
        }
        // what the database says is never the same; each costs it transactions, so they are few
        _ if n % WAYS == 15 => with(json!({ "gender": format!("forbidden {text}") })),
        _ => match n % 3 {
            0 => headers(json!({ "rowcast.operation": text }), &with(json!({}))),
            1 => with(json!({ "meta": { "versionId": "1", "tag": [subsetted] } })),
            _ => bytes(format!("{}\"{text}\"{}", "[".repeat(1000), "]".repeat(1000)).into_bytes()),
        },
    }
}

/// The names of the series, and nothing of their values.
fn series(pipeline: &Pipeline) -> BTreeSet<String> {
    let metrics = http::get(pipeline.port(), "/metrics").expect("metrics").body;
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// Mebibytes that a process has in memory.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() / 1024
}

#[test]
fn however_many_ids_types_and_errors_there_are_the_series_stay_the_same() {
    let many = std::env::var("ROWCAST_CARDINALITY").ok();
    let many = many.map_or(FEW, |many| many.parse().expect("ROWCAST_CARDINALITY is a number"));
    let pipeline = Pipeline::embedded(RULES, "dead_letter: { max_ratio: 1 }");
    let registry = avro::Server::start();
    for n in (14..many).step_by(32) {
        registry.put(&format!("/schemas/ids/{n}"), &avro::schema());
    }
    avro::source(&pipeline, &format!("schema_registry: {{ url: '{}' }}", registry.url()));
    pipeline.create_tables();
    pipeline.execute(
        "CREATE TRIGGER forbids BEFORE INSERT ON patient WHEN NEW.gender LIKE 'forbidden%'
         BEGIN SELECT RAISE(ABORT, NEW.gender); END",
    );
    let run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let produce = |from: usize, to: usize| {
        pipeline.produce(&(from..to).map(record).collect::<Vec<_>>());
    };
    let settled = |count: usize| {
        let count = f64::from(u32::try_from(count).expect("few"));
        wait_for("the records", SOON * 20, || {
            let received = pipeline.metric("rowcast_records_received_total", &[])?;
            let in_flight = pipeline.metric("rowcast_records_in_flight", &[])?;
            (received >= count && in_flight < 0.5).then_some(())
        });
    };
    produce(0, WAYS);
    settled(WAYS);
    // it is measured twice a second
    wait_for("a lag", SOON, || pipeline.metric("rowcast_consumer_lag_records", &[]));
    let (before, held, began) = (series(&pipeline), resident(run.id()), Instant::now());

    for from in (WAYS..many).step_by(10_000) {
        produce(from, many.min(from + 10_000));
    }
    settled(many);
    let (after, holds) = (series(&pipeline), resident(run.id()));
    eprintln!(
        "{many} records in {:.0?}: {} series before, {} after; {held} MiB in memory before, {holds} after",
        began.elapsed(),
        before.len(),
        after.len(),
    );
    let state = http::get(pipeline.port(), "/api/v1/state").expect("a state").body;
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(after, before);
    assert!(holds < held + MOST_MORE, "{holds} MiB in memory, {held} before");

    let letters = state["dead_letters"].as_array().expect("a list");
    let causes: BTreeSet<_> = letters.iter().filter_map(|count| count["cause"].as_str()).collect();
    assert_eq!(causes, CAUSES.into(), "the records vary as they should");
    for path in ["/", "/api/v1/state", "/metrics", "/readyz"] {
        let said = http::get(pipeline.port(), path).expect("an answer").body;
        assert!(!said.contains(VARIES), "{path}: {said}");
    }
    assert!(!run.messages().contains(VARIES));
}
