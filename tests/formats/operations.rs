//! The table: each format through create, update, delete, undelete, duplicate and out of order,
//! by the embedded broker into SQLite. docs/sources.md shows it; `ROWCAST_BLESS=1 cargo test
//! formats::operations` writes it there anew.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::avro::{self, ENVELOPE, HAPI, RESOURCE, ROW};
use super::topics::produce;
use crate::docs::with_block;
use crate::support::pipeline::{Pipeline, RULES};

/// What a source system does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Write,
    Delete,
}

/// A format as its source system writes it.
pub(super) struct Writer {
    pub(super) name: &'static str,
    /// As the table in docs/sources.md calls it.
    title: &'static str,
    /// Whether its deletes have versions, so that they may come before what they delete.
    versioned_deletes: bool,
    /// Lines for `produce --as records`: those of one event.
    write: fn(Does, &str, i64) -> Vec<Value>,
}

pub(super) const WRITERS: [Writer; 13] = [
    writer("fhir", "`fhir`", false, fhir),
    writer("hapi", "`hapi`", true, hapi),
    writer("linuxforhealth", "`linuxforhealth`", true, linux_for_health),
    writer("history", "`history`", true, history),
    writer("r5", "`notification`, R5 and R4B", false, r5_notification),
    writer("backport", "`notification`, R4 backport", true, backport_notification),
    writer("aidbox", "`notification`, Aidbox", false, aidbox),
    writer("debezium", "`debezium`", false, debezium),
    writer("ce-binary", "CloudEvents, binary, around `hapi`", true, binary_cloud_event),
    writer("ce-structured", "CloudEvents, structured, around `hapi`", true, structured_cloud_event),
    writer("avro-resource", "`avro`: the resource as a record", false, avro_resource),
    writer("avro-hapi", "`avro`: a `hapi` message", true, avro_hapi),
    writer("avro-row", "`avro`: a `debezium` row", false, avro_row),
];

/// What the records of its topic hold must be said: in a topic of its own.
pub(super) const AVRO_FIELDS: Writer =
    writer("avro-fields", "`avro`: the resource in a field", true, avro_fields);

pub(super) const fn writer(
    name: &'static str,
    title: &'static str,
    versioned_deletes: bool,
    write: fn(Does, &str, i64) -> Vec<Value>,
) -> Writer {
    Writer { name, title, versioned_deletes, write }
}

pub(super) fn document(id: &str, version: i64) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "meta": { "versionId": version.to_string() },
        "gender": "female", "name": [{ "family": format!("F{version}") }],
    })
}

/// A line keyed by its resource.
fn keyed(id: &str, value: &Value) -> Vec<Value> {
    vec![json!({ "key": format!("Patient/{id}"), "value": value })]
}

fn fhir(does: Does, id: &str, version: i64) -> Vec<Value> {
    match does {
        Does::Write => keyed(id, &document(id, version)),
        Does::Delete => keyed(id, &Value::Null),
    }
}

fn hapi_message(does: Does, id: &str, version: i64) -> Value {
    let mut message = json!({
        "payloadId": format!("Patient/{id}"), "payloadVersion": version.to_string(),
        "operationType": "DELETE",
    });
    if does == Does::Write {
        message["operationType"] = json!("UPDATE");
        message["payload"] = json!(document(id, version).to_string());
    }
    json!({ "headers": {}, "payload": message })
}

fn hapi(does: Does, id: &str, version: i64) -> Vec<Value> {
    keyed(id, &hapi_message(does, id, version))
}

fn linux_for_health(does: Does, id: &str, version: i64) -> Vec<Value> {
    let mut event = json!({
        "operationType": "delete", "location": format!("Patient/{id}/_history/{version}"),
        "resourceId": id, "lastUpdated": "2024-05-01T10:00:00Z", "tenantId": "default",
    });
    if does == Does::Write {
        event["operationType"] = json!("update");
        event["resource"] = document(id, version);
    }
    vec![json!({ "value": event })]
}

fn entry(does: Does, id: &str, version: i64) -> Value {
    let url = format!("Patient/{id}");
    let full_url = format!("http://server/fhir/{url}");
    match does {
        Does::Write => json!({
            "fullUrl": full_url, "resource": document(id, version),
            "request": { "method": "PUT", "url": url }, "response": { "status": "200" },
        }),
        Does::Delete => {
            json!({ "fullUrl": full_url, "request": { "method": "DELETE", "url": url } })
        }
    }
}

