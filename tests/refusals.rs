//! Many changes on Kafka, one in a hundred broken in one of ten ways: exactly these are dead letters,
//! each with the right cause and place, for rowcast's own readers and for others'; all the rest are
//! rows. `ROWCAST_REFUSALS` says how many (`make refusals`: 100,000).

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kip_1034::{self, Failed};
use crate::support::pipeline::{Pipeline, RULES};
use crate::support::{self, Kafka};

/// In a normal run.
const FEW: usize = 5000;
/// One in so many is broken.
const ONE_IN: usize = 100;
/// A header that the producer brings.
const FOREIGN: (&str, &str) = ("trace-id", "4bf92f35");

/// A way in which a record is broken, and what its letter must say.
struct Way {
    cause: &'static str,
    stage: &'static str,
    table: Option<&'static str>,
    column: Option<&'static str>,
    breaks: fn(&str) -> Vec<u8>,
}

const fn decode(cause: &'static str, breaks: fn(&str) -> Vec<u8>) -> Way {
    Way { cause, stage: "decode", table: None, column: None, breaks }
}

const fn of_patient(
    (stage, cause): (&'static str, &'static str),
    column: Option<&'static str>,
    breaks: fn(&str) -> Vec<u8>,
) -> Way {
    Way { cause, stage, table: Some("patient"), column, breaks }
}

const WAYS: [Way; 10] = [
    decode("invalid_json", |id| good(id)[..60].to_vec()),
    decode("invalid_utf8", |id| {
        let mut value = good(id);
        // Latin-1 for ü
        *value.iter_mut().rfind(|byte| **byte == b'f').expect("female") = 0xfc;
        value
    }),
    decode("missing_version", |id| with(id, &json!({ "meta": {} }))),
    decode("key_mismatch", |id| good(&format!("{id}-other"))),
    of_patient(("transform", "type_mismatch"), Some("birth_date"), |id| {
        with(id, &json!({ "birthDate": "last spring" }))
    }),
    of_patient(("transform", "multiple_values"), Some("city"), |id| {
        with(id, &json!({ "address": [{ "city": "Here" }, { "city": "There" }] }))
    }),
    of_patient(("plan", "value_too_long"), Some("city"), |id| {
        with(id, &json!({ "address": [{ "city": "Llanfairpwllgwyngyll" }] }))
    }),
    of_patient(("sink", "constraint_not_null"), Some("gender"), |id| {
        with(id, &json!({ "gender": null }))
    }),
    of_patient(("sink", "constraint_check"), None, |id| {
        with(id, &json!({ "gender": "forbidden" }))
    }),
    of_patient(("sink", "constraint_foreign_key"), None, |id| {
        with(id, &json!({ "address": [{ "city": "Nowhere" }] }))
    }),
];

const TABLES: &str = "\
    CREATE TABLE known_city (name varchar(9) PRIMARY KEY); \
    INSERT INTO known_city VALUES ('Here'), ('There'); \
    CREATE TABLE patient (id varchar(64) PRIMARY KEY, version bigint NOT NULL, birth_date date, \
    gender text NOT NULL CHECK (gender <> 'forbidden'), city varchar(9) REFERENCES known_city)";

fn good(id: &str) -> Vec<u8> {
    with(id, &json!({}))
}

fn with(id: &str, members: &Value) -> Vec<u8> {
    let mut patient = json!({
        "resourceType": "Patient", "id": id, "meta": { "versionId": "1" },
        "birthDate": "1974-12-25", "address": [{ "city": "Here" }],
        "name": [{ "family": "Chalmers" }], "gender": "female",
    });
    let members = members.as_object().expect("members").clone();
    for (name, value) in members {
        patient[name] = value;
    }
    patient.to_string().into_bytes()
}

/// The record `n`, and the way in which it is broken, if it is.
fn record(n: usize) -> ((String, Vec<u8>), Option<&'static Way>) {
    let id = format!("p{n:06}");
    let way = (n % ONE_IN == 37).then(|| &WAYS[n / ONE_IN % WAYS.len()]);
    let value = way.map_or_else(|| good(&id), |way| (way.breaks)(&id));
    ((format!("Patient/{id}"), value), way)
}

