//! Topics and a pattern of a real Kafka, each with a format and a source of versions of its own, into
//! PostgreSQL: every row is right although rowcast is killed in the middle.

use serde_json::{Value, json};

use super::avro;
use super::operations::{AVRO_FIELDS, Does, FIELDS, Writer, document, table};
use super::topics::{produce, writer};
use crate::support::pipeline::{Pipeline, RULES, SOON};
use crate::support::{self, wait_for};

/// Servers that write into each topic: each does everything to resources of its own.
const SERVERS: usize = 20;

/// Opaque versions, ordered by their instant: version 2 is two seconds after the epoch.
const DATED: Writer = super::operations::writer("dated", "", false, dated);

fn dated(does: Does, id: &str, version: i64) -> Vec<Value> {
    let mut value = document(id, version);
    value["meta"] = json!({ "versionId": format!("opaque{}", 9 - version),
        "lastUpdated": format!("1970-01-01T00:00:0{version}Z") });
    let value = if does == Does::Write { value } else { Value::Null };
    vec![json!({ "key": format!("Patient/{id}"), "value": value })]
}

/// A topic of the test: the end of its name, what writes into it, and a record that cannot be read.
struct Stream {
    name: &'static str,
    writer: &'static Writer,
    /// The record without its key, and why it is refused.
    bad: (Value, &'static str),
}

fn streams() -> Vec<Stream> {
    let bare = json!({ "resourceType": "Patient", "id": "bad", "meta": { "versionId": "1" } });
    let row = json!({ "id": "bad", "txid": 1, "resource": "__debezium_unavailable_value" });
    let id_only = json!({ "resourceType": "Bundle", "type": "subscription-notification", "entry": [
        { "resource": { "resourceType": "SubscriptionStatus", "type": "event-notification",
            "notificationEvent": [{ "focus": { "reference": "Patient/bad" } }] } } ] });
    let value = |value: &Value| json!({ "value": value });
    vec![
        Stream {
            name: "fhir",
            writer: writer("fhir"),
            bad: (json!({ "value": "{" }), "invalid_json"),
        },
        Stream {
            name: "cdr.delivery",
            writer: writer("hapi"),
            bad: (value(&bare), "unknown_format"),
        },
        Stream {
            name: "pg.patient",
            writer: writer("debezium"),
            bad: (
                value(&json!({ "before": null, "after": row, "op": "u" })),
                "incomplete_document",
            ),
        },
        Stream {
            name: "pg.person",
            writer: writer("debezium"),
            bad: (value(&json!({ "before": null, "after": null, "op": "t" })), "unknown_format"),
        },
        Stream {
            name: "hooks",
            writer: writer("backport"),
            bad: (value(&id_only), "incomplete_document"),
        },
        Stream {
            name: "avro",
            writer: &AVRO_FIELDS,
            // the schema 4, and no value behind it
            bad: (json!({ "value_base64": "AAAAAAQ=" }), "invalid_avro"),
        },
        Stream {
            name: "avro.records",
            writer: writer("avro-resource"),
            // a schema that the registry does not have
            bad: (json!({ "value_base64": "AAAAAAkC" }), "unknown_format"),
        },
        Stream { name: "dated", writer: &DATED, bad: (value(&bare), "missing_version") },
    ]
}

impl Stream {
    /// How the ids of a server's resources begin.
    fn prefix(&self, server: usize) -> String {
        format!("{}-{server:02}", self.name)
    }

    /// The lines of all servers, in turn, and the bad one among them.
    fn lines(&self) -> Vec<String> {
        let of_each: Vec<_> =
            (0..SERVERS).map(|server| self.writer.lines_of(&self.prefix(server))).collect();
        let longest = of_each.iter().map(Vec::len).max().unwrap_or_default();
        let mut lines: Vec<String> = (0..longest)
            .flat_map(|at| of_each.iter().filter_map(move |lines| lines.get(at).cloned()))
            .collect();
        let mut bad = self.bad.0.clone();
        bad["key"] = json!("bad");
        lines.insert(lines.len() / 3, bad.to_string());
        lines
    }