fn with_etag(mut entry: Value, version: i64) -> Value {
    entry["response"]["etag"] = json!(format!("W/\"{version}\""));
    entry
}

fn history(does: Does, id: &str, version: i64) -> Vec<Value> {
    let entry = with_etag(entry(does, id, version), version);
    keyed(id, &json!({ "resourceType": "Bundle", "type": "history", "entry": [entry] }))
}

fn r5_notification(does: Does, id: &str, version: i64) -> Vec<Value> {
    let focus = json!({ "reference": format!("Patient/{id}") });
    let status = json!({ "resource": {
        "resourceType": "SubscriptionStatus", "type": "event-notification",
        "notificationEvent": [{ "eventNumber": "1", "focus": focus }],
    } });
    let entries = json!([status, entry(does, id, version)]);
    let bundle = json!(
        { "resourceType": "Bundle", "type": "subscription-notification", "entry": entries }
    );
    keyed(id, &bundle)
}

fn backport_notification(does: Does, id: &str, version: i64) -> Vec<Value> {
    let focus = json!({ "reference": format!("Patient/{id}") });
    let status = json!({ "resource": { "resourceType": "Parameters", "parameter": [
        { "name": "subscription", "valueReference": { "reference": "Subscription/s" } },
        { "name": "type", "valueCode": "event-notification" },
        { "name": "notification-event", "part": [{ "name": "focus", "valueReference": focus }] },
    ] } });
    let entries = json!([status, with_etag(entry(does, id, version), version)]);
    keyed(id, &json!({ "resourceType": "Bundle", "type": "history", "entry": entries }))
}

fn aidbox(does: Does, id: &str, version: i64) -> Vec<Value> {
    let focus = json!({ "reference": format!("Patient/{id}") });
    let status = json!({ "resource": {
        "resourceType": "AidboxSubscriptionStatus", "type": "event-notification",
        "notificationEvent": [{ "eventNumber": 1, "focus": focus }],
    } });
    let entries = json!([status, entry(does, id, version)]);
    keyed(id, &json!({ "resourceType": "Bundle", "type": "history", "entry": entries }))
}

fn debezium(does: Does, id: &str, version: i64) -> Vec<Value> {
    let key = json!({ "id": id }).to_string();
    match does {
        Does::Write => {
            let text = document(id, version).to_string();
            let row = json!({ "id": id, "txid": version, "resource": text });
            vec![json!({ "key": key, "value": { "before": null, "after": row, "op": "u" } })]
        }
        Does::Delete => {
            let row = json!({ "id": id, "txid": 0, "resource": "" });
            vec![
                json!({ "key": key, "value": { "before": row, "after": null, "op": "d" } }),
                json!({ "key": key, "value": null }),
            ]
        }
    }
}

fn binary_cloud_event(does: Does, id: &str, version: i64) -> Vec<Value> {
    let headers = json!({
        "ce_specversion": "1.0", "ce_type": "change", "ce_source": "/server", "ce_id": "1",
        "content-type": "application/json",
    });
    let message = hapi_message(does, id, version);
    vec![json!({ "key": format!("Patient/{id}"), "value": message, "headers": headers })]
}

fn structured_cloud_event(does: Does, id: &str, version: i64) -> Vec<Value> {
    let headers = json!({ "content-type": "application/cloudevents+json; charset=UTF-8" });
    let event = json!({
        "specversion": "1.0", "type": "change", "source": "/server", "id": "1",
        "data": hapi_message(does, id, version),
    });
    vec![json!({ "key": format!("Patient/{id}"), "value": event, "headers": headers })]
}

fn avro_resource(does: Does, id: &str, version: i64) -> Vec<Value> {
    let key = format!("Patient/{id}");
    match does {
        Does::Write => vec![RESOURCE.line(&key, &document(id, version))],
        Does::Delete => vec![json!({ "key": key, "value": null })],
    }
}

fn avro_hapi(does: Does, id: &str, version: i64) -> Vec<Value> {
    let mut message = hapi_message(does, id, version);
    let message = message["payload"].take();
    vec![HAPI.line(&format!("Patient/{id}"), &json!({ "payload": message }))]
}

/// Whole rows, and no tombstones: keys in Avro would say nothing.
fn avro_row(does: Does, id: &str, version: i64) -> Vec<Value> {
    let text = document(id, version).to_string();
    let row = json!({ "id": id, "txid": version, "resource": text });
    let (before, after, op) = match does {
        Does::Write => (Value::Null, row, "u"),
        Does::Delete => (row, Value::Null, "d"),
    };
    let key = json!({ "id": id }).to_string();
    vec![ROW.line(&key, &json!({ "before": before, "after": after, "op": op }))]
}