#[test]
fn exactly_the_broken_records_are_dead_letters_and_everybody_can_read_why() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let count = std::env::var("ROWCAST_REFUSALS").ok();
    let count = count.map_or(FEW, |count| count.parse().expect("ROWCAST_REFUSALS is a number"));
    let (topic, database) = (kafka.topic("refusals", 4), postgres.database("refusals"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.execute(TABLES);
    let ddl = pipeline.expect(&["schema"]);
    let of_child: Vec<_> = ddl.split(";\n").filter(|ddl| ddl.contains("patient_name")).collect();
    pipeline.execute(&of_child.join(";\n"));

    let (records, ways): (Vec<_>, Vec<_>) = (0..count).map(record).unzip();
    let places = kafka.send(pipeline.topic(), &records, FOREIGN);
    let mut broken = BTreeMap::new();
    let mut written = Vec::new();
    for ((place, (key, value)), way) in places.into_iter().zip(records).zip(ways) {
        match way {
            Some(way) => drop(broken.insert(place, (way, key, value))),
            None => written.extend(key.strip_prefix("Patient/").map(str::to_owned)),
        }
    }
    assert!(broken.len() >= WAYS.len());

    let mut run = pipeline.start(&["run", "--until-idle", "2s"]);
    let status = run.wait(Duration::from_mins(20));
    assert!(status.success(), "{}", run.messages());
    assert_eq!(pipeline.patients(), written);
    assert_eq!(pipeline.query("SELECT id::text FROM patient_name").len(), written.len());

    let letters = format!("{}.dead-letter", pipeline.topic());
    let failed = kip_1034::failed(kafka.servers(), &letters);
    assert_eq!(failed.len(), broken.len(), "no letter twice, none too many");
    let mut seen = BTreeMap::new();
    for letter in failed {
        let (topic, partition, offset) = &letter.origin;
        assert_eq!(topic, pipeline.topic());
        let place = (*partition, *offset);
        let (way, key, value) = broken.get(&place).expect("a broken record's place");
        assert_eq!(letter.key.as_deref(), Some(key.as_bytes()), "the key, byte for byte");
        assert_eq!(letter.value.as_deref(), Some(value.as_slice()), "the value, byte for byte");
        assert!(!letter.exception.is_empty() && !letter.message.is_empty());
        assert_eq!(letter.stacktrace.lines().next(), Some(letter.message.as_str()));
        says(&letter, way);
        seen.insert(place, letter);
    }
    assert_eq!(seen.len(), broken.len(), "each broken record has its letter");
    console_consumer_reads(&kafka, &letters, &seen);
}

/// What rowcast says of it besides.
fn says(letter: &Failed, way: &Way) {
    let said = |name: &str| {
        let name = format!("rowcast.error.{name}");
        let mut named = letter.headers.iter().filter(|(known, _)| *known == name);
        named.next().map(|(_, value)| value.as_str())
    };
    assert_eq!(said("cause"), Some(way.cause));
    assert_eq!(said("stage"), Some(way.stage), "{}", way.cause);
    assert_eq!(said("table"), way.table, "{}", way.cause);
    assert_eq!(said("column"), way.column, "{}", way.cause);
    let foreign = (FOREIGN.0.to_owned(), FOREIGN.1.to_owned());
    assert_eq!(letter.headers.first(), Some(&foreign), "what the record brought comes first");
}

/// Kafka's own console consumer shows the same headers, keys and values.
fn console_consumer_reads(kafka: &Kafka, topic: &str, expected: &BTreeMap<(i32, i64), Failed>) {
    const BETWEEN_HEADERS: &str = "\u{1f}";
    const BETWEEN_PARTS: &str = "\u{1e}";
    const BETWEEN_RECORDS: &str = "\u{1d}";
    let Ok(script) = std::env::var("ROWCAST_TEST_KAFKA_CTL") else { return };
    let properties = [
        "print.headers=true".to_owned(),
        "print.key=true".to_owned(),
        format!("headers.separator={BETWEEN_HEADERS}"),
        format!("key.separator={BETWEEN_PARTS}"),
        format!("line.separator={BETWEEN_RECORDS}"),
    ];
    assert!(kafka.servers().starts_with("127.0.0.1:"), "the node that the script knows as kafka");
    let output = Command::new(script)
        .args(["console-consumer", "kafka", "--topic", topic, "--from-beginning"])
        .args(["--max-messages", &expected.len().to_string(), "--timeout-ms", "30000"])
        .args(properties.iter().flat_map(|property| ["--formatter-property", property]))
        .stdin(Stdio::null())
        .output()
        .expect("the console consumer runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    let records: Vec<&str> = printed.split_terminator(BETWEEN_RECORDS).collect();
    assert_eq!(records.len(), expected.len(), "{said}");
    let mut seen = 0;
    for record in records {
        let parts: Vec<&str> = record.split(BETWEEN_PARTS).collect();
        let [headers, key, value] = parts.as_slice() else { panic!("{record:?}: {said}") };
        let headers: Vec<(String, String)> = headers
            .split(BETWEEN_HEADERS)
            .map(|header| header.split_once(':').expect("NAME:VALUE"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let letter = expected.values().find(|letter| letter.headers == headers);
        let letter = letter.expect("the headers that the other reader saw");
        let text = |bytes: &Option<Vec<u8>>| {
            String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
        };
        assert_eq!((*key, *value), (&*text(&letter.key), &*text(&letter.value)));
        seen += 1;
    }
    assert_eq!(seen, expected.len());
}