    /// The rows that are left.
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = (0..SERVERS).flat_map(|server| self.writer.rows_of(&self.prefix(server)));
        let mut rows: Vec<_> = rows.collect();
        if self.name == "dated" {
            for row in &mut rows {
                row[1].push_str("000000");
            }
        }
        rows
    }
}

#[test]
fn topics_of_every_kind_leave_the_right_rows_though_rowcast_is_killed_in_the_middle() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (registry, base) = (avro::registry(), support::unique("channel"));
    let streams = streams();
    let topic = |name: &str| format!("{base}.{name}");
    // a topic that the pattern finds comes later
    let (late, early): (Vec<_>, Vec<_>) =
        streams.iter().partition(|stream| stream.name == "pg.person");
    let _topics: Vec<_> =
        early.iter().map(|stream| kafka.topic_named(&topic(stream.name), 2)).collect();
    let letters = kafka.topic_named(&topic("letters"), 1);
    let source = format!(
        "
source:
  kafka: {{ bootstrap.servers: '{servers}', session.timeout.ms: 6000, heartbeat.interval.ms: 500 }}
  schema_registry: {{ url: '{url}' }}
  topics:
    - {{ topic: {base}.fhir, format: fhir }}
    - {{ topic: {base}.cdr.delivery, format: hapi }}
    - topic: ^{base}[.]pg[.]
      format: debezium
      debezium: {{ document: resource, type: Patient, id: id, version: txid }}
    - {{ topic: {base}.hooks, format: notification }}
    - {{ topic: {base}.avro, format: avro, avro: {FIELDS} }}
    - {{ topic: {base}.avro.records }}
    - {{ topic: {base}.dated, format: fhir, version_from: last_updated }}
dead_letter: {{ topic: {base}.letters }}",
        servers = kafka.servers(),
        url = registry.url()
    );
    let database = postgres.database("channel");
    let pipeline = Pipeline::servers_from(&source, letters, database, RULES, "");
    pipeline.create_tables();

    let halves = |stream: &Stream| {
        let mut first = stream.lines();
        let second = first.split_off(first.len() / 2);
        (first, second)
    };
    let mut sent = 0;
    for stream in &early {
        let (first, _) = halves(stream);
        sent += first.len();
        produce(&pipeline, &topic(stream.name), &first);
    }
    // batches so small that it is far from done when its first rows are seen
    let mut run = pipeline.start(&["run", "--set", "batch.rows=5"]);
    wait_for("the first rows", SOON, || (pipeline.patients().len() > 50).then_some(()));
    run.kill();
    let committed = |stream: &&&Stream| kafka.committed(&pipeline.name(), &topic(stream.name));
    let committed: i64 =
        early.iter().flat_map(|stream| committed(&stream)).filter(|offset| *offset > 0).sum();
    assert!(usize::try_from(committed).is_ok_and(|done| done < sent), "{committed} of {sent}");

    let _made_late: Vec<_> =
        late.iter().map(|stream| kafka.topic_named(&topic(stream.name), 2)).collect();
    for stream in &early {
        produce(&pipeline, &topic(stream.name), &halves(stream).1);
    }
    for stream in &late {
        produce(&pipeline, &topic(stream.name), &stream.lines());
    }
    pipeline.run_until_idle();

    let mut expected: Vec<_> = streams.iter().flat_map(Stream::rows).collect();
    expected.sort();
    let mut found = table(&pipeline);
    found.sort();
    assert_eq!(found.len(), expected.len());
    let wrong: Vec<_> = found.iter().zip(&expected).filter(|(row, right)| row != right).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let names = pipeline.query("SELECT CAST(count(*) AS TEXT) FROM patient_name");
    assert_eq!(names, [[expected.len().to_string()]], "no child is left over");

    let letters = pipeline.letters();
    let told = |letter: &Value| [&letter["topic"], &letter["cause"]].map(ToString::to_string);
    let mut letters: Vec<_> = letters.iter().map(told).collect();
    letters.sort();
    let told = |stream: &Stream| {
        [topic(stream.name).as_str(), stream.bad.1].map(|text| format!("\"{text}\""))
    };
    let mut expected: Vec<_> = streams.iter().map(told).collect();
    expected.sort();
    assert_eq!(letters, expected, "each with the topic that it came from");
}