fn avro_fields(does: Does, id: &str, version: i64) -> Vec<Value> {
    let (operation, text) = match does {
        Does::Write => ("UPDATE", Value::from(document(id, version).to_string())),
        Does::Delete => ("DELETE", Value::Null),
    };
    let change = json!({ "operation": operation, "type": "Patient", "id": id,
        "version": version, "resource": text });
    vec![ENVELOPE.line(&format!("Patient/{id}"), &change)]
}

impl Writer {
    /// The events of all operations, as lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines_of(self.name)
    }

    /// The same for resources whose ids begin otherwise.
    pub(super) fn lines_of(&self, prefix: &str) -> Vec<String> {
        use Does::{Delete, Write};
        let mut events = vec![
            (Write, "created", 1),
            (Write, "updated", 1),
            (Write, "updated", 2),
            (Write, "deleted", 1),
            (Delete, "deleted", 2),
            (Write, "undeleted", 1),
            (Delete, "undeleted", 2),
            (Write, "undeleted", 3),
            (Write, "doubled", 1),
            (Write, "doubled", 2),
            (Write, "doubled", 2),
            (Write, "doubled", 1),
            (Write, "overtaken", 3),
            (Write, "overtaken", 1),
            (Write, "overtaken", 2),
            (Write, "deleted-twice", 1),
            (Delete, "deleted-twice", 2),
            (Delete, "deleted-twice", 2),
        ];
        if self.versioned_deletes {
            events.extend([
                (Delete, "gone-first", 2),
                (Write, "gone-first", 1),
                (Write, "back-first", 3),
                (Delete, "back-first", 2),
            ]);
        }
        let lines = events.into_iter().flat_map(|(does, what, version)| {
            (self.write)(does, &format!("{prefix}-{what}"), version)
        });
        lines.map(|line| line.to_string()).collect()
    }

    /// What the tables then hold: id, version, family.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.rows_of(self.name)
    }

    /// The same for resources whose ids begin otherwise.
    pub(super) fn rows_of(&self, prefix: &str) -> Vec<Vec<String>> {
        let mut rows = vec![("created", 1), ("doubled", 2), ("overtaken", 3), ("undeleted", 3)];
        rows.extend([("updated", 2)]);
        if self.versioned_deletes {
            rows.push(("back-first", 3));
        }
        let row = |(what, version): (&str, i64)| {
            vec![format!("{prefix}-{what}"), version.to_string(), format!("F{version}")]
        };
        rows.into_iter().map(row).collect()
    }
}

/// The tables, joined.
pub(super) fn table(pipeline: &Pipeline) -> Vec<Vec<String>> {
    pipeline.query(
        "SELECT p.id, CAST(p.version AS TEXT), n.family FROM patient p \
         JOIN patient_name n ON n.source_resource_id = p.id ORDER BY p.id",
    )
}

/// The rows of some formats, as the tables hold them.
pub(super) fn expected<'w>(writers: impl IntoIterator<Item = &'w Writer>) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = writers.into_iter().flat_map(Writer::rows).collect();
    rows.sort();
    rows
}

/// What the settings of a topic say of the records of [`AVRO_FIELDS`].
pub(super) const FIELDS: &str =
    "{ document: resource, operation: operation, type: type, id: id, version: version }";

