//! The table: each format through create, update, delete, undelete, duplicate and out of order,
//! by the embedded broker into SQLite.

use serde_json::{Value, json};

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
    /// Whether its deletes have versions, so that they may come before what they delete.
    versioned_deletes: bool,
    /// Lines for `produce --as records`: those of one event.
    write: fn(Does, &str, i64) -> Vec<Value>,
}

pub(super) const WRITERS: [Writer; 10] = [
    Writer { name: "fhir", versioned_deletes: false, write: fhir },
    Writer { name: "hapi", versioned_deletes: true, write: hapi },
    Writer { name: "linuxforhealth", versioned_deletes: true, write: linux_for_health },
    Writer { name: "history", versioned_deletes: true, write: history },
    Writer { name: "r5", versioned_deletes: false, write: r5_notification },
    Writer { name: "backport", versioned_deletes: true, write: backport_notification },
    Writer { name: "aidbox", versioned_deletes: false, write: aidbox },
    Writer { name: "debezium", versioned_deletes: false, write: debezium },
    Writer { name: "ce-binary", versioned_deletes: true, write: binary_cloud_event },
    Writer { name: "ce-structured", versioned_deletes: true, write: structured_cloud_event },
];

fn document(id: &str, version: i64) -> Value {
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

impl Writer {
    /// The events of all operations, as lines.
    pub(super) fn lines(&self) -> Vec<String> {
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
            (self.write)(does, &format!("{}-{what}", self.name), version)
        });
        lines.map(|line| line.to_string()).collect()
    }

    /// What the tables then hold: id, version, family.
    pub(super) fn rows(&self) -> Vec<[String; 3]> {
        let mut rows = vec![("created", 1), ("doubled", 2), ("overtaken", 3), ("undeleted", 3)];
        rows.extend([("updated", 2)]);
        if self.versioned_deletes {
            rows.push(("back-first", 3));
        }
        let row = |(what, version): (&str, i64)| {
            [format!("{}-{what}", self.name), version.to_string(), format!("F{version}")]
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
    let mut rows: Vec<_> =
        writers.into_iter().flat_map(Writer::rows).map(|row| row.to_vec()).collect();
    rows.sort();
    rows
}

#[test]
fn every_format_in_one_topic_leaves_the_tables_of_the_last_versions() {
    let source = "source: { topic: changes, embedded: { path: log.db }, \
                  debezium: { document: resource, type: Patient, id: id, version: txid } }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    pipeline.create_tables();
    // in turn, so that each format is told among the others
    let of_each: Vec<_> = WRITERS.iter().map(Writer::lines).collect();
    let longest = of_each.iter().map(Vec::len).max().unwrap_or_default();
    let lines = (0..longest)
        .flat_map(|at| of_each.iter().filter_map(move |lines| lines.get(at).cloned()))
        .collect::<Vec<_>>();
    pipeline.produce(&lines);
    pipeline.run_until_idle();
    assert_eq!(pipeline.letters(), Vec::<Value>::new());
    assert_eq!(table(&pipeline), expected(&WRITERS));
    let names = pipeline.query("SELECT CAST(count(*) AS TEXT) FROM patient_name");
    assert_eq!(names, [[expected(&WRITERS).len().to_string()]], "no child is left over");

    // and once more, as after a lost commit
    pipeline.produce(&lines);
    pipeline.run_until_idle();
    let stays: Vec<_> = WRITERS.iter().filter(|writer| writer.versioned_deletes).collect();
    let now = table(&pipeline);
    let now: Vec<_> = now
        .into_iter()
        .filter(|row| stays.iter().any(|writer| row[0].starts_with(&format!("{}-", writer.name))))
        .collect();
    assert_eq!(now, expected(stays));
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