/// The table in the docs says what the tables then hold.
#[test]
fn every_format_leaves_the_tables_of_the_last_versions() {
    let registry = avro::registry();
    let source = format!(
        "source: {{ embedded: {{ path: log.db }}, schema_registry: {{ url: '{}' }}, topics: [ \
         {{ topic: changes, debezium: {{ document: resource, type: Patient, id: id, version: txid }} }}, \
         {{ topic: fields, avro: {FIELDS} }} ] }}",
        registry.url()
    );
    let pipeline = Pipeline::embedded_from(&source, RULES, "dead_letter: { topic: letters }");
    pipeline.create_tables();
    // in turn, so that each format is told among the others
    let of_each: Vec<_> = WRITERS.iter().map(Writer::lines).collect();
    let longest = of_each.iter().map(Vec::len).max().unwrap_or_default();
    let lines = (0..longest)
        .flat_map(|at| of_each.iter().filter_map(move |lines| lines.get(at).cloned()))
        .collect::<Vec<_>>();
    let produce_all = || {
        produce(&pipeline, "changes", &lines);
        produce(&pipeline, "fields", &AVRO_FIELDS.lines());
        pipeline.run_until_idle();
    };
    let writers = || WRITERS.iter().chain([&AVRO_FIELDS]);
    produce_all();
    assert_eq!(pipeline.letters(), Vec::<Value>::new());
    assert_eq!(table(&pipeline), expected(writers()));
    let names = pipeline.query("SELECT CAST(count(*) AS TEXT) FROM patient_name");
    assert_eq!(names, [[expected(writers()).len().to_string()]], "no child is left over");
    is_in_the_docs(&Seen::in_tables_of(&pipeline));

    // and once more, as after a lost commit
    produce_all();
    let stays: Vec<_> = writers().filter(|writer| writer.versioned_deletes).collect();
    let of = |writer: &Writer, row: &[String]| row[0].starts_with(&format!("{}-", writer.name));
    let mut now = table(&pipeline);
    now.retain(|row| stays.iter().any(|writer| of(writer, row)));
    assert_eq!(now, expected(stays));
}

/// docs/sources.md holds the table of what was seen.
fn is_in_the_docs(seen: &Seen) {
    let mut lines = "| format | create | update | delete | undelete | duplicate | out of order |\n\
                     |---|---|---|---|---|---|---|\n"
        .to_owned();
    for writer in WRITERS.iter().chain([&AVRO_FIELDS]) {
        let _ = writeln!(lines, "| {} | {} |", writer.title, seen.cells(writer));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let right = with_block(&page, "operations", &lines);
    if std::env::var_os("ROWCAST_BLESS").is_some() {
        std::fs::write(&path, &right).expect("the page is written");
    } else {
        assert!(page == right, "docs/sources.md differs: ROWCAST_BLESS=1 cargo test formats::");
    }
}

/// What was found in the tables.
struct Seen {
    /// The version of each row.
    rows: HashMap<String, String>,
    /// Of each resource that is remembered as deleted, whether its delete had a version.
    deletes: HashMap<String, bool>,
}

impl Seen {
    fn in_tables_of(pipeline: &Pipeline) -> Self {
        let rows = table(pipeline).into_iter();
        let rows = rows.filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())));
        let remembered = pipeline.query(
            "SELECT source_resource_id, CAST(origin_offset AS TEXT) FROM rowcast_tombstone \
             WHERE table_name LIKE '%patient'",
        );
        let remembered = remembered.into_iter();
        let deletes = remembered.filter_map(|row| {
            Some((row.first()?.clone(), row.get(1).is_none_or(String::is_empty)))
        });
        Self { rows: rows.collect(), deletes: deletes.collect() }
    }

    /// The cells of a line of the table, which hold nothing that was not found.
    fn cells(&self, writer: &Writer) -> String {
        let id = |what: &str| format!("{}-{what}", writer.name);
        let row = |what: &str| match self.rows.get(&id(what)) {
            Some(version) => format!("row at {version}"),
            None => "no row".to_owned(),
        };
        let had_version = self.deletes.get(&id("deleted")).copied().expect("it is remembered");
        assert_eq!(had_version, writer.versioned_deletes, "{}", writer.name);
        let deletes = match (had_version, row("gone-first").as_str(), row("back-first").as_str()) {
            (true, "no row", "row at 3") => "deletes by version",
            _ => "deletes by place",
        };
        let changes = ["created", "updated", "deleted", "undeleted"].map(row).join(" | ");
        let doubled = format!("{}; {}", row("doubled"), row("deleted-twice"));
        format!("{changes} | {doubled} | {}; {deletes}", row("overtaken"))
    }
}

#[test]
fn a_bundles_good_changes_are_written_and_one_letter_has_the_whole_record() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let bundle = json!({ "resourceType": "Bundle", "type": "history", "entry": [
        with_etag(entry(Does::Write, "good", 1), 1),
        entry(Does::Delete, "bad", 1),
        with_etag(entry(Does::Write, "too", 1), 1),
    ] });
    let heartbeat = json!({ "resourceType": "Bundle", "type": "subscription-notification",
        "entry": [{ "resource": { "resourceType": "SubscriptionStatus", "type": "heartbeat" } }] });
    let line = |value: &Value| json!({ "value": value }).to_string();
    pipeline.produce(&[line(&heartbeat), line(&bundle)]);
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["good", "too"]);
    let letters = pipeline.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["cause"], "missing_version");
}
